package httpapi

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// RunJob does a job that this door, or that of another node, has taken. It is done with
// the rights that its owner has now. Errors that wrap ErrJobFutile come again each time.
func (a *API) RunJob(ctx context.Context, id string, t JobTask) (JobResult, error) {
	follow := a.steps.follow(id, t.Owner)
	defer follow.end()
	who, err := a.jobOwner(ctx, t.Owner)
	if err != nil {
		return JobResult{}, err
	}
	switch t.Kind {
	case jobReport:
		return a.runReport(ctx, who, t, follow)
	case jobImport:
		return a.runImport(ctx, who, id, t, follow)
	}
	return JobResult{}, futile("this node does not know jobs of the kind %q", t.Kind)
}

// jobOwner gives the admin who asked for a job.
func (a *API) jobOwner(ctx context.Context, id uint64) (*visitor, error) {
	var u attendance.User
	_, err := a.jobRead(ctx)(cluster.Read{}, func(tx *store.ReadTx) (err error) {
		u, err = tx.User(id)
		return err
	})
	who := &visitor{user: u, reach: reachAll}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, cluster.ErrBehind // users are never deleted: this node has not heard of them
	case err != nil:
		return nil, err
	case !u.Active || kindOf(who) != admin:
		return nil, futile("who asked for it is no administrator any more")
	}
	return who, nil
}

// runReport writes the file from one picture of the state, so that all of it is as of
// one event.
func (a *API) runReport(ctx context.Context, who *visitor, t JobTask, follow *following) (out JobResult, err error) {
	var spec reportSpec
	if err := json.Unmarshal(t.Spec, &spec); err != nil {
		return out, futile("what it is about cannot be read: %w", err)
	}
	var b bytes.Buffer
	_, err = a.jobRead(ctx)(cluster.Read{MinIndex: spec.MinIndex}, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, who)
		if err != nil {
			return err
		}
		b.WriteString(strings.Join(csvColumns, ",") + "\r\n")
		to := csv.NewWriter(&b)
		to.UseCRLF = true
		people := make(map[uint64]attendance.User)
		l := spec.listing()
		for rows := 0; ; {
			if err := ctx.Err(); err != nil {
				return err
			}
			next, n, err := l.writePage(to, tx, s, people)
			if err != nil {
				return err
			}
			if rows += n; rows > maxReportRows {
				return futile("it would have more than %d lines: ask for fewer days", maxReportRows)
			}
			follow.at(rows, 0)
			if next.IsZero() {
				break
			}
			l.Before = next
		}
		to.Flush()
		out.Seq = tx.Meta().Seq
		return to.Error()
	})
	out.Body = b.Bytes()
	return out, err
}

// runImport applies a file. What was done before it had to stop stays done, and the
// next try goes on from there.
func (a *API) runImport(ctx context.Context, who *visitor, id string, t JobTask, follow *following) (out JobResult, err error) {
	var spec importSpec
	if err := json.Unmarshal(t.Spec, &spec); err != nil {
		return out, futile("what it is about cannot be read: %w", err)
	}
	until, bounded := ctx.Deadline()
	if !bounded {
		until = a.Clock.Now().Add(a.ImportTime)
	}
	m := &importer{api: a, who: who, dry: spec.DryRun, until: until, tell: follow.at}
	err = m.run(ctx, a.jobRead(ctx), t.File, maxImportJobRows)
	var p *problem
	switch {
	case errors.As(err, &p) && p.Status < http.StatusInternalServerError:
		return out, futile("%s: %s", p.Title, p.Detail)
	case err != nil:
		return out, err
	case m.stop != nil:
		return out, fmt.Errorf("it stopped after a part: %w", m.stop)
	}
	m.log("job", id)
	out.Body, err = json.Marshal(m.report())
	return out, err
}
