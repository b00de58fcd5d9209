package serve

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"hadir/attendance"
	"hadir/httpapi"
	"hadir/queue/jobs"
	"hadir/queue/mirror"
)

// newJobs makes the jobs and the webhooks of this node; runJobs has them done.
func (n *running) newJobs(keys [][]byte) (err error) {
	n.jobs, err = jobs.New(jobs.Config{Peers: n.node, Clock: Clock{}, Rand: n.proc.Rand, Log: n.log, Keys: keys, Redis: n.redis})
	if err != nil {
		return err
	}
	return n.newWebhooks()
}

// jobCollector tells how many jobs there are, at each scrape.
type jobCollector struct {
	jobs *jobs.Jobs
	desc *prometheus.Desc
}

func newJobCollector(j *jobs.Jobs) jobCollector {
	return jobCollector{j, prometheus.NewDesc("hadir_jobs", "Jobs by state: of this node, and of all that Redis has.", []string{"state"}, nil)}
}

// Describe implements prometheus.Collector.
func (c jobCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements prometheus.Collector.
func (c jobCollector) Collect(to chan<- prometheus.Metric) {
	for state, n := range c.jobs.Counts() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(state))
	}
}

// runJobs has jobs done, webhooks delivered, and the way to what is shared kept open,
// until stopJobs.
func (n *running) runJobs() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.jobs.Run(ctx, worker{n}) })
	wg.Go(func() { n.webhooks.Run(ctx) })
	if n.shared != nil {
		wg.Go(func() { n.shared.Run(ctx) })
	}
	n.stopJobs = func() {
		cancel()
		wg.Wait()
	}
}

// worker is the node as jobs see it: what is to be read or changed the door does.
type worker struct{ *running }

// RunJob implements jobs.Runner.
func (w worker) RunJob(ctx context.Context, id string, t jobs.Task) (jobs.Result, error) {
	if t.Kind == httpapi.JobWebhook {
		return jobs.Result{}, w.deliver(ctx, t.Spec)
	}
	r, err := w.api.RunJob(ctx, id, httpapi.JobTask(t))
	if errors.Is(err, httpapi.ErrJobFutile) {
		err = errors.Join(jobs.ErrPermanent, err)
	}
	return jobs.Result(r), err
}

// work is the jobs as the door sees them.
type work struct{ *jobs.Jobs }

// Start implements httpapi.Jobs.
func (w work) Start(ctx context.Context, t httpapi.JobTask) (httpapi.Job, error) {
	j, err := w.Jobs.Start(ctx, jobs.Task(t))
	return jobAtTheDoor(j), jobError(err)
}

// Find implements httpapi.Jobs.
func (w work) Find(ctx context.Context, id string) (httpapi.Job, error) {
	j, err := w.Jobs.Find(ctx, id)
	return jobAtTheDoor(j), jobError(err)
}

// Result implements httpapi.Jobs.
func (w work) Result(ctx context.Context, id string) ([]byte, error) {
	body, err := w.Jobs.Result(ctx, id)
	return body, jobError(err)
}

// List implements httpapi.Jobs.
func (w work) List(ctx context.Context) (all []httpapi.Job, away []string) {
	found, away := w.Jobs.List(ctx)
	for _, j := range found {
		all = append(all, jobAtTheDoor(j))
	}
	return all, away
}

func jobAtTheDoor(j jobs.Job) httpapi.Job {
	out := httpapi.Job{
		ID: j.ID, Kind: j.Kind, Owner: j.Owner, Spec: j.Spec, State: string(j.State), Tries: j.Tries, Reason: j.Reason,
		CreatedAt: j.CreatedAt, EndedAt: j.EndedAt, Seq: j.Seq, Size: j.Size,
	}
	if !j.EndedAt.IsZero() {
		out.Kept = j.EndedAt.Add(jobs.Keep)
	}
	place, which := inQueue(j.ID)
	out.QueueID = place + "/" + which
	return out
}

// inQueue gives under what name a job is in GET /queue: its number at its node, or all
// of its name in Redis.
func inQueue(id string) (place, which string) {
	place, n := jobs.Split(id)
	if place == mirror.Where {
		return place, id
	}
	return place, strconv.FormatUint(n, 10)
}

func jobError(err error) error {
	for _, pair := range []struct{ ours, theirs error }{
		{jobs.ErrUnknown, httpapi.ErrNoJob}, {jobs.ErrNotDone, httpapi.ErrJobNotDone}, {jobs.ErrFull, httpapi.ErrJobsFull},
		{jobs.ErrTooLarge, httpapi.ErrJobTooLarge}, {jobs.ErrAway, httpapi.ErrJobAway},
	} {
		if errors.Is(err, pair.ours) {
			return fmt.Errorf("%w: %w", pair.theirs, err)
		}
	}
	return err
}

// reasonFor is why a job failed, as GET /queue shows it and takes it back.
func reasonFor(j jobs.Job) string { return j.Kind + ": " + j.Reason }

// addJobs adds to the queues the jobs that failed, and how many there are in Redis.
func addJobs(all []jobs.Job, to *httpapi.QueueView) {
	for _, j := range all {
		place, which := inQueue(j.ID)
		failed := httpapi.QueueFailed{
			ID: which, Key: j.ID, Reason: reasonFor(j), ReceivedAt: attendance.MillisOf(j.CreatedAt), FailedAt: attendance.MillisOf(j.EndedAt),
		}
		if place != mirror.Where {
			for i := range to.Nodes {
				if n := &to.Nodes[i]; n.Name == place && j.State == jobs.Failed {
					n.SetAside = append(n.SetAside, failed)
				}
			}
			continue
		}
		if to.Redis == nil {
			to.Redis = &httpapi.QueueRedis{}
		}
		switch j.State {
		case jobs.Waiting:
			to.Redis.Pending++
		case jobs.Running:
			to.Redis.Active++
		case jobs.Retrying:
			to.Redis.Retry++
		case jobs.Failed:
			to.Redis.Archived++
			to.Redis.Unusable = append(to.Redis.Unusable, failed)
		}
	}
}

// actOnJobs acts on the jobs among what is named at one place, and gives what else is
// named there; whether anything is, more says.
func (d desk) actOnJobs(ctx context.Context, act httpapi.QueueAct) (rest httpapi.QueueAct, more bool, done int, err error) {
	rest = act
	rest.IDs = nil
	var names []string
	for _, id := range act.IDs {
		name := id
		if n, err := strconv.ParseUint(id, 10, 64); err == nil {
			name = jobs.Name(act.Where, n)
		}
		if place, _ := jobs.Split(name); place == act.Where {
			names = append(names, name)
		} else {
			rest.IDs = append(rest.IDs, id)
		}
	}
	if len(act.IDs) == 0 {
		all, _ := d.jobs.List(ctx)
		for _, j := range all {
			if place, _ := jobs.Split(j.ID); place == act.Where && j.State == jobs.Failed && (act.All || reasonFor(j) == act.Reason) {
				names = append(names, j.ID)
			}
		}
	}
	for _, name := range names {
		found, err := d.jobs.Act(ctx, name, act.Dismiss)
		if err != nil {
			return rest, false, done, err
		}
		if found {
			done++
		}
	}
	return rest, len(act.IDs) == 0 || len(rest.IDs) > 0, done, nil
}
