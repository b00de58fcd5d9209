package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hadir/attendance"
)

// Exports are the SQL copies of the events, as this node sees them.
type Exports interface {
	// Status says how each target does.
	Status(ctx context.Context) ([]ExportStatus, error)
	// Reset decides about a target that is stopped, and says what was decided. how
	// is "", "empty" or "retire".
	Reset(ctx context.Context, target, how string) (decision string, err error)
	// Retry has parked events tried again, all where none is named, and counts them.
	Retry(ctx context.Context, target string, seqs []uint64) (int, error)
	// Verify compares a target with the events. It takes as long as reading both.
	Verify(ctx context.Context, target string) (ExportReport, error)
}

// What Exports gives beside what a cluster gives.
var (
	// ErrUnknownTarget: no target has that name.
	ErrUnknownTarget = errors.New("there is no such export target")
	// ErrInOrder: there is nothing to decide about the target.
	ErrInOrder = errors.New("the export target is in order")
	// ErrNeedsEmpty: the target can only be emptied, and that loses rows.
	ErrNeedsEmpty = errors.New("the export target has to be emptied")
	// ErrConfigured: a target that is exported to cannot be retired.
	ErrConfigured = errors.New("the export target is configured")
	// ErrTarget: the target does not answer, or not as it should. Its text is for
	// people.
	ErrTarget = errors.New("the export target cannot be asked")
)

// ExportStatus is how a target does.
type ExportStatus struct {
	Target    string // a URL without user, password and options
	Kind      string // mysql or sqlite
	State     string // running, standby, down, stopped or unknown
	Connected bool
	Watermark uint64 // every event up to it is there
	LagEvents uint64
	Lag       time.Duration // age of the oldest event that is not there
	Failure   *ExportFailure
	Parked    uint64 // events that the database refused
	Events    []ExportParked
	Mark      uint64 // what the cluster knows of the watermark
	Exported  uint64 // events that this node has written since it started
	Batches   uint64 // and in how many transactions
}

// ExportFailure is why a target is not exported to.
type ExportFailure struct {
	At     time.Time // since when
	Reason string
	Detail string
}

// ExportParked is an event that a database refused.
type ExportParked struct {
	Seq      uint64
	Type     string
	Reason   string
	Attempts uint64
	Retry    bool
}

// ExportReport is what a verification found.
type ExportReport struct {
	Target          string
	Watermark       uint64
	Equal           bool
	Parked, Missing uint64
	Unchecked       uint64
	Different       int
	Days            []ExportDay
	Tables          []ExportTable
	Differences     []ExportDifference
}

// ExportDay compares one UTC day.
type ExportDay struct {
	Day            string
	Events, Rows   int
	Records, Found int
	Want, Got      string
}

// ExportTable compares a table that belongs to no day.
type ExportTable struct {
	Table      string
	Want, Rows int
	Equal      bool
}

// ExportDifference is a row that is not as it should be.
type ExportDifference struct{ Table, Key, Column, Want, Got string }

type exportListJSON struct {
	Items []exportTargetJSON `json:"items"`
}

type exportTargetJSON struct {
	Target    string             `json:"target"`
	Kind      string             `json:"kind"`
	State     string             `json:"state"`
	Connected bool               `json:"connected"`
	Watermark uint64             `json:"watermark"`
	LagEvents uint64             `json:"lag_events"`
	LagS      decimal            `json:"lag_s"`
	LastError *exportFailureJSON `json:"last_error"`
	Parked    uint64             `json:"parked"`
	Events    []exportParkedJSON `json:"parked_events"`
	Mark      uint64             `json:"mark"`
}

type exportFailureJSON struct {
	At     stamp  `json:"at"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type exportParkedJSON struct {
	Seq      uint64 `json:"seq"`
	Type     string `json:"event_type"`
	Reason   string `json:"reason"`
	Attempts uint64 `json:"attempts"`
	Retry    bool   `json:"retry"`
}

type exportResetRequest struct {
	Target string `json:"target"`
	How    string `json:"how,omitempty"`
}

type exportDecisionJSON struct {
	Target   string `json:"target"`
	Decision string `json:"decision"`
}

type exportRetryRequest struct {
	Target string   `json:"target"`
	Seqs   []uint64 `json:"seqs,omitempty"`
}

type exportRetryJSON struct {
	Target  string `json:"target"`
	Retried int    `json:"retried"`
}

type exportVerifyRequest struct {
	Target string `json:"target"`
}

type exportReportJSON struct {
	Target      string                 `json:"target"`
	Watermark   uint64                 `json:"watermark"`
	Equal       bool                   `json:"equal"`
	Parked      uint64                 `json:"parked"`
	Missing     uint64                 `json:"missing"`
	Unchecked   uint64                 `json:"unchecked"`
	Different   int                    `json:"different"`
	Days        []exportDayJSON        `json:"days"`
	Tables      []exportTableJSON      `json:"tables"`
	Differences []exportDifferenceJSON `json:"differences"`
}

type exportDayJSON struct {
	Day     string `json:"day"`
	Equal   bool   `json:"equal"`
	Events  int    `json:"events"`
	Rows    int    `json:"rows"`
	Records int    `json:"records"`
	Found   int    `json:"found"`
	WantSum string `json:"want_sum"`
	GotSum  string `json:"got_sum"`
}

type exportTableJSON struct {
	Table string `json:"table"`
	Equal bool   `json:"equal"`
	Want  int    `json:"want"`
	Rows  int    `json:"rows"`
}

type exportDifferenceJSON struct {
	Table  string `json:"table"`
	Key    string `json:"key"`
	Column string `json:"column"`
	Want   string `json:"want"`
	Got    string `json:"got"`
}

// exportRoutes are there where something can be exported.
func (a *API) exportRoutes() []route {
	if a.Exports == nil {
		return nil
	}
	return []route{
		{http.MethodGet, apiPrefix + "/export", admins, false, getExport},
		{http.MethodPost, apiPrefix + "/export/reset", admins, false, postExportReset},
		{http.MethodPost, apiPrefix + "/export/retry", admins, false, postExportRetry},
		{http.MethodPost, apiPrefix + "/export/verify", admins, false, postExportVerify},
	}
}

func getExport(c *call) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	list, err := c.api.Exports.Status(ctx)
	if err != nil {
		return err
	}
	out := exportListJSON{Items: []exportTargetJSON{}}
	for _, s := range list {
		out.Items = append(out.Items, jsonExport(s))
	}
	return c.json(http.StatusOK, out)
}

func jsonExport(s ExportStatus) exportTargetJSON {
	out := exportTargetJSON{
		Target: s.Target, Kind: s.Kind, State: s.State, Connected: s.Connected, Watermark: s.Watermark, LagEvents: s.LagEvents,
		LagS: decimal{s.Lag.Milliseconds(), 3}, Parked: s.Parked, Events: []exportParkedJSON{}, Mark: s.Mark,
	}
	if f := s.Failure; f != nil {
		out.LastError = &exportFailureJSON{stampOf(f.At), f.Reason, f.Detail}
	}
	for _, p := range s.Events {
		out.Events = append(out.Events, exportParkedJSON(p))
	}
	return out
}

// exportBudget is longer than others: it is another program that is asked.
const exportBudget = 20 * time.Second

// exportTarget reads the target that a request is about, and knows it.
func (c *call) exportTarget(in *object) (string, error) {
	name := in.required("target", attendance.MaxTarget)
	if err := in.done(); err != nil {
		return "", err
	}
	list, err := c.api.Exports.Status(c.r.Context())
	if err != nil {
		return "", err
	}
	for _, s := range list {
		if s.Target == name {
			return name, nil
		}
	}
	return "", exportProblem(ErrUnknownTarget)
}

// postExportReset decides about a target. It is written down first: an act that
// cannot be recorded is not done.
func postExportReset(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	how, _ := in.text("how", 16)
	if how != "" && how != "empty" && how != "retire" {
		in.wrong("how", "is neither empty nor retire")
	}
	target, err := c.exportTarget(in)
	if err != nil {
		return err
	}
	decision, err := c.resetExport("", target, how)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, exportDecisionJSON{target, decision})
}

// resetExport writes a decision about a target down, under a key, and then carries it
// out.
func (c *call) resetExport(key, target, how string) (decision string, err error) {
	note := how
	if note == "" {
		note = "go on, or empty it where that loses nothing"
	}
	if _, err := c.propose(c.who, key, attendance.Audit{Action: "export.reset", Subject: target, Note: note}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), exportBudget)
	defer cancel()
	if decision, err = c.api.Exports.Reset(ctx, target, how); err != nil {
		return "", exportProblem(err)
	}
	return decision, nil
}

// maxRetried is how many parked events a request may name.
const maxRetried = 1000

func postExportRetry(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	seqs, _ := in.ids("seqs", maxRetried)
	target, err := c.exportTarget(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), exportBudget)
	defer cancel()
	n, err := c.api.Exports.Retry(ctx, target, seqs)
	if err != nil {
		return exportProblem(err)
	}
	return c.json(http.StatusOK, exportRetryJSON{target, n})
}

// exportVerifyTime is for reading all of a database.
const exportVerifyTime = 10 * time.Minute

func postExportVerify(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	target, err := c.exportTarget(in)
	if err != nil {
		return err
	}
	r, err := c.verifyExport(target)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonReport(r))
}

// verifyExport compares a target with the events, one at a time on this node.
func (c *call) verifyExport(target string) (ExportReport, error) {
	if !c.api.verifying.TryLock() {
		return ExportReport{}, newProblem(codeBusy, "Another verification runs on this node.")
	}
	defer c.api.verifying.Unlock()
	// What takes no deadline, such as a recorder in a test, has none.
	_ = http.NewResponseController(c.w).SetWriteDeadline(c.api.Clock.Now().Add(exportVerifyTime + answerTimeout))
	ctx, cancel := context.WithTimeout(c.r.Context(), exportVerifyTime)
	defer cancel()
	r, err := c.api.Exports.Verify(ctx, target)
	if err != nil {
		return ExportReport{}, exportProblem(err)
	}
	return r, nil
}

func jsonReport(r ExportReport) exportReportJSON {
	out := exportReportJSON{
		Target: r.Target, Watermark: r.Watermark, Equal: r.Equal, Parked: r.Parked, Missing: r.Missing, Unchecked: r.Unchecked,
		Different: r.Different, Days: []exportDayJSON{}, Tables: []exportTableJSON{}, Differences: []exportDifferenceJSON{},
	}
	for _, d := range r.Days {
		out.Days = append(out.Days, exportDayJSON{d.Day, d.Want == d.Got, d.Events, d.Rows, d.Records, d.Found, d.Want, d.Got})
	}
	for _, t := range r.Tables {
		out.Tables = append(out.Tables, exportTableJSON{t.Table, t.Equal, t.Want, t.Rows})
	}
	for _, d := range r.Differences {
		out.Differences = append(out.Differences, exportDifferenceJSON(d))
	}
	return out
}

// exportProblem gives the answer to an error of Exports.
func exportProblem(err error) error {
	var p *problem
	switch {
	case errors.Is(err, ErrUnknownTarget):
		p = notFound("There is no such export target. GET /api/v1/export lists them.")
	case errors.Is(err, ErrInOrder):
		p = newProblem(codeInOrder, "The target is exported to; there is nothing to decide.")
	case errors.Is(err, ErrNeedsEmpty):
		p = newProblem(codeNeedsEmpty, "What the target holds cannot be kept, and the oldest events are not kept any more: emptying it loses "+
			"their rows. Ask again with how: empty, if that is what you want.")
	case errors.Is(err, ErrConfigured):
		p = newProblem(codeConfigured, "Take it out of the command line of every node first.")
	case errors.Is(err, ErrTarget):
		p = newProblem(codeTarget, err.Error())
	default:
		return err
	}
	p.cause = err
	return p
}
