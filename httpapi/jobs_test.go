package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/cluster"
	"hadir/httpapi"
)

// fakeJobs does each job when it is asked to, and once only.
type fakeJobs struct {
	api func() *httpapi.API

	mu      sync.Mutex
	jobs    []httpapi.Job
	tasks   []httpapi.JobTask
	results [][]byte
	refuse  error
	away    []string
}

const jobID = "n1-1795388400000001"

func (f *fakeJobs) Start(_ context.Context, t httpapi.JobTask) (httpapi.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return httpapi.Job{}, f.refuse
	}
	n := len(f.jobs) + 1
	job := httpapi.Job{
		ID: fmt.Sprintf("n1-179538840000000%d", n), QueueID: fmt.Sprintf("n1/179538840000000%d", n), Kind: t.Kind, Owner: t.Owner, Spec: t.Spec,
		State: "waiting", CreatedAt: time.UnixMilli(1_795_388_400_000),
	}
	f.jobs, f.tasks, f.results = append(f.jobs, job), append(f.tasks, t), append(f.results, nil)
	return job, nil
}

// work does the job that was asked for last.
func (f *fakeJobs) work(ctx context.Context) error {
	f.mu.Lock()
	n := len(f.jobs) - 1
	job, task := f.jobs[n], f.tasks[n]
	f.mu.Unlock()
	r, err := f.api().RunJob(ctx, job.ID, task)
	f.mu.Lock()
	defer f.mu.Unlock()
	job.State, job.EndedAt = "done", time.UnixMilli(1_795_388_401_000)
	if err != nil {
		job.State, job.Tries, job.Reason = "failed", 1, err.Error()
	} else {
		job.Seq, job.Size, job.Kept = r.Seq, len(r.Body), job.EndedAt.Add(time.Hour)
	}
	f.jobs[n], f.results[n] = job, r.Body
	return err
}

func (f *fakeJobs) Find(_ context.Context, id string) (httpapi.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return httpapi.Job{}, f.refuse
	}
	for _, job := range f.jobs {
		if job.ID == id {
			return job, nil
		}
	}
	return httpapi.Job{}, httpapi.ErrNoJob
}

func (f *fakeJobs) Result(ctx context.Context, id string) ([]byte, error) {
	job, err := f.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	if job.State != "done" {
		return nil, httpapi.ErrJobNotDone
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.jobs {
		if f.jobs[i].ID == id {
			return f.results[i], nil
		}
	}
	return nil, httpapi.ErrNoJob
}

func (f *fakeJobs) List(context.Context) ([]httpapi.Job, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]httpapi.Job(nil), f.jobs...), f.away
}

// withJobs gives a job that is done to whoever asks.
func withJobs(c *httpapi.Config) {
	c.Jobs = &fakeJobs{
		jobs:    []httpapi.Job{{ID: jobID, Kind: "report", State: "done", Spec: []byte(`{"from":"2026-11-23","to":"2026-11-23"}`)}},
		results: [][]byte{[]byte("id\r\n")}, tasks: make([]httpapi.JobTask, 1),
	}
}

func newJobsWorld(t *testing.T) (*world, *fakeJobs) {
	t.Helper()
	f := &fakeJobs{}
	w := newWorld(t, func(c *httpapi.Config) { c.Jobs = f })
	f.api = func() *httpapi.API { return w.api }
	return w, f
}

// TestReport: the file is the one that the list gives at once, from one picture.
func TestReport(t *testing.T) {
	w, f := newJobsWorld(t)
	for i, user := range []int{aniID, budiID, citraID} {
		w.want(w.tap(user, fmt.Sprintf("01930000-0000-7000-8000-00000000090%d", i), tapIn), http.StatusCreated, "")
	}
	date := w.get(adminID, "/api/v1/stats/today").at("date")
	r := w.do(adminID, "POST", "/api/v1/reports", fmt.Sprintf(`{"date":%q,"type":"in"}`, date))
	w.want(r, http.StatusAccepted, "")
	url, _ := r.at("status_url").(string)
	if r.Header.Get("Location") != url || r.at("state") != "waiting" || r.at("kind") != "report" || r.at("result_url") != nil {
		t.Errorf("taken: %s", r.body)
	}
	w.want(w.get(adminID, url+"/result"), http.StatusConflict, "not_done")
	if err := f.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = w.get(adminID, url)
	w.want(r, http.StatusOK, "")
	if r.at("state") != "done" || r.at("result_url") != url+"/result" || r.at("kept_until") == nil {
		t.Errorf("done: %s", r.body)
	}
	file := w.get(adminID, url+"/result")
	w.want(file, http.StatusOK, "")
	same := w.get(adminID, fmt.Sprintf("/api/v1/attendances?date=%s&type=in&format=csv", date))
	if string(file.body) != string(same.body) || strings.Count(string(file.body), "\r\n") != 4 {
		t.Errorf("the file:\n%s\nthe list:\n%s", file.body, same.body)
	}
	if got, want := file.Header.Get("Content-Disposition"), same.Header.Get("Content-Disposition"); got != want || file.Header.Get("X-Hadir-Seq") == "" {
		t.Errorf("%q, want %q; %v", got, want, file.Header)
	}
	r = w.get(adminID, "/api/v1/jobs")
	w.want(r, http.StatusOK, "")
	if items, _ := r.at("items").([]any); len(items) != 1 {
		t.Errorf("list: %s", r.body)
	}
	for _, body := range []string{
		`{}`, `{"date":"x"}`, `{"date":"2026-11-23","from":"2026-11-23"}`, `{"from":"2026-11-23","to":"2026-11-22"}`, `{"date":"2026-11-23","type":"up"}`,
		`{"date":"2026-11-23","user_id":-1}`, `{"date":"2026-11-23","colour":1}`, `{"to":"2026-11-23"}`, `{"date":7}`, `{"date":"2026-11-23","min_index":9999999}`,
	} {
		w.want(w.do(adminID, "POST", "/api/v1/reports", body), http.StatusBadRequest, "invalid_body")
	}
	if len(f.jobs) != 1 {
		t.Errorf("bad input began something: %+v", f.jobs)
	}
	// Who asked for it has to be an administrator when it is done, too.
	w.want(w.do(adminID, "POST", "/api/v1/reports", `{"from":"2026-11-01","to":"2099-12-31","user_id":3,"min_index":1}`), http.StatusAccepted, "")
	f.mu.Lock()
	f.tasks[1].Owner = teacherID
	f.mu.Unlock()
	if err := f.work(t.Context()); !errors.Is(err, httpapi.ErrJobFutile) {
		t.Errorf("a report for a teacher: %v", err)
	}
	r = w.get(adminID, "/api/v1/jobs/n1-1795388400000002")
	if r.at("state") != "failed" || r.at("queue_id") != "n1/1795388400000002" || r.at("reason") == nil {
		t.Errorf("failed: %s", r.body)
	}
}

func TestImportJob(t *testing.T) {
	w, f := newJobsWorld(t)
	var file strings.Builder
	file.WriteString("name,email,role,groups\nNobody,nobody,student,\n")
	for i := range 200 {
		fmt.Fprintf(&file, "Person %d,p%d@impor.test,student,X-2\n", i, i)
	}
	start := func(query string) string {
		t.Helper()
		r := w.do(adminID, "POST", "/api/v1/imports"+query, file.String(), "Content-Type", "text/csv")
		w.want(r, http.StatusAccepted, "")
		url, _ := r.at("status_url").(string)
		return url
	}
	report := func(url string) (out struct {
		Created, Unchanged, Errors int
		Items                      []struct{ Status string }
	}) {
		t.Helper()
		r := w.get(adminID, url+"/result")
		w.want(r, http.StatusOK, "")
		if err := json.Unmarshal(r.body, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	url := start("?dry_run=true")
	if err := f.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := report(url); got.Created != 200 || got.Errors != 1 || len(got.Items) != 201 || w.node.proposals() != 0 {
		t.Errorf("dry run: %+v", got)
	}
	// It stops in the middle, and the next try does the rest.
	url = start("")
	decided := 0
	w.node.set(func(n *fakeNode) {
		n.before = func(cluster.Request) error {
			if decided++; decided > 50 {
				return cluster.ErrNoLeader
			}
			return nil
		}
	})
	if err := f.work(t.Context()); !errors.Is(err, cluster.ErrNoLeader) || errors.Is(err, httpapi.ErrJobFutile) {
		t.Errorf("without a leader: %v", err)
	}
	w.node.set(func(n *fakeNode) { n.before = nil })
	if err := f.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := report(url); got.Created != 150 || got.Errors != 1 {
		t.Errorf("the rest: %+v", got)
	}
	for _, c := range []struct {
		query, file, media string
		status             int
		code               string
	}{
		{"", "", "text/csv", 400, "invalid_body"},
		{"", "a,b\n", "text/csv", 400, "invalid_body"},
		{"?dry_run=maybe", "name,email,role\n", "text/csv", 400, "invalid_query"},
		{"", "name,email,role\n", "application/json", 415, "unsupported_type"},
		{"", "name,email,role\n" + strings.Repeat("x", 8<<20), "text/csv", 413, "too_large"},
		{"", "name,email,role\n" + strings.Repeat("a,b,c\n", 50_001), "text/csv", 413, "too_large"},
	} {
		w.want(w.do(adminID, "POST", "/api/v1/imports"+c.query, c.file, "Content-Type", c.media), c.status, c.code)
	}
	for _, who := range []int{aniID, teacherID} {
		w.want(w.do(who, "POST", "/api/v1/imports", "name,email,role\n", "Content-Type", "text/csv"), http.StatusForbidden, "forbidden")
	}
}

func TestJobProblems(t *testing.T) {
	w, f := newJobsWorld(t)
	for _, c := range []struct {
		refuse error
		status int
		code   string
	}{
		{httpapi.ErrJobsFull, 503, "overloaded"}, {fmt.Errorf("%w: x", httpapi.ErrJobTooLarge), 413, "too_large"},
	} {
		f.refuse = c.refuse
		w.want(w.do(adminID, "POST", "/api/v1/imports", "name,email,role\n", "Content-Type", "text/csv"), c.status, c.code)
	}
	f.refuse = httpapi.ErrJobAway
	w.want(w.get(adminID, "/api/v1/jobs/"+jobID), http.StatusServiceUnavailable, "job_unavailable")
	w.want(w.get(adminID, "/api/v1/jobs/"+jobID+"/result"), http.StatusServiceUnavailable, "job_unavailable")
	f.refuse = nil
	w.want(w.get(adminID, "/api/v1/jobs/"+jobID), http.StatusNotFound, "not_found")
	w.want(w.get(adminID, "/api/v1/jobs/"+jobID+"/result"), http.StatusNotFound, "not_found")
	f.away = []string{"n2"}
	if r := w.get(adminID, "/api/v1/jobs"); fmt.Sprint(r.at("not_asked")) != "[n2]" {
		t.Errorf("list: %s", r.body)
	}
	none := newWorld(t)
	for _, path := range []string{"/api/v1/jobs", "/api/v1/jobs/" + jobID, "/api/v1/jobs/" + jobID + "/result"} {
		none.want(none.get(adminID, path), http.StatusNotFound, "not_found")
	}
	none.want(none.do(adminID, "POST", "/api/v1/reports", `{"date":"2026-11-23"}`), http.StatusNotFound, "not_found")
	if _, err := w.api.RunJob(t.Context(), jobID, httpapi.JobTask{Kind: "dance", Owner: adminID}); !errors.Is(err, httpapi.ErrJobFutile) {
		t.Errorf("a job of an unknown kind: %v", err)
	}
	if _, err := w.api.RunJob(t.Context(), jobID, httpapi.JobTask{Kind: "report", Owner: 999}); !errors.Is(err, cluster.ErrBehind) {
		t.Errorf("a job of somebody who is not known yet: %v", err)
	}
}

// TestJobProgress: its owner is told on whichever node they are.
func TestJobProgress(t *testing.T) {
	w, f := newJobsWorld(t)
	c := w.subscribe(adminID, "topics=progress")
	c.next("hello")
	w.want(w.do(adminID, "POST", "/api/v1/reports", `{"date":"2026-11-23"}`), http.StatusAccepted, "")
	if err := f.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		f := c.next("progress") // perhaps one that says that it runs
		if field(f, "data", "job") != jobID || field(f, "data", "seq") != float64(0) {
			t.Fatalf("frame: %s", f["text"])
		}
		if field(f, "data", "state") == "ended" {
			break
		}
	}
	w.watch.mu.Lock()
	w.watch.notes["jobs"] = []cluster.Note{{Node: "n2", Body: []byte(`{"n2-1795388400000009":{"Owner":1,"Done":5,"Of":9}}`)}}
	w.watch.mu.Unlock()
	if f := c.next("progress"); field(f, "data", "job") != "n2-1795388400000009" || field(f, "data", "state") != "running" || field(f, "data", "of") != float64(9) {
		t.Errorf("frame: %s", f["text"])
	}
	f.mu.Lock()
	f.jobs = append(f.jobs, httpapi.Job{ID: "n2-1795388400000009", Kind: "import", State: "running", Owner: adminID})
	f.mu.Unlock()
	if r := w.get(adminID, "/api/v1/jobs/n2-1795388400000009"); fmt.Sprintf("%v %v", r.at("progress.done"), r.at("progress.of")) != "5 9" {
		t.Errorf("progress: %s", r.body)
	}
}
