package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"hadir/export"
	"hadir/httpapi"
)

// readExports finds the export targets. No URL is part of an error: it may hold a
// password.
func (p *plan) readExports() error {
	urls := p.ExportURL
	if p.ExportURLFile != "" {
		b, err := os.ReadFile(p.ExportURLFile)
		if err != nil {
			return fmt.Errorf("--export-url-file: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				urls = append(urls, line)
			}
		}
	}
	var err error
	if p.targets, err = export.ParseTargets(urls, p.NodeID); err != nil {
		return &UsageError{"--export-url: " + err.Error()}
	}
	p.ExportURL = nil // nobody else needs them
	return nil
}

// startExport begins to export. A database that is down keeps no node from
// starting.
func (n *running) startExport() (err error) {
	n.exporter, err = export.Start(export.Config{Cluster: n.node, Clock: Clock{}, Log: n.log, Targets: n.targets})
	return err
}

// stopExport ends exporting. What is cut off is rolled back by its database and
// done again by whoever exports next.
func (n *running) stopExport(ctx context.Context) {
	if n.exporter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	defer cancel()
	if err := n.exporter.Close(ctx); err != nil {
		n.log.Warn("an export was cut off; it is done again", "error", err)
	}
}

// exports is the exporter as the door sees it.
type exports struct{ *export.Exporter }

// Status implements httpapi.Exports.
func (e exports) Status(ctx context.Context) ([]httpapi.ExportStatus, error) {
	list, err := e.Exporter.Status(ctx)
	out := make([]httpapi.ExportStatus, len(list))
	for i, s := range list {
		out[i] = httpapi.ExportStatus{
			Target: s.Target, Kind: string(s.Kind), State: string(s.State), Connected: s.Connected, Watermark: s.Watermark,
			LagEvents: s.LagEvents, Lag: s.Lag, Parked: s.Parked, Mark: s.Mark, Exported: s.Exported, Batches: s.Batches,
		}
		if f := s.LastError; f != nil {
			out[i].Failure = &httpapi.ExportFailure{At: f.At, Reason: string(f.Reason), Detail: f.Detail}
		}
		for _, p := range s.ParkedEvents {
			out[i].Events = append(out[i].Events, httpapi.ExportParked(p))
		}
	}
	return out, err
}

// Reset implements httpapi.Exports.
func (e exports) Reset(ctx context.Context, target, how string) (string, error) {
	decision, err := e.Exporter.Reset(ctx, target, export.Reset(how))
	return decision, atTheDoor(err)
}

// Retry implements httpapi.Exports.
func (e exports) Retry(ctx context.Context, target string, seqs []uint64) (int, error) {
	n, err := e.Exporter.Retry(ctx, target, seqs)
	return n, atTheDoor(err)
}

// Verify implements httpapi.Exports.
func (e exports) Verify(ctx context.Context, target string) (httpapi.ExportReport, error) {
	r, err := e.Exporter.Verify(ctx, target)
	if err != nil {
		return httpapi.ExportReport{}, atTheDoor(err)
	}
	out := httpapi.ExportReport{
		Target: r.Target, Watermark: r.Watermark, Equal: r.Different == 0, Parked: r.Parked, Missing: r.Missing, Unchecked: r.Unchecked,
		Different: r.Different,
	}
	for _, d := range r.Days {
		out.Days = append(out.Days, httpapi.ExportDay(d))
	}
	for _, t := range r.Tables {
		out.Tables = append(out.Tables, httpapi.ExportTable(t))
	}
	for _, d := range r.Differences {
		out.Differences = append(out.Differences, httpapi.ExportDifference(d))
	}
	return out, nil
}

// atTheDoor gives an error the door's own meaning beside the exporter's.
func atTheDoor(err error) error {
	for _, pair := range []struct{ ours, theirs error }{
		{export.ErrUnknownTarget, httpapi.ErrUnknownTarget}, {export.ErrNothingToDo, httpapi.ErrInOrder},
		{export.ErrNeedsEmpty, httpapi.ErrNeedsEmpty}, {export.ErrConfigured, httpapi.ErrConfigured},
	} {
		if errors.Is(err, pair.ours) {
			return errors.Join(pair.theirs, err)
		}
	}
	if errors.Is(err, export.ErrTarget) {
		return fmt.Errorf("%w: %s", httpapi.ErrTarget, strings.TrimPrefix(err.Error(), export.ErrTarget.Error()+": "))
	}
	return err
}
