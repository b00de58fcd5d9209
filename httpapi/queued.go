package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Queue keeps taps that cannot be decided at present, and has them decided later.
type Queue interface {
	// CheckIn has a tap decided or, where Queued is not nil, has recorded it. The
	// queue has its own budget for that.
	CheckIn(ctx context.Context, req cluster.Request) (cluster.Result, *Queued, error)
	// Find gives what any node's outbox knows of a key, or store.ErrNotFound.
	Find(ctx context.Context, p attendance.Principal, key string) (Queued, error)
	// Usable says why nothing can be recorded at present; nil when it can.
	Usable() error
	// Depth says how much waits on this node.
	Depth() store.OutboxDepth
}

// Queued is a tap in an outbox, and where there are copies of it.
type Queued struct {
	store.OutboxEntry
	Copies []Copy
}

// Copy is one place where a tap is kept.
type Copy struct {
	Where string `json:"where"` // a node, or redis
	Fsync bool   `json:"fsync"` // it survives a power cut there
}

// queuedJSON is a tap that is recorded and undecided.
type queuedJSON struct {
	Status          string `json:"status"`
	Key             string `json:"key"`
	StatusURL       string `json:"status_url"`
	ReceivedAt      stamp  `json:"received_at"`
	Copies          []Copy `json:"copies"`
	LikelyDuplicate bool   `json:"likely_duplicate,omitempty"`
	Reason          string `json:"reason,omitempty"` // why it was set aside
}

const (
	queuedStatus = "queued"
	setAside     = "set_aside"
)

// kept is what 202 may say, and lookedUp what a key may stand for: for the
// contract alone.
type (
	kept     struct{}
	lookedUp struct{}
)

// OneOf implements openapi.Union.
func (kept) OneOf() []any { return []any{decisionJSON{}, queuedJSON{}} }

// OneOf implements openapi.Union.
func (lookedUp) OneOf() []any { return []any{checkInStateJSON{}, queuedJSON{}} }

// decideOrRecord has a tap that was received at a moment decided or, where that is
// not possible now, recorded.
func (c *call) decideOrRecord(received time.Time, key string, b attendance.CheckIn) (cluster.Result, *Queued, error) {
	if c.api.Queue == nil {
		result, err := c.proposeSince(received, c.who, key, b)
		return result, nil, err
	}
	if err := c.cleared(); err != nil {
		return cluster.Result{}, nil, err
	}
	command := attendance.Command{Principal: c.who.principal(), Key: key, Node: c.api.Node.Name(), Body: b}
	// The state machine's own check: what it would halt on must not get past.
	if err := command.Check(); err != nil {
		return cluster.Result{}, nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	result, queued, err := c.api.Queue.CheckIn(c.r.Context(), cluster.Request{Command: command, ReceivedAt: received})
	switch {
	case errors.Is(err, store.ErrKeyReused):
		// What the state machine would say, if it could be asked.
		rejected := attendance.Outcome{Status: attendance.RejectedStatus, Reason: attendance.KeyReused}
		return cluster.Result{Outcome: rejected}, nil, nil
	case err != nil || queued != nil:
		return cluster.Result{}, queued, err
	}
	if result.Index > 0 {
		c.index(result.Index)
	}
	if c.note.decided = true; result.Outcome.Replayed {
		c.note.replayed = key
	}
	return result, nil, nil
}

// answerQueued tells that a tap is recorded.
func (c *call) answerQueued(key string, q Queued) error {
	answer := jsonQueued(key, q)
	answer.LikelyDuplicate = c.likelyDuplicate(q)
	return c.json(http.StatusAccepted, answer)
}

func jsonQueued(key string, q Queued) queuedJSON {
	out := queuedJSON{
		Status: queuedStatus, Key: key, StatusURL: apiPrefix + "/checkins/" + key, ReceivedAt: stamp(q.Receipt.Wall), Copies: q.Copies,
	}
	if q.State == store.OutboxFailed {
		out.Reason = setAside
	}
	return out
}

// likelyDuplicate reports whether, by what this node knows, the tap is too near to
// an accepted one. Nothing depends on it, so what cannot be read is no.
func (c *call) likelyDuplicate(q Queued) (likely bool) {
	b, isTap := q.Command.Body.(attendance.CheckIn)
	if !isTap {
		return false
	}
	_, err := c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		at := q.Receipt.Wall
		prev, next := tx.Neighbours(b.UserID, b.Kind, at, tx.Params().Window)
		likely = tx.Params().Conflict(at, prev, next) != nil
		return nil
	})
	return likely && err == nil
}

// findQueued tells what the outboxes know of a key about which this node's state
// says nothing; unknown is the answer when they know nothing either.
func (c *call) findQueued(who attendance.Principal, key string, unknown error) error {
	var p *problem
	if c.api.Queue == nil || !errors.As(unknown, &p) || p.Code != codeNotFound {
		return unknown
	}
	q, err := c.api.Queue.Find(c.r.Context(), who, key)
	if errors.Is(err, store.ErrNotFound) {
		return unknown
	} else if err != nil {
		return err
	}
	// Whether the visitor may see a person has been judged before; what a device did
	// depends on whom it was for.
	fresh, err := c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil || who.Kind != attendance.DevicePrincipal {
			return err
		}
		return s.need(q.User())
	})
	if err != nil {
		return err
	}
	if q.State == store.OutboxDecided {
		return c.json(http.StatusOK, checkInStateJSON{jsonDecision(key, q.Outcome), jsonFresh(fresh)})
	}
	return c.json(http.StatusOK, jsonQueued(key, q))
}
