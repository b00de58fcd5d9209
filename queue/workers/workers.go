// Package workers starts asynq's server the way a node needs it: its messages go to
// the node's log and never end the process, a Redis that hangs does not hold up a
// shutdown, and one that refuses does not keep a core busy: asynq asks for the next task
// again at once when it gets an error.
package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// patience is how long a shutdown waits for tasks under way, and then for asynq.
	patience = 500 * time.Millisecond
	// restAfter is how long asynq's server rests after an error of Redis.
	restAfter = time.Second
)

// Clock is the source of time.
type Clock interface {
	// AfterFunc calls f in its own goroutine after d.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Client gives a client whose contexts and timeouts hold: asynq uses contexts without
// an end for what it does in the background.
func Client(o *redis.Options) *redis.Client {
	own := *o
	own.ContextTimeoutEnabled = true // else contexts end nothing
	own.DialTimeout, own.ReadTimeout, own.WriteTimeout, own.PoolTimeout = time.Second, time.Second, time.Second, time.Second
	own.MaxRetries = -1
	return redis.NewClient(&own)
}

// Start has h work on tasks until stop is called, which waits for a second at most.
// The server has a client of its own, which rests after errors.
func Start(o *redis.Options, c asynq.Config, h asynq.Handler, clock Clock, log *slog.Logger) (stop func()) {
	c.Logger, c.LogLevel, c.ShutdownTimeout = quiet{log}, asynq.WarnLevel, patience
	client, stopping := Client(o), make(chan struct{})
	client.AddHook(rest{clock, stopping})
	end := func() { // not before the server has ended, or asynq panics
		if err := client.Close(); err != nil {
			log.Debug("redis client", "error", err)
		}
	}
	server := asynq.NewServerFromRedisClient(client, c)
	if err := server.Start(h); err != nil {
		log.Error("nobody works on tasks in redis", "error", err) // it was started twice
		return end
	}
	return func() {
		close(stopping)
		done := make(chan struct{})
		go func() {
			defer close(done)
			server.Shutdown()
			end()
		}()
		over := make(chan struct{})
		defer clock.AfterFunc(2*patience, func() { close(over) })()
		select {
		case <-done:
		case <-over: // Redis hangs; asynq ends with the process
		}
	}
}

// rest has whoever gets an error of Redis wait before it is told.
type rest struct {
	clock    Clock
	stopping <-chan struct{}
}

// DialHook implements redis.Hook.
func (rest) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (r rest) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.after(ctx, err)
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (r rest) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		r.after(ctx, err)
		return err
	}
}

// after waits, unless the error is an answer: that there is nothing, or that a script
// has to be sent as a whole.
func (r rest) after(ctx context.Context, err error) {
	if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "NOSCRIPT") {
		return
	}
	over := make(chan struct{})
	defer r.clock.AfterFunc(restAfter, func() { close(over) })()
	select {
	case <-over:
	case <-r.stopping:
	case <-ctx.Done():
	}
}

// quiet passes on what asynq says. It never ends the process.
type quiet struct{ log *slog.Logger }

func (q quiet) say(level slog.Level, args []any) {
	q.log.Log(context.Background(), level, "asynq: "+fmt.Sprint(args...))
}

// Debug implements asynq.Logger, as do the others.
func (q quiet) Debug(args ...any) { q.say(slog.LevelDebug, args) }

// Info is debugging to us.
func (q quiet) Info(args ...any) { q.say(slog.LevelDebug, args) }

// Warn is debugging to us: that Redis is out of reach is told once, elsewhere.
func (q quiet) Warn(args ...any) { q.say(slog.LevelDebug, args) }

// Error is debugging to us, for the same reason.
func (q quiet) Error(args ...any) { q.say(slog.LevelDebug, args) }

// Fatal only tells.
func (q quiet) Fatal(args ...any) { q.say(slog.LevelError, args) }
