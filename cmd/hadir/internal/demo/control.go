package demo

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"hadir/cmd/hadir/internal/proc"
	"hadir/httpapi"
)

// Where a node finds its parent, in its environment and not on its command line,
// which every user of the machine can read.
const (
	ControlURLEnv   = "HADIR_DEMO_CONTROL_URL"
	ControlTokenEnv = "HADIR_DEMO_CONTROL_TOKEN"
)

// The actions of the control.
const (
	Kill   = "kill"
	Freeze = "freeze"
	Thaw   = "thaw"
	Start  = "start"
	Stop   = "stop" // a node in good order, or the morning
)

// School is the name under which the control starts and stops the morning, as if
// it were a node.
const School = "school"

// The errors of a control, on both sides of it.
var (
	ErrNotNow     = httpapi.ErrNotNow
	ErrBadRequest = errors.New("the demo's parent process did not understand")
)

// actDelay is the time between the answer to an order and the act. The order may
// come through the node that it kills.
const actDelay = 150 * time.Millisecond

// processes is what a control acts on; proc.Set is one.
type processes interface {
	Kill(ctx context.Context, name string) error
	Stop(name string) error
	Freeze(name string) error
	Thaw(name string) error
	Start(name string) error
	List() []proc.Info
}

// lessons drives taps; Morning is one.
type lessons interface {
	Start() error
	Stop()
}

// control is the parent's side.
type control struct {
	set   processes
	taps  lessons
	token string
	log   *slog.Logger
	delay time.Duration

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
	stop   chan struct{}
}

func newControl(set processes, taps lessons, token string, log *slog.Logger) *control {
	return &control{set: set, taps: taps, token: token, log: log, delay: actDelay, stop: make(chan struct{})}
}

// close drops the orders that wait and returns when none is being carried out.
func (c *control) close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.stop)
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// ServeHTTP takes POST /{node}/{action}, and GET / for the states.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(got), []byte(c.token)) != 1 {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	node, action, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method == http.MethodGet && node == "" {
		states := map[string]string{}
		for _, p := range c.set.List() {
			states[p.Name] = string(p.State)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(states) //nolint:errcheck // the node is gone then
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "method", http.StatusMethodNotAllowed)
		return
	}
	switch err := c.order(node, action); {
	case errors.Is(err, httpapi.ErrUnknownNode):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, ErrNotNow):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// order says whether an order makes sense now, and has it carried out.
func (c *control) order(node, action string) error {
	if node == School {
		return c.lesson(action)
	}
	var state proc.State
	for _, p := range c.set.List() {
		if p.Name == node {
			state = p.State
		}
	}
	if state == "" {
		return httpapi.ErrUnknownNode
	}
	var from []proc.State
	var act func() error
	switch action {
	case Kill:
		from, act = []proc.State{proc.Running, proc.Frozen}, func() error { return c.set.Kill(context.Background(), node) }
	case Stop:
		from, act = []proc.State{proc.Running}, func() error { return c.set.Stop(node) }
	case Freeze:
		from, act = []proc.State{proc.Running}, func() error { return c.set.Freeze(node) }
	case Thaw:
		from, act = []proc.State{proc.Frozen}, func() error { return c.set.Thaw(node) }
	case Start:
		from, act = []proc.State{proc.Dead}, func() error { return c.set.Start(node) }
	default:
		return ErrBadRequest
	}
	for _, s := range from {
		if s == state {
			return c.later(node, action, act)
		}
	}
	return ErrNotNow
}

// lesson starts or stops the morning.
func (c *control) lesson(action string) error {
	switch action {
	case Start:
		if err := c.taps.Start(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotNow, err)
		}
		return nil
	case Stop:
		c.taps.Stop()
		return nil
	}
	return ErrBadRequest
}

func (c *control) later(node, action string, act func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrNotNow
	}
	c.wg.Go(func() {
		wait := time.NewTimer(c.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.stop:
			return
		}
		if err := act(); err != nil {
			c.log.Warn("order was not carried out", "node", node, "action", action, "error", err)
			return
		}
		c.log.Debug("order", "node", node, "action", action)
	})
	return nil
}
