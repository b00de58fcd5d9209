package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Jobs does what is too long for a request, on this node or another one.
type Jobs interface {
	// Start takes a job. Errors: ErrJobsFull, ErrJobTooLarge.
	Start(ctx context.Context, t JobTask) (Job, error)
	// Find gives a job. Errors: ErrNoJob, ErrJobAway.
	Find(ctx context.Context, id string) (Job, error)
	// Result gives what came of a job. Errors: ErrNoJob, ErrJobNotDone, ErrJobAway.
	Result(ctx context.Context, id string) ([]byte, error)
	// List gives the jobs that can be reached, the newest first, and the places that
	// could not be asked.
	List(ctx context.Context) (all []Job, away []string)
}

// What Jobs gives for a job that there is not, that has no result yet, that cannot be
// taken, or whose place cannot be asked; and what RunJob gives, wrapped, for one that
// would fail each time.
var (
	ErrNoJob       = errors.New("there is no such job")
	ErrJobNotDone  = errors.New("the job is not done")
	ErrJobsFull    = errors.New("too many jobs wait")
	ErrJobTooLarge = errors.New("too large for a job")
	ErrJobAway     = errors.New("the place of the job cannot be asked")
	ErrJobFutile   = errors.New("the job cannot be done")
)

// JobTask is what is to be done. Spec and File are this package's.
type JobTask struct {
	Kind  string
	Owner uint64
	Spec  []byte
	File  []byte
}

// JobResult is what came of it.
type JobResult struct {
	Body []byte
	Seq  uint64 // the newest event that it reflects; 0 when it reflects none
}

// Job is a task and how far it has come. Times that are not known are zero.
type Job struct {
	ID        string
	Kind      string
	Owner     uint64
	Spec      []byte
	State     string // one of jobStates
	Tries     int    // that failed
	Reason    string
	CreatedAt time.Time
	EndedAt   time.Time
	Kept      time.Time // until when its result or its failure is kept
	Seq       uint64
	Size      int
	QueueID   string // for POST /queue/retry and /queue/dismiss
}

const (
	jobReport = "report"
	jobImport = "import"
	// JobWebhook is a job that this package does not do: an event that is delivered again.
	JobWebhook = "webhook"

	jobDone   = "done"
	jobFailed = "failed"

	reportsPath = apiPrefix + "/reports"
	importsPath = apiPrefix + "/imports"
	jobsPath    = apiPrefix + "/jobs"

	maxImportJob     = 8 << 20
	maxImportJobRows = 50_000
	maxReportRows    = 500_000
)

var (
	jobKinds  = []string{jobReport, jobImport, JobWebhook}
	jobStates = []string{"waiting", "running", "retrying", jobDone, jobFailed}
)

var jobRoutes = []route{
	{http.MethodPost, reportsPath, admins, false, postReport},
	{http.MethodPost, importsPath, admins, false, postImportJob},
	{http.MethodGet, jobsPath, admins, false, getJobs},
	{http.MethodGet, jobsPath + "/{job}", admins, false, getJob},
	{http.MethodGet, jobsPath + "/{job}/result", admins, false, getJobResult},
}

type jobJSON struct {
	ID        string           `json:"id"`
	Kind      string           `json:"kind"`
	State     string           `json:"state"`
	Owner     uint64           `json:"owner_id"`
	Tries     int              `json:"tries"`
	Reason    string           `json:"reason,omitempty"`
	CreatedAt *stamp           `json:"created_at"`
	EndedAt   *stamp           `json:"ended_at"`
	KeptUntil *stamp           `json:"kept_until"`
	Progress  *jobProgressJSON `json:"progress"`
	Seq       uint64           `json:"seq,omitempty"`
	Bytes     int              `json:"bytes,omitempty"`
	StatusURL string           `json:"status_url"`
	ResultURL string           `json:"result_url,omitempty"`
	QueueID   string           `json:"queue_id,omitempty"`
}

type jobProgressJSON struct {
	Done int `json:"done"`
	Of   int `json:"of"`
}

type jobsJSON struct {
	Items []jobJSON `json:"items"`
	Away  []string  `json:"not_asked"`
}

// reportSpec is which records a report holds. Those that it is about are told apart as
// in the list of attendances.
type reportSpec struct {
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
	UserID   uint64 `json:"user_id,omitempty"`
	Type     string `json:"type,omitempty"`
	MinIndex uint64 `json:"min_index,omitempty"`
}

type reportRequest struct {
	Date   string `json:"date,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	UserID uint64 `json:"user_id,omitempty"`
	Type   string `json:"type,omitempty"`
	Index  uint64 `json:"min_index,omitempty"`
}

type importSpec struct {
	DryRun bool `json:"dry_run"`
}

func (c *call) jobs() (Jobs, error) {
	if c.api.Jobs == nil {
		return nil, notFound("This node runs no jobs.")
	}
	return c.api.Jobs, nil
}

func jobProblem(err error) error {
	var p *problem
	switch {
	case errors.Is(err, ErrNoJob):
		p = notFound("There is no such job, or not any more.")
	case errors.Is(err, ErrJobNotDone):
		p = newProblem(codeNotDone, "Ask again when its state is done.")
	case errors.Is(err, ErrJobsFull):
		p = newProblem(codeOverloaded, "Too many jobs wait. Nothing was begun. Try again in a moment.")
	case errors.Is(err, ErrJobTooLarge):
		p = newProblem(codeTooLarge, "Send the file in parts.")
	case errors.Is(err, ErrJobAway):
		p = newProblem(codeJobAway, "It is held by a node or a Redis that does not answer. Ask again later.")
	default:
		return err
	}
	p.cause = err
	return p
}

// startJob answers that a job was taken.
func (c *call) startJob(kind string, spec any, file []byte) error {
	jobs, err := c.jobs()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	job, err := jobs.Start(c.r.Context(), JobTask{Kind: kind, Owner: c.who.user.ID, Spec: raw, File: file})
	if err != nil {
		return jobProblem(err)
	}
	out := c.api.jsonJob(job)
	c.w.Header().Set("Location", out.StatusURL)
	return c.json(http.StatusAccepted, out)
}

// postReport has the records of some days written into a file.
func postReport(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	spec := reportSpec{UserID: in.id("user_id"), MinIndex: c.api.Node.Applied()}
	day := func(field string) string {
		s, given := in.text(field, len("2006-01-02"))
		if !given {
			return ""
		}
		if _, err := attendance.ParseDay(s); err != nil {
			in.wrong(field, "is not a day such as 2026-11-23")
		}
		return s
	}
	date := day("date")
	spec.From, spec.To = day("from"), day("to")
	switch {
	case date != "" && (spec.From != "" || spec.To != ""):
		in.wrong("date", "does not go with from or to")
	case date != "":
		spec.From, spec.To = date, date
	case spec.From == "" && !in.isWrong("from") && !in.isWrong("date"):
		in.wrong("date", "or from is needed")
	case spec.To != "" && spec.From > spec.To: // days sort as text
		in.wrong("from", "is after to")
	}
	if spec.Type, _ = in.text("type", 8); spec.Type != "" {
		if _, known := attendance.ParseKind(spec.Type); !known {
			in.wrong("type", "is neither in nor out")
		}
	}
	if index := in.id("min_index"); index > spec.MinIndex+implausible {
		in.wrong("min_index", "is beyond everything that was ever decided")
	} else {
		spec.MinIndex = max(spec.MinIndex, index)
	}
	if err := in.done(); err != nil {
		return err
	}
	return c.startJob(jobReport, spec, nil)
}

// postImportJob is postImport for large files: what is wrong with the file as a whole
// is told at once.
func postImportJob(c *call) error {
	q, err := c.query("dry_run")
	if err != nil {
		return err
	}
	spec := importSpec{DryRun: q.flag("dry_run")}
	if err := q.done(); err != nil {
		return err
	}
	file, err := c.body(mediaCSV)
	if err != nil {
		return err
	}
	if _, err := parseImport(file, maxImportJobRows); err != nil {
		return err
	}
	return c.startJob(jobImport, spec, file)
}

func getJobs(c *call) error {
	jobs, err := c.jobs()
	if err != nil {
		return err
	}
	all, away := jobs.List(c.r.Context())
	out := jobsJSON{Items: []jobJSON{}, Away: append([]string{}, away...)}
	for _, job := range all {
		out.Items = append(out.Items, c.api.jsonJob(job))
	}
	return c.json(http.StatusOK, out)
}

func getJob(c *call) error {
	jobs, err := c.jobs()
	if err != nil {
		return err
	}
	job, err := jobs.Find(c.r.Context(), c.vars("job"))
	if err != nil {
		return jobProblem(err)
	}
	return c.json(http.StatusOK, c.api.jsonJob(job))
}

// getJobResult gives the file of a report, or what became of each line of an import.
func getJobResult(c *call) error {
	jobs, err := c.jobs()
	if err != nil {
		return err
	}
	id := c.vars("job")
	job, err := jobs.Find(c.r.Context(), id)
	if err != nil {
		return jobProblem(err)
	}
	if job.Kind == JobWebhook {
		return notFound("A delivery has no result.")
	}
	body, err := jobs.Result(c.r.Context(), id)
	if err != nil {
		return jobProblem(err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	if job.Kind == jobReport {
		var spec reportSpec
		if err := json.Unmarshal(job.Spec, &spec); err != nil {
			return fmt.Errorf("what job %s was about: %w", id, err)
		}
		h.Set("Content-Type", mediaCSV+"; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="`+spec.listing().filename()+`"`)
		h.Set("X-Hadir-Seq", strconv.FormatUint(job.Seq, 10))
	}
	return c.bytes(http.StatusOK, body)
}

func (a *API) jsonJob(j Job) jobJSON {
	out := jobJSON{
		ID: j.ID, Kind: j.Kind, State: j.State, Owner: j.Owner, Tries: j.Tries, Reason: j.Reason, CreatedAt: knownStamp(j.CreatedAt),
		EndedAt: knownStamp(j.EndedAt), KeptUntil: knownStamp(j.Kept), Seq: j.Seq, Bytes: j.Size, StatusURL: jobsPath + "/" + j.ID,
	}
	switch j.State {
	case jobDone:
		if j.Kind != JobWebhook {
			out.ResultURL = out.StatusURL + "/result"
		}
	case jobFailed:
		out.QueueID = j.QueueID
	default:
		if step, known := a.jobSteps()[j.ID]; known && step.Of > 0 {
			out.Progress = &jobProgressJSON{step.Done, step.Of}
		}
	}
	return out
}

// knownStamp gives a time that may not be known.
func knownStamp(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := stamp(attendance.MillisOf(t))
	return &s
}

// listing gives the question to the store. A spec was checked when it was made.
func (s reportSpec) listing() listing {
	l := listing{Query: store.Query{From: firstDay, To: lastDay, UserID: s.UserID, Limit: store.MaxPage}}
	if day, err := attendance.ParseDay(s.From); err == nil {
		l.From = day
	}
	if day, err := attendance.ParseDay(s.To); err == nil {
		l.To = day
	}
	l.Kind, _ = attendance.ParseKind(s.Type)
	return l
}

// futile says that another try would fail, too.
func futile(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrJobFutile}, args...)...)
}

// jobRead is the reader of a job.
func (a *API) jobRead(ctx context.Context) reader {
	return func(how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error) {
		ctx, cancel := context.WithTimeout(ctx, a.Budget)
		defer cancel()
		return a.Node.Read(ctx, how, f)
	}
}
