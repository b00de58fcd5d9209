package front

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// Node is one server behind the front.
type Node struct {
	ID  string
	URL *url.URL
}

// turn is a node with what passing traffic told about it.
type turn struct {
	Node
	out atomic.Bool // of turn, and being probed
}

// fail takes the node out of turn and starts looking for its return.
func (f *Front) fail(t *turn, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.Err() != nil || !t.out.CompareAndSwap(false, true) {
		return
	}
	f.cfg.Log.Info("node is out of turn", "node", t.ID, "error", cause)
	f.wg.Go(func() { f.await(t) })
}

// Gone takes a node out of turn at once: who started the nodes knows of a death
// before any request does.
func (f *Front) Gone(id string, cause error) {
	for _, t := range f.turns {
		if t.ID == id {
			f.fail(t, cause)
		}
	}
}

// await probes a node until it is back. No request of a person is spent on
// finding out.
func (f *Front) await(t *turn) {
	ticker := time.NewTicker(f.cfg.ProbeEvery)
	defer ticker.Stop()
	for !f.healthy(t) {
		select {
		case <-f.life.Done():
			return
		case <-ticker.C:
		}
	}
	t.out.Store(false)
	f.cfg.Log.Info("node is back in turn", "node", t.ID)
}

func (f *Front) healthy(t *turn) bool {
	ctx, cancel := context.WithTimeout(f.life, f.cfg.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL.JoinPath("healthz").String(), http.NoBody)
	if err != nil {
		return false
	}
	resp, err := f.quick.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close() //nolint:errcheck // only the status counts
	return resp.StatusCode == http.StatusOK
}
