package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/queue"
	"hadir/queue/jobs"
	"hadir/queue/mirror"
	"hadir/store"
)

// readRedis reads where Redis is. What is wrong with the URL is told without it: it
// may hold a password.
func (p *plan) readRedis() error {
	text, from := p.RedisURL, "--redis-url"
	if p.RedisURLFile != "" {
		b, err := os.ReadFile(p.RedisURLFile)
		if err != nil {
			return fmt.Errorf("--redis-url-file: %w", err)
		}
		text, from = strings.TrimSpace(string(b)), "--redis-url-file "+p.RedisURLFile
	} else if text == "" {
		return nil
	}
	var err error
	if p.redis, err = redis.ParseURL(text); err != nil {
		return &UsageError{from + " is no URL of Redis: give it as redis://user:password@host:6379/0, or rediss:// for TLS"}
	}
	return nil
}

// startQueue opens the outbox and has it drained, and mirrored where there is a
// Redis, until stopQueue.
func (n *running) startQueue(metrics *httpapi.Metrics) error {
	own := n.node.Own()
	outbox, err := own.Outbox(store.OutboxOptions{})
	if err != nil {
		return err
	}
	config := queue.Config{Node: n.node, Outbox: outbox, Clock: Clock{}, Log: n.log, Origin: own.Incarnation(), Peers: n.node, Changed: n.queueChanged}
	keys, err := n.keys.MirrorKeys()
	if err != nil {
		return err
	}
	if n.redis != nil {
		n.mirror = mirror.New(mirror.Config{
			Redis: n.redis, Node: n.node, Clock: Clock{}, Log: n.log, Origin: own.Incarnation(), Keys: keys,
		})
		config.Mirror = n.mirror
	}
	if n.queue, err = queue.New(config); err != nil {
		return err
	}
	if err := n.newJobs(keys); err != nil {
		return err
	}
	n.desk = desk{n.queue, n.mirror, n.jobs, keys, func() attendance.ClusterID { return n.node.Status().Cluster }}
	if err := errors.Join(metrics.Register(newQueueCollector(n.queue)), metrics.Register(newJobCollector(n.jobs))); err != nil {
		return err
	}
	if d := outbox.Depth(); d.Waiting+d.Failed > 0 {
		n.log.Info("check-ins of before wait in the outbox", "waiting", d.Waiting, "failed", d.Failed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.queue.Run(ctx) })
	if n.mirror != nil {
		wg.Go(func() { n.mirror.Run(ctx, n.queue) })
	}
	n.stopQueue = func() {
		cancel()
		wg.Wait()
	}
	return nil
}

// queueChanged tells the door, once there is one. Nobody can be connected before.
func (n *running) queueChanged(e store.OutboxEntry) {
	if api := n.served.Load(); api != nil {
		api.QueueChanged(e)
	}
}

// door is the queue as the door sees it.
type door struct{ *queue.Queue }

// CheckIn implements httpapi.Queue.
func (d door) CheckIn(ctx context.Context, req cluster.Request) (cluster.Result, *httpapi.Queued, error) {
	a, err := d.Queue.CheckIn(ctx, req)
	if err != nil || a.Queued == nil {
		return a.Result, nil, err
	}
	q := &httpapi.Queued{OutboxEntry: *a.Queued}
	for _, c := range a.Copies {
		q.Copies = append(q.Copies, httpapi.Copy(c))
	}
	return cluster.Result{}, q, nil
}

// Find implements httpapi.Queue.
func (d door) Find(ctx context.Context, p attendance.Principal, key string) (httpapi.Queued, error) {
	f, err := d.FindAnywhere(ctx, p, key)
	if err != nil {
		return httpapi.Queued{}, err
	}
	return httpapi.Queued{OutboxEntry: f.OutboxEntry, Copies: []httpapi.Copy{{Where: f.Node, Fsync: true}}}, nil
}

// desk is the queues of all nodes as the door sees them.
type desk struct {
	queue   *queue.Queue
	mirror  *mirror.Mirror // nil without Redis
	jobs    *jobs.Jobs
	keys    [][]byte // that seal what outboxes hold
	cluster func() attendance.ClusterID
}

// Import implements httpapi.QueueDesk.
func (d desk) Import(sealed []byte) (known bool, err error) {
	e, _, err := mirror.Open(d.keys, d.cluster(), sealed)
	if err != nil {
		return false, fmt.Errorf("%w: %w", httpapi.ErrForeign, err)
	}
	return d.queue.Import(e)
}

// View implements httpapi.QueueDesk.
func (d desk) View(ctx context.Context) (out httpapi.QueueView, err error) {
	found := make(chan []jobs.Job, 1)
	go func() {
		all, _ := d.jobs.List(ctx) // a node that cannot be asked says so itself
		found <- all
	}()
	views, err := d.queue.Views(ctx)
	if err != nil {
		return out, err
	}
	for _, v := range views {
		n := httpapi.QueueNode{
			Name: v.Node, Error: v.Error, Waiting: v.Waiting, Failed: v.Failed, Bytes: v.Bytes, OldestAge: v.OldestAge,
			Decided: v.Decided, PerSecond: v.PerSecond, EmptyIn: v.EmptyIn, Waited: v.Waited, WaitHalf: v.WaitHalf, Wait99: v.Wait99,
			Unusable: v.Usable,
		}
		if m := v.Mirror; m != nil {
			n.Mirrored, n.RedisUp, n.RedisSafe, n.RedisWhy = true, m.Up, m.Fsync, m.Why
		}
		for _, s := range v.SetAside {
			n.SetAside = append(n.SetAside, httpapi.QueueFailed{
				ID: strconv.FormatUint(s.N, 10), Principal: s.Principal, Key: s.Key, UserID: s.UserID, Kind: s.Kind,
				ReceivedAt: s.ReceivedAt, FailedAt: s.FailedAt, Reason: s.Reason,
			})
		}
		out.Nodes = append(out.Nodes, n)
	}
	defer func() { addJobs(<-found, &out) }()
	if d.mirror == nil {
		return out, nil
	}
	tasks, err := d.mirror.Tasks()
	if err != nil {
		return out, nil //nolint:nilerr // each node says whether Redis is out of reach, and why
	}
	out.Redis = &httpapi.QueueRedis{
		Scheduled: tasks.Scheduled, Pending: tasks.Pending, Active: tasks.Active, Retry: tasks.Retry, Archived: tasks.Archived,
	}
	for _, u := range tasks.Unusable {
		out.Redis.Unusable = append(out.Redis.Unusable, httpapi.QueueFailed{ID: u.Task, Reason: u.Reason, FailedAt: attendance.MillisOf(u.At)})
	}
	return out, nil
}

// Act implements httpapi.QueueDesk.
func (d desk) Act(ctx context.Context, act httpapi.QueueAct) (int, error) {
	act, more, done, err := d.actOnJobs(ctx, act)
	if err != nil || !more {
		return done, err
	}
	others, err := d.actOnCheckIns(ctx, act)
	return done + others, err
}

func (d desk) actOnCheckIns(ctx context.Context, act httpapi.QueueAct) (int, error) {
	if act.Where == mirror.Where {
		return d.actOnRedis(act)
	}
	a := queue.Act{Dismiss: act.Dismiss, Reason: act.Reason, All: act.All}
	for _, id := range act.IDs {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return 0, err
		}
		a.Places = append(a.Places, n)
	}
	if err := a.Check(); err != nil {
		return 0, err
	}
	return d.queue.Act(ctx, act.Where, a)
}

func (d desk) actOnRedis(act httpapi.QueueAct) (done int, err error) {
	if d.mirror == nil {
		return 0, errors.New("this node has no redis")
	}
	names := act.IDs
	if len(names) == 0 {
		tasks, err := d.mirror.Tasks()
		if err != nil {
			return 0, err
		}
		for _, u := range tasks.Unusable {
			if act.All || u.Reason == act.Reason {
				names = append(names, u.Task)
			}
		}
	}
	for _, name := range names {
		found, err := d.mirror.Act(name, act.Dismiss)
		if err != nil {
			return done, err
		}
		if found {
			done++
		}
	}
	return done, nil
}
