package chaos

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"hadir/tests/chaos/report"
)

// describe tells what will be done.
func (c *run) describe(people int) {
	fmt.Fprintf(c.Out, "%s through %s: %d check-ins a second for %s by %d new people, who stay; seed %d\n",
		c.Target.Name, c.Target.Front, c.Rate, c.Duration, people, c.Seed)
	for _, e := range c.plan.Episodes {
		for i, f := range e.Faults {
			name := ""
			if i == 0 {
				name = e.Name
			}
			fmt.Fprintf(c.Out, "  %-22s %s\n", name, f)
		}
	}
}

// tick notes and prints a second.
func (c *run) tick() {
	n, reads := c.load.Counts(), c.reader.Counts()
	leader, term, up := c.monitor.now()
	s := report.Second{
		AtMS: time.Since(c.began).Milliseconds(), Leader: leader, Term: term, Up: up,
		Sent: n.Sent, Decided: n.Decided, Recorded: n.Recorded, Failed: n.Failed, Open: n.Sent - n.Decided, Reads: reads.Sent, Answered: reads.Answered,
	}
	last := c.total
	c.total = s
	s.Sent, s.Decided, s.Recorded, s.Failed = s.Sent-last.Sent, s.Decided-last.Decided, s.Recorded-last.Recorded, s.Failed-last.Failed
	s.Reads, s.Answered = s.Reads-last.Reads, s.Answered-last.Answered
	c.timeline = append(c.timeline, s)
	fmt.Fprintf(c.Out, "%4.0f s  leader %-7s  up %d/%d  sent %3d/s  decided %3d/s  queued %3d/s  open %4d  longest gap %5.2f s  %s\n",
		float64(s.AtMS)/1000, cmp.Or(leader, "none"), len(up), len(c.nodes), s.Sent, s.Decided, s.Recorded, s.Open,
		c.load.Gap(c.began).Seconds(), c.faults.now())
}

// Verdict writes what came out.
func Verdict(out io.Writer, r *report.Report) {
	const most = 10
	for _, check := range r.Checks {
		word := "ok"
		if !check.OK() {
			word = "FAILED"
		}
		fmt.Fprintf(out, "  %-10s %-7s %s\n", check.Name, word, check.Note)
		for i, f := range check.Faults {
			if i == most {
				fmt.Fprintf(out, "             … and %d more: see the report\n", len(check.Faults)-most)
				break
			}
			fmt.Fprintf(out, "             %.1000s\n", f)
		}
	}
	fmt.Fprintf(out, "longest gap between decisions %.2f s, between taps that were kept (decided or recorded) %.2f s; well again %.1f s after the load\n",
		float64(r.GapMS)/1000, float64(r.KeptGapMS)/1000, float64(r.HealedMS)/1000)
	fmt.Fprintf(out, "%s\n", r.Line())
}
