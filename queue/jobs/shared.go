package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"hadir/queue/sealed"
	"hadir/queue/workers"
)

const (
	taskType     = "job"
	redisBudget  = 2 * time.Second // for what is written to Redis or read from it at a time
	afterFailure = time.Second     // Redis is left alone for so long
	sweepEvery   = time.Minute
	atOnce       = 2
	mostListed   = 100
	taskLife     = 2 * Keep // of what a job is done with
	doneTaskLife = time.Hour
	allQueues    = "asynq:queues" // where asynq keeps the names of queues
)

// shared holds the jobs that are in Redis.
type shared struct {
	cfg    Config
	client *redis.Client
	tasks  *asynq.Client
	look   *asynq.Inspector

	ready atomic.Pointer[door]
	open  atomic.Int64 // when Redis is asked again, in nanoseconds since 1970
}

// door is known once this node is a member of a cluster.
type door struct {
	queue  string
	sealer *sealed.Sealer
}

// note is what a task says of its job, sealed.
type note struct {
	Kind      string
	Owner     uint64
	Spec      []byte
	CreatedAt time.Time
}

// outcome is what a task says of its result.
type outcome struct {
	Seq  uint64
	Size int
}

func newShared(c Config) *shared {
	client := workers.Client(c.Redis)
	return &shared{cfg: c, client: client, tasks: asynq.NewClientFromRedisClient(client), look: asynq.NewInspectorFromRedisClient(client)}
}

func (s *shared) taskKey(d *door, id string) string   { return d.queue + ":task:" + id }
func (s *shared) resultKey(d *door, id string) string { return d.queue + ":result:" + id }

// enter gives the door, unless Redis has just failed.
func (s *shared) enter() (*door, error) {
	d := s.ready.Load()
	if d == nil || s.cfg.Clock.Now().UnixNano() < s.open.Load() {
		return nil, fmt.Errorf("%w: %s", ErrAway, redisPlace)
	}
	return d, nil
}

// away notes that Redis has failed.
func (s *shared) away(err error) error {
	s.open.Store(s.cfg.Clock.Now().Add(afterFailure).UnixNano())
	return fmt.Errorf("%w: %s: %w", ErrAway, redisPlace, err)
}

// start hands a job to Redis: what it is done with first, so that no worker misses it.
func (s *shared) start(ctx context.Context, job Job, packed []byte) error {
	d, err := s.enter()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, redisBudget)
	defer cancel()
	task, err := d.sealer.Seal("task "+job.ID, packed)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(note{job.Kind, job.Owner, job.Spec, job.CreatedAt})
	if err != nil {
		return err
	}
	payload, err := d.sealer.Seal("note "+job.ID, raw)
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, s.taskKey(d, job.ID), task, taskLife).Err(); err != nil {
		return s.away(err)
	}
	// asynq's client tells the name of a queue once in its life, and Redis may have
	// been flushed since.
	if err := s.client.SAdd(ctx, allQueues, d.queue).Err(); err != nil {
		return s.away(err)
	}
	_, err = s.tasks.EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.TaskID(job.ID), asynq.Queue(d.queue),
		asynq.MaxRetry(MaxTries-1), asynq.Timeout(tryTime), asynq.Retention(Keep))
	if err != nil {
		return s.away(err)
	}
	return nil
}

// fault tells what asynq says apart.
func (s *shared) fault(err error) error {
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return ErrUnknown
	}
	return s.away(err)
}

func (s *shared) find(id string) (Job, error) {
	d, err := s.enter()
	if err != nil {
		return Job{}, err
	}
	info, err := s.look.GetTaskInfo(d.queue, id)
	if err != nil {
		return Job{}, s.fault(err)
	}
	return d.job(info), nil
}

// job reads what a task says.
func (d *door) job(info *asynq.TaskInfo) Job {
	job := Job{ID: info.ID, Tries: info.Retried, Reason: strings.TrimSuffix(info.LastErr, ": "+asynq.SkipRetry.Error())}
	if raw, err := d.sealer.Open("note "+info.ID, info.Payload); err == nil {
		var n note
		if json.Unmarshal(raw, &n) == nil {
			job.Kind, job.Owner, job.Spec, job.CreatedAt = n.Kind, n.Owner, n.Spec, n.CreatedAt
		}
	}
	switch info.State {
	case asynq.TaskStateActive:
		job.State = Running
	case asynq.TaskStateRetry:
		job.State = Retrying
	case asynq.TaskStateArchived:
		job.State, job.EndedAt, job.Tries = Failed, info.LastFailedAt, job.Tries+1
	case asynq.TaskStateCompleted:
		job.State, job.EndedAt = Done, info.CompletedAt
		var o outcome
		if json.Unmarshal(info.Result, &o) == nil {
			job.Seq, job.Size = o.Seq, o.Size
		}
	default:
		job.State = Waiting
	}
	return job
}

func (s *shared) result(ctx context.Context, id string) ([]byte, error) {
	job, err := s.find(id)
	switch {
	case err != nil:
		return nil, err
	case job.State != Done:
		return nil, ErrNotDone
	}
	d, err := s.enter()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redisBudget)
	defer cancel()
	raw, err := s.client.Get(ctx, s.resultKey(d, id)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, ErrUnknown
	case err != nil:
		return nil, s.away(err)
	}
	body, err := d.sealer.Open("result "+id, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return body, nil
}

// list gives the newest jobs of each state.
func (s *shared) list() (all []Job, err error) {
	d, err := s.enter()
	if err != nil {
		return nil, err
	}
	for _, f := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		s.look.ListPendingTasks, s.look.ListActiveTasks, s.look.ListRetryTasks, s.look.ListArchivedTasks, s.look.ListCompletedTasks,
	} {
		page, err := f(d.queue, asynq.PageSize(mostListed))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, s.away(err)
		}
		for _, info := range page {
			all = append(all, d.job(info))
		}
	}
	return all, nil
}

// count adds what Redis has, if it can be asked.
func (s *shared) count(to map[State]int) {
	d, err := s.enter()
	if err != nil {
		return
	}
	info, err := s.look.GetQueueInfo(d.queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return
	} else if err != nil {
		_ = s.away(err) // the way is closed for a moment
		return
	}
	to[Waiting] += info.Pending + info.Scheduled
	to[Running] += info.Active
	to[Retrying] += info.Retry
	to[Done] += info.Completed
	to[Failed] += info.Archived
}

func (s *shared) act(ctx context.Context, id string, dismiss bool) (found bool, err error) {
	d, err := s.enter()
	if err != nil {
		return false, err
	}
	job, err := s.find(id)
	if errors.Is(err, ErrUnknown) || err == nil && job.State != Failed {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if !dismiss {
		return true, s.look.RunTask(d.queue, id)
	}
	return true, s.forget(ctx, d, id)
}

func (s *shared) forget(ctx context.Context, d *door, id string) error {
	if err := s.look.DeleteTask(d.queue, id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, redisBudget)
	defer cancel()
	return s.client.Del(ctx, s.taskKey(d, id), s.resultKey(d, id)).Err()
}

// run does jobs until ctx ends.
func (s *shared) run(ctx context.Context, r Runner) {
	defer func() {
		if err := s.client.Close(); err != nil {
			s.cfg.Log.Debug("redis client", "error", err)
		}
	}()
	for s.cfg.Peers.Status().Cluster.IsZero() {
		if !s.wait(ctx, afterFailure) {
			return
		}
	}
	cluster := s.cfg.Peers.Status().Cluster
	box, err := sealed.New(s.cfg.Keys, cluster, "jobs", s.cfg.Rand)
	if err != nil {
		s.cfg.Log.Error("jobs stay in memory: nothing can be sealed for redis", "error", err)
		return
	}
	d := &door{queue: "hadir-" + cluster.String()[:16] + "-jobs", sealer: box}
	paced := func(d time.Duration) time.Duration { return d / time.Duration(s.cfg.Pace) }
	stop := workers.Start(s.cfg.Redis, asynq.Config{
		Concurrency: atOnce, Queues: map[string]int{d.queue: 1}, BaseContext: func() context.Context { return ctx },
		TaskCheckInterval: paced(time.Second), DelayedTaskCheckInterval: paced(time.Second),
		// A node that stops has not failed at what it was doing.
		IsFailure:      func(err error) bool { return !errors.Is(err, context.Canceled) },
		RetryDelayFunc: func(failed int, _ error, _ *asynq.Task) time.Duration { return paced(pause(failed + 1)) },
	}, asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return s.handle(ctx, d, r, t) }), s.cfg.Clock, s.cfg.Log)
	defer stop()
	s.ready.Store(d)
	defer s.ready.Store(nil)
	for s.wait(ctx, paced(sweepEvery)) {
		s.sweep(ctx, d)
	}
}

// wait waits for t and reports whether ctx goes on.
func (s *shared) wait(ctx context.Context, t time.Duration) bool {
	over := make(chan struct{})
	defer s.cfg.Clock.AfterFunc(t, func() { close(over) })()
	select {
	case <-over:
		return true
	case <-ctx.Done():
		return false
	}
}

// sweep forgets what has failed and was left lying: asynq would keep it for 90 days.
func (s *shared) sweep(ctx context.Context, d *door) {
	archived, err := s.look.ListArchivedTasks(d.queue, asynq.PageSize(mostListed))
	if err != nil {
		return // Redis is out of reach, or has no jobs
	}
	for _, info := range archived {
		if s.cfg.Clock.Now().Sub(info.LastFailedAt) < Keep {
			continue
		}
		if err := s.forget(ctx, d, info.ID); err != nil {
			s.cfg.Log.Debug("an old job was not forgotten", "job", info.ID, "error", err)
		}
	}
}

// handle does one job. Its error says when it is tried again.
func (s *shared) handle(ctx context.Context, d *door, r Runner, t *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	err := s.do(ctx, d, r, id, t)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrPermanent), errors.Is(err, ErrTooLarge), errors.Is(err, sealed.ErrForeign):
		s.cfg.Log.Warn("a job failed", "job", id, "error", err)
		return fmt.Errorf("%s: %w", reasonOf(err), asynq.SkipRetry)
	}
	s.cfg.Log.Info("a job failed and is tried again", "job", id, "error", err)
	return err
}

func (s *shared) do(ctx context.Context, d *door, r Runner, id string, t *asynq.Task) error {
	short, cancel := context.WithTimeout(ctx, redisBudget)
	box, err := s.client.Get(short, s.taskKey(d, id)).Bytes()
	cancel()
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("%w: what it was to be done with is not kept any more", ErrPermanent)
	} else if err != nil {
		return err
	}
	packed, err := d.sealer.Open("task "+id, box)
	if err != nil {
		return err
	}
	task, err := unpack(packed)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	result, err := r.RunJob(ctx, id, task)
	if err != nil {
		return err
	}
	body, err := deflate(result.Body)
	if err != nil {
		return err
	}
	if box, err = d.sealer.Seal("result "+id, body); err != nil {
		return err
	}
	said, err := json.Marshal(outcome{result.Seq, len(result.Body)})
	if err != nil {
		return err
	}
	short, cancel = context.WithTimeout(ctx, redisBudget)
	defer cancel()
	if err := s.client.Set(short, s.resultKey(d, id), box, Keep).Err(); err != nil {
		return err
	}
	if _, err := t.ResultWriter().Write(said); err != nil {
		return err
	}
	return s.client.Expire(short, s.taskKey(d, id), doneTaskLife).Err()
}
