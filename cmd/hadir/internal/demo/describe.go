package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// describe prints what there is, in one block.
func (s *stage) describe(took time.Duration) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nhadir demo is ready after %.1f s\n\n", took.Seconds())
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  open\t%s\t(any node, in turn)\n", s.url())
	for _, n := range s.info().Nodes {
		fmt.Fprintf(t, "  %s\t%s\tpid %d\n", n.ID, n.URL, n.PID)
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
	fmt.Fprintln(&b)
	t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  sign in as\t\tpassword\n")
	fmt.Fprintf(t, "  admin\t%s\t%s\n", email(adminName, "admin"), adminPassword)
	for _, c := range classes() {
		fmt.Fprintf(t, "  teacher of %s\t%s\t%s\n", c.name, email(c.teacher, "teacher"), teacherPassword)
	}
	for _, c := range classes() {
		fmt.Fprintf(t, "  student of %s\t%s\t%s\n", c.name, email(c.students[0], "student"), studentPassword)
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
	kept := "removed at the end; --dir DIR keeps it"
	if !s.temp {
		kept = "stays"
	}
	fmt.Fprintf(&b, "\n  data and logs in %s (%s)\n  Ctrl-C stops everything\n\n", s.layout.dir, kept)
	fmt.Fprint(s.cfg.Out, b.String())
}
