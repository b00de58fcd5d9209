package serve

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/queue"
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
func (n *running) startQueue() error {
	own := n.node.Own()
	outbox, err := own.Outbox(store.OutboxOptions{})
	if err != nil {
		return err
	}
	config := queue.Config{Node: n.node, Outbox: outbox, Clock: Clock{}, Log: n.log, Origin: own.Incarnation(), Peers: n.node}
	if n.redis != nil {
		keys, err := n.keys.MirrorKeys()
		if err != nil {
			return err
		}
		n.mirror = mirror.New(mirror.Config{
			Redis: n.redis, Node: n.node, Clock: Clock{}, Log: n.log, Origin: own.Incarnation(), Keys: keys,
		})
		config.Mirror = n.mirror
	}
	if n.queue, err = queue.New(config); err != nil {
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
