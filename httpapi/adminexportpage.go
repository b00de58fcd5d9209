package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
	"hadir/ui"
)

// exportPageRoutes are there where something can be exported.
func (a *API) exportPageRoutes() []route {
	if a.Exports == nil {
		return nil
	}
	return []route{
		{http.MethodGet, exportPath, admins, true, exportPage},
		{http.MethodGet, exportPath + "/list", admins, true, exportPart},
		{http.MethodPost, exportPath + "/act", admins, true, actExportPage},
	}
}

// exportPage shows how the SQL copies do, as this node sees them.
func exportPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showExport(http.StatusOK, ui.Export{Form: form})
}

func (c *call) showExport(status int, d ui.Export) error {
	q, err := c.pageQuery()
	if err != nil {
		return err
	}
	d.Done = q.text("did")
	c.landed(q)
	if err := q.done(); err != nil {
		return err
	}
	if err := c.fillExport(&d); err != nil {
		return err
	}
	return c.screen(status, "admin", d)
}

func exportPart(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	d := ui.Export{Form: form}
	if err := c.fillExport(&d); err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.ExportPart(b, c.frame(""), d) })
}

// fillExport reads how the targets do.
func (c *call) fillExport(d *ui.Export) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	list, err := c.api.Exports.Status(ctx)
	if err != nil {
		return err
	}
	status := c.api.Node.Status()
	d.Node = c.api.Node.Name()
	for _, n := range status.Nodes {
		if n.Name == status.Leader && n.Name != d.Node {
			d.Leader.Name = n.Name
			if n.HTTP != "" {
				d.Leader.Href = strings.TrimSuffix(n.HTTP, "/") + exportPath
			}
		}
	}
	_, err = c.seen(localRead, func(tx *store.ReadTx, _ *scope) error {
		zone := site(tx.Params().Zone)
		for _, s := range list {
			t := ui.Target{
				Name: s.Target, Kind: s.Kind, State: s.State, Watermark: s.Watermark, LagEvents: s.LagEvents, Lag: s.Lag, Parked: s.Parked,
				Exported: s.Exported,
			}
			if f := s.Failure; f != nil {
				t.Reason, t.Detail, t.Since = f.Reason, f.Detail, zone.local(attendance.MillisOf(f.At))
				t.Outage = sinceOf(c.began, f.At)
			}
			d.Targets = append(d.Targets, t)
		}
		return nil
	})
	return err
}

// localRead is as fresh as this node is.
var localRead = cluster.Read{}

// exportActs are what a person may decide about a target, and the word for that it
// was done.
var exportActs = map[string]struct{ how, word string }{
	"keep": {"", "export_kept"}, "empty": {"empty", "export_empty"}, "retire": {"retire", "export_retired"},
}

// actExportPage compares a target with the events, or decides about it.
func actExportPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	act, _ := in.text("act", 16)
	decision, decides := exportActs[act]
	if act != "verify" && !decides {
		return invalidField("act", "is neither verify, keep, empty nor retire")
	}
	target, err := c.exportTarget(in.object)
	if err == nil && !decides {
		var report ExportReport
		if report, err = c.verifyExport(target); err == nil {
			form, err := c.freshForm()
			if err != nil {
				return err
			}
			return c.showExport(http.StatusOK, ui.Export{Form: form, Report: comparison(report)})
		}
	}
	if err == nil {
		_, err = c.resetExport(in.key, target, decision.how)
	}
	if err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showExport(status, ui.Export{Form: form})
	}
	return c.did(exportPath, decision.word)
}

// mostDifferences is how many rows the page shows of those that differ.
const mostDifferences = 100

func comparison(r ExportReport) *ui.Comparison {
	out := &ui.Comparison{
		Target: r.Target, Equal: r.Equal, Watermark: r.Watermark, Parked: r.Parked, Missing: r.Missing, Unchecked: r.Unchecked, Different: r.Different,
	}
	for _, d := range r.Days {
		if d.Want != d.Got {
			out.Days = append(out.Days, ui.Tally{Name: d.Day, Count: d.Rows})
		}
	}
	for _, d := range r.Differences[:min(len(r.Differences), mostDifferences)] {
		out.Rows = append(out.Rows, ui.Difference(d))
	}
	return out
}
