package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
)

// exportCmd looks after the SQL copies through a node of the cluster.
type exportCmd struct {
	Verify exportVerifyCmd `cmd:"" help:"Compare a SQL copy with the events, day by day."`
	Reset  exportResetCmd  `cmd:"" help:"Decide about a SQL copy that is ahead, of another epoch, or that misses pruned events."`
}

// exportVerifyCmd compares.
type exportVerifyCmd struct {
	target
	Name string `arg:"" optional:"" name:"target" help:"Name of the target, as GET /api/v1/export has it; all of them when missing."`
}

// What verify ends with.
var (
	errCopyDiffers = errors.New("a SQL copy differs from the events: put the rows right, or have it written anew with hadir export reset --empty")
	errNoCopies    = errors.New("the node exports to no database: give its serve an --export-url")
)

// Run implements the command.
func (c *exportVerifyCmd) Run(w *world) error {
	return c.ask(verifyTimeout, func(ctx context.Context, client *api.Client) error {
		names := []string{c.Name}
		if c.Name == "" {
			targets, err := client.Exports(ctx)
			if err != nil {
				return err
			}
			names = nil
			for _, t := range targets {
				if t.State != "unknown" {
					names = append(names, t.Target)
				}
			}
			if len(names) == 0 {
				return errNoCopies
			}
		}
		var reports []json.RawMessage
		equal := true
		for _, name := range names {
			report, raw, err := client.VerifyExport(ctx, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			equal = equal && report.Equal
			reports = append(reports, raw)
			if !c.JSON {
				if err := writeReport(w.stdout, report); err != nil {
					return err
				}
			}
		}
		if c.JSON {
			if err := writeJSON(w.stdout, reports); err != nil {
				return err
			}
		}
		if !equal {
			return errCopyDiffers
		}
		return nil
	})
}

func writeReport(out io.Writer, r api.ExportReport) error {
	fmt.Fprintf(out, "%s, up to event %d\n\n", r.Target, r.Watermark)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DAY (UTC)\tEVENTS\tROWS\tRECORDS\tFOUND\tCHECKSUM")
	for _, d := range r.Days {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", d.Day, d.Events, d.Rows, d.Records, d.Found, sum(d.Equal, d.GotSum))
	}
	for _, d := range r.Tables {
		fmt.Fprintf(t, "%s\t%d\t%d\t\t\t%s\n", d.Table, d.Want, d.Rows, sum(d.Equal, ""))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, d := range r.Differences {
		if d.Column == "" {
			fmt.Fprintf(out, "%s %s: should be %s, is %s\n", d.Table, d.Key, d.Want, d.Got)
		} else {
			fmt.Fprintf(out, "%s %s: %s should be %q, is %q\n", d.Table, d.Key, d.Column, d.Want, d.Got)
		}
	}
	if n := r.Different - len(r.Differences); n > 0 {
		fmt.Fprintf(out, "… and %d more differences\n", n)
	}
	verdict := "equal"
	if !r.Equal {
		verdict = "different"
	}
	_, err := fmt.Fprintf(out, "\n%s; %d parked, %d pruned before they were exported, %d rows not checked\n", verdict, r.Parked, r.Missing, r.Unchecked)
	return err
}

func sum(equal bool, hash string) string {
	if !equal {
		return "differs"
	}
	if hash == "" {
		return "equal"
	}
	return short(hash)
}

// exportResetCmd decides.
type exportResetCmd struct {
	target
	Name   string `arg:"" name:"target" help:"Name of the target, as GET /api/v1/export has it."`
	Empty  bool   `help:"Empty it, whatever it holds, and export anew what is kept." xor:"how"`
	Retire bool   `help:"Forget a target that no node is configured with, so that it holds no events back." xor:"how"`
}

// Run implements the command.
func (c *exportResetCmd) Run(w *world) error {
	if c.Name == "" {
		return &serve.UsageError{Text: "the name of the target is empty: GET /api/v1/export lists them"}
	}
	how := ""
	switch {
	case c.Empty:
		how = "empty"
	case c.Retire:
		how = "retire"
	}
	return c.ask(callTimeout, func(ctx context.Context, client *api.Client) error {
		decision, err := client.ResetExport(ctx, c.Name, how)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(w.stdout, map[string]string{"target": c.Name, "decision": decision})
		}
		_, err = fmt.Fprintf(w.stdout, "%s: %s\n", c.Name, decision)
		return err
	})
}
