package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Errors of Redeliver.
var (
	// ErrUnknown: this node has no hook of that name, or the event is not kept any more,
	// is of another history, or is not one that the hook wants.
	ErrUnknown = errors.New("no such webhook or event")
)

// Cluster is what hooks need of the node; *cluster.Node is one.
type Cluster interface {
	Name() string
	Status() cluster.Status
	IsLeader() (term uint64, ok bool)
	Read(ctx context.Context, how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error)
	Propose(ctx context.Context, req cluster.Request) (cluster.Result, error)
	Ask(ctx context.Context, member, question string, body []byte) ([]byte, error)
	Answer(question string, f cluster.Answerer)
}

// Clock is the source of time.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what is needed. Fields without "optional" are required.
type Config struct {
	Cluster Cluster
	Clock   Clock
	Log     *slog.Logger
	Hooks   []Hook
	// HandOver takes an event that an endpoint refuses, to have it delivered by
	// Redeliver until a person gives it up.
	// The epoch names the history that the event is of.
	HandOver func(ctx context.Context, hook, epoch string, seq uint64) error
	// Pace divides pauses, for tests. Optional: 1.
	Pace int
}

const (
	idle        = 250 * time.Millisecond // between two looks
	leastPause  = time.Second            // after the first failure
	mostPause   = time.Minute
	refusals    = 3 // of one event before it is handed over
	pageEvents  = 256
	markEvery   = 5 * time.Second
	budget      = 2 * time.Second // of a proposal
	askTimeout  = 500 * time.Millisecond
	auditPrefix = "webhook."

	questionStatus = "webhook.status"
)

// State says what a hook does.
type State string

// The states.
const (
	Standby    State = "standby" // another node delivers, or nobody leads
	Delivering State = "delivering"
	Pausing    State = "waiting" // the endpoint does not take anything at present
)

// Status is how a hook does.
type Status struct {
	Name     string
	Place    string // scheme and host
	Kinds    []string
	Node     string // that tells
	State    State
	Seq      uint64 // everything up to it was delivered or handed over
	Lag      uint64 // events that come after
	Reason   string // of the last failure; "" when the last delivery was taken
	FailedAt time.Time
}

// Hooks are all hooks of this node.
type Hooks struct {
	cfg     Config
	runners []*runner
}

// New gives hooks; nothing is delivered before Run.
func New(c Config) (*Hooks, error) {
	if c.Cluster == nil || c.Clock == nil || c.Log == nil || c.HandOver == nil {
		return nil, errors.New("webhook: Cluster, Clock, Log and HandOver are required")
	}
	c.Pace = max(1, c.Pace)
	h := &Hooks{cfg: c}
	for _, hook := range c.Hooks {
		h.runners = append(h.runners, &runner{cfg: &h.cfg, sender: newSender(hook, sendTimeout/time.Duration(c.Pace)), target: MarkPrefix + hook.Name, view: Status{State: Standby}})
	}
	c.Cluster.Answer(questionStatus, func(ctx context.Context, _ []byte) ([]byte, error) {
		own, err := h.own(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(own)
	})
	return h, nil
}

// Run delivers until ctx ends.
func (h *Hooks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, r := range h.runners {
		wg.Go(func() { r.run(ctx) })
	}
	wg.Wait()
}

// Redeliver delivers one event once, whichever node this is. Errors: ErrUnknown,
// cluster.ErrBehind when this node does not have the event yet, or what keeps the
// endpoint from taking it.
func (h *Hooks) Redeliver(ctx context.Context, hook, epoch string, seq uint64) error {
	for _, r := range h.runners {
		if r.sender.hook.Name != hook {
			continue
		}
		var e attendance.Event
		_, err := h.cfg.Cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) (err error) {
			if epoch != epochOf(tx) {
				return fmt.Errorf("%w: event %d of another history", ErrUnknown, seq)
			}
			if seq > tx.Meta().Seq {
				return fmt.Errorf("%w: event %d is not applied yet", cluster.ErrBehind, seq)
			}
			e, err = tx.Event(seq)
			return err
		})
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("%w: event %d", ErrUnknown, seq)
		case err != nil:
			return err
		case !r.sender.hook.wants(e):
			return fmt.Errorf("%w: event %d is not wanted", ErrUnknown, seq)
		}
		return r.sender.send(ctx, epoch, e, h.cfg.Clock.Now())
	}
	return fmt.Errorf("%w: %s", ErrUnknown, hook)
}

// Status says how the hooks do, as the leader sees it; where it cannot be asked, as
// this node does.
func (h *Hooks) Status(ctx context.Context) ([]Status, error) {
	if s := h.cfg.Cluster.Status(); s.Leader != "" && s.Leader != h.cfg.Cluster.Name() {
		short, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		raw, err := h.cfg.Cluster.Ask(short, s.Leader, questionStatus, nil)
		var theirs []Status
		if err == nil && json.Unmarshal(raw, &theirs) == nil {
			return theirs, nil
		}
		h.cfg.Log.Debug("the leader does not say how webhooks do", "leader", s.Leader, "error", err)
	}
	return h.own(ctx)
}

func (h *Hooks) own(ctx context.Context) (all []Status, err error) {
	_, err = h.cfg.Cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		marks, newest := tx.Marks(), tx.Meta().Seq
		for _, r := range h.runners {
			s := r.status()
			s.Name, s.Place, s.Node = r.sender.hook.Name, r.sender.hook.place(), h.cfg.Cluster.Name()
			s.Kinds = []string{}
			for _, kind := range r.sender.hook.Kinds {
				s.Kinds = append(s.Kinds, kind.String())
			}
			if s.Seq == 0 {
				s.Seq = marks[r.target]
			}
			s.Lag = newest - min(newest, s.Seq)
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// epochOf names the history, as the stream does.
func epochOf(tx *store.ReadTx) string {
	m := tx.Meta()
	return fmt.Sprintf("%s-%d", m.Cluster.String()[:4], m.Epoch)
}
