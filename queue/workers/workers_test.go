package workers_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"hadir/queue/redistest"
	"hadir/queue/workers"
)

// counter counts how often somebody rested, and gives them no time to.
type counter struct{ rests atomic.Int64 }

func (c *counter) AfterFunc(d time.Duration, f func()) func() bool {
	c.rests.Add(1)
	return time.AfterFunc(d/10, f).Stop
}

// TestRedisGoes: the server does not keep asking a Redis that refuses, works again when
// it is back, and stops while it is away.
func TestRedisGoes(t *testing.T) {
	r, c := redistest.Start(t), &counter{}
	var asked atomic.Int64
	done := make(chan struct{}, 8)
	stop := workers.Start(r.URL(), asynq.Config{
		Concurrency: 1, Queues: map[string]int{"q": 1}, TaskCheckInterval: 10 * time.Millisecond,
		BaseContext: context.Background,
	}, asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		asked.Add(1)
		done <- struct{}{}
		return nil
	}), c, slog.New(slog.DiscardHandler))
	send := func() {
		t.Helper()
		client := asynq.NewClientFromRedisClient(r.Client)
		if _, err := client.Enqueue(asynq.NewTask("x", nil), asynq.Queue("q")); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	send()
	r.Kill()
	redistest.Await(t, "it rests", func() bool { return c.rests.Load() > 2 })
	r.Restart()
	send()
	if asked.Load() != 2 {
		t.Errorf("%d tasks were worked on", asked.Load())
	}
	r.Kill()
	stop()
}
