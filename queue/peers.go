package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Peers asks the other nodes; *cluster.Node does.
type Peers interface {
	Status() cluster.Status
	// Ask asks a member, by name.
	Ask(ctx context.Context, member, question string, body []byte) ([]byte, error)
	// Answer has f answer a question of the other members from now on.
	Answer(question string, f cluster.Answerer)
}

const (
	questionFind = "queue.find"
	// askTimeout bounds how long whoever asks for a key waits for nodes that hang.
	askTimeout = 500 * time.Millisecond
)

// Found is an entry and the node whose outbox knows it.
type Found struct {
	store.OutboxEntry
	Node string
}

// FindAnywhere is Find over all nodes that answer soon. A decision counts for more
// than an entry that waits, and this node for more than another one.
func (q *Queue) FindAnywhere(ctx context.Context, p attendance.Principal, key string) (Found, error) {
	e, err := q.Find(p, key)
	best := Found{e, q.cfg.Node.Name()}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Found{}, err
	}
	known := err == nil
	if known && e.State == store.OutboxDecided || q.cfg.Peers == nil {
		return best, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	question := encodeFind(p, key)
	var mu sync.Mutex
	var wg sync.WaitGroup
	status := q.cfg.Peers.Status()
	for _, n := range status.Nodes {
		if n.Name == status.Node || !n.Reachable {
			continue
		}
		wg.Go(func() {
			raw, err := q.cfg.Peers.Ask(ctx, n.Name, questionFind, question)
			var e store.OutboxEntry
			if err == nil {
				e, err = decodeFound(raw)
			}
			if err != nil {
				if !errors.Is(err, store.ErrNotFound) {
					q.cfg.Log.Debug("a node did not say what it knows of a key", "peer", n.Name, "error", err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !known || e.State == store.OutboxDecided && best.State != store.OutboxDecided {
				best, known = Found{e, n.Name}, true
			}
		})
	}
	wg.Wait()
	if !known {
		return Found{}, store.ErrNotFound
	}
	return best, nil
}

// answerFind is the other half.
func (q *Queue) answerFind(_ context.Context, question []byte) ([]byte, error) {
	r := attendance.NewReader(question)
	r.Version(1)
	p := attendance.Principal{Kind: attendance.PrincipalKind(r.Small()), ID: r.Uint()}
	key := r.String()
	if err := r.Err(); err != nil {
		return nil, err
	}
	e, err := q.Find(p, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && e.Damaged != nil {
		return encodeFound(nil)
	} else if err != nil {
		return nil, err
	}
	return encodeFound(&e)
}

func encodeFind(p attendance.Principal, key string) []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(p.Kind))
	w.Uint(p.ID)
	w.String(key)
	return w.Data()
}

func encodeFound(e *store.OutboxEntry) ([]byte, error) {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Bool(e != nil)
	if e == nil {
		return w.Data(), nil
	}
	row, err := e.Encode()
	if err != nil {
		return nil, err
	}
	w.Uint(e.N)
	w.Uint(uint64(e.State))
	w.Millis(e.At)
	w.String(e.Reason)
	w.Bytes(e.Outcome.Encode())
	w.Bytes(row)
	return w.Data(), nil
}

func decodeFound(b []byte) (e store.OutboxEntry, err error) {
	r := attendance.NewReader(b)
	r.Version(1)
	if !r.Bool() {
		if err := r.Err(); err != nil {
			return e, err
		}
		return e, store.ErrNotFound
	}
	n, state, at, reason := r.Uint(), store.OutboxState(r.Small()), r.Millis(), r.String()
	outcome, row := r.Bytes(), r.Bytes()
	if err := r.Err(); err != nil {
		return e, err
	}
	if e, err = store.DecodeOutboxEntry(row); err != nil {
		return e, fmt.Errorf("entry of another node: %w", err)
	}
	e.N, e.State, e.At, e.Reason = n, state, at, reason
	e.Outcome, err = attendance.DecodeOutcome(outcome)
	return e, err
}

// FindAt is Find at another node.
func (q *Queue) FindAt(ctx context.Context, node string, p attendance.Principal, key string) (store.OutboxEntry, error) {
	if q.cfg.Peers == nil {
		return store.OutboxEntry{}, cluster.ErrUnknownServer
	}
	raw, err := q.cfg.Peers.Ask(ctx, node, questionFind, encodeFind(p, key))
	if err != nil {
		return store.OutboxEntry{}, err
	}
	return decodeFound(raw)
}
