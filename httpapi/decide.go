package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// propose asks for a decision within the budget.
func (c *call) propose(who *visitor, key string, body attendance.Body) (cluster.Result, error) {
	return c.proposeSince(c.api.Clock.Now(), who, key, body)
}

// proposeSince is propose for what was received at a moment.
func (c *call) proposeSince(received time.Time, who *visitor, key string, body attendance.Body) (cluster.Result, error) {
	if err := c.cleared(); err != nil {
		return cluster.Result{}, err
	}
	result, err := c.api.decide(c.r.Context(), received, who, key, body)
	if err != nil {
		return result, err
	}
	if result.Index > 0 {
		c.index(result.Index)
	}
	if c.note.decided = true; result.Outcome.Replayed {
		c.note.replayed = key
	}
	return result, nil
}

// decide asks for a decision within the budget. It may be called concurrently.
func (a *API) decide(ctx context.Context, received time.Time, who *visitor, key string, body attendance.Body) (cluster.Result, error) {
	command := attendance.Command{Principal: who.principal(), Key: key, Node: a.Node.Name(), Body: body}
	// The state machine's own check: what it would halt on must not get past.
	if err := command.Check(); err != nil {
		return cluster.Result{}, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Budget)
	defer cancel()
	result, err := a.Node.Propose(ctx, cluster.Request{Command: command, ReceivedAt: received})
	if err != nil {
		certain := slices.ContainsFunc([]error{
			cluster.ErrNoLeader, cluster.ErrOverloaded, cluster.ErrInvalid, cluster.ErrClosing, cluster.ErrNotMember, cluster.ErrDiskLow,
		}, func(no error) bool { return errors.Is(err, no) })
		if !certain {
			// Whatever it is, nobody said that nothing was decided.
			err = fmt.Errorf("%w: %w", cluster.ErrUnknown, err)
		}
		return cluster.Result{}, err
	}
	return result, nil
}

// implausible is how far ahead of everything that this node knows of an index
// may lie and still come from another node's answer.
const implausible = 1 << 20

// read runs f on the state, as fresh as asked, within the budget.
func (c *call) read(how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error) {
	if how.MinIndex > c.api.Node.Applied()+implausible {
		// It may be this node that is far behind: it knows how far the others are.
		newest := uint64(0)
		for _, n := range c.api.Node.Status().Nodes {
			newest = max(newest, n.Commit, n.Applied)
		}
		if how.MinIndex > newest+implausible {
			return cluster.Freshness{}, invalidQuery(fieldError{"min_index", "is beyond everything that was ever decided"})
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	fresh, err := c.api.Node.Read(ctx, how, f)
	if err == nil {
		c.index(fresh.Index)
	}
	return fresh, err
}
