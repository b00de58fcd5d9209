package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/httpapi"
)

// fakeTally adds up in memory; nothing is forgotten while its nodes' clocks stand still.
type fakeTally struct {
	mu    sync.Mutex
	sums  map[string]time.Duration
	err   error
	hang  chan struct{}
	asked int
}

func (f *fakeTally) Add(ctx context.Context, names []string, by []time.Duration) ([]time.Duration, error) {
	f.mu.Lock()
	hang := f.hang
	f.asked++
	f.mu.Unlock()
	if hang != nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	out := make([]time.Duration, len(names))
	for i, name := range names {
		f.sums[name] += by[i]
		out[i] = f.sums[name]
	}
	return out, nil
}

func (f *fakeTally) sum(prefix string) (total time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, d := range f.sums {
		if strings.HasPrefix(name, prefix) {
			total += d
		}
	}
	return total
}

// TestImplausibleTally: a Redis whose clock was set back, or that somebody has written
// to, shuts nobody out.
func TestImplausibleTally(t *testing.T) {
	f := &fakeTally{sums: map[string]time.Duration{"pace:user:3": time.Hour}}
	w := newWorld(t, func(c *httpapi.Config) { c.Tally = f })
	w.clock.freeze()
	send := func(n int) reply {
		return w.do(aniID, "POST", "/api/v1/checkins", `{"type":"bad"}`, "Idempotency-Key", fmt.Sprintf("01930000-0000-7000-8000-0000000%05d", n))
	}
	for i := range 60 {
		w.want(send(i), http.StatusBadRequest, "invalid_body")
		if i == 0 {
			await(t, "the tally was asked", func() bool { return f.sum("pace:") > time.Hour })
		}
	}
	await(t, "it was asked again", func() bool { return f.sum("pace:") == time.Hour+60*500*time.Millisecond })
	w.want(send(60), http.StatusBadRequest, "invalid_body")
}

// TestPaceOfAllNodes: who has used up their pace at one node has at the others, too.
func TestPaceOfAllNodes(t *testing.T) {
	f := &fakeTally{sums: make(map[string]time.Duration)}
	with := func(c *httpapi.Config) { c.Tally = f }
	a, b := newWorld(t, with), newWorld(t, with)
	a.clock.freeze()
	b.clock.freeze()
	send := func(w *world, n int) reply {
		return w.do(aniID, "POST", "/api/v1/checkins", `{"type":"bad"}`, "Idempotency-Key", fmt.Sprintf("01930000-0000-7000-8000-0000000%05d", n))
	}
	const burst = 120 // of a student, one each 500 ms
	for i := range burst {
		a.want(send(a, i), http.StatusBadRequest, "invalid_body")
	}
	await(t, "all are told", func() bool { return f.sum("pace:user:3") == burst*500*time.Millisecond })
	// The other node lets through what it does not know to be too much, and learns.
	n := 0
	await(t, "the other node refuses", func() bool {
		n++
		r := send(b, 1000+n)
		return r.StatusCode == http.StatusTooManyRequests && r.code() == "rate_limited" && r.Header.Get("Retry-After") != ""
	})
	if n > burst {
		t.Errorf("it let %d through", n)
	}
	b.want(b.do(budiID, "POST", "/api/v1/checkins", `{"type":"bad"}`), http.StatusBadRequest, "invalid_body")
}

// TestFailedSignInsOfAllNodes does it for passwords, without telling whose.
func TestFailedSignInsOfAllNodes(t *testing.T) {
	f := &fakeTally{sums: make(map[string]time.Duration)}
	with := func(c *httpapi.Config) { c.Tally = f }
	a, b := newWorld(t, with), newWorld(t, with)
	a.clock.freeze()
	b.clock.freeze()
	const burst = 10 // for one account, one each 12 s
	for range burst {
		a.want(a.signIn(emails[aniID], "wrong"), http.StatusUnauthorized, "unauthenticated")
	}
	await(t, "all are told", func() bool { return f.sum("fail:") == burst*(12+2)*time.Second })
	f.mu.Lock()
	for name := range f.sums {
		if strings.Contains(name, "sekolah") || strings.Contains(name, "127.0.0.1") {
			t.Errorf("a name tells who it is: %s", name)
		}
	}
	f.mu.Unlock()
	await(t, "the other node refuses", func() bool {
		return b.signIn(emails[aniID], "wrong").StatusCode == http.StatusTooManyRequests
	})
	if r := b.signIn(emails[aniID], word); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the right password: %d", r.StatusCode)
	}
	b.want(b.signIn(emails[budiID], word), http.StatusOK, "")
}

// TestTallyIsIll: nobody waits for it, nobody is refused for it, and each node keeps to
// its own limits.
func TestTallyIsIll(t *testing.T) {
	for what, f := range map[string]*fakeTally{
		"fails": {err: fmt.Errorf("%w: gone", httpapi.ErrNoTally)}, "hangs": {hang: make(chan struct{})},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, func(c *httpapi.Config) { c.Tally = f })
			w.clock.freeze()
			asked := func() int {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.asked
			}
			for i := range 120 {
				w.want(w.do(aniID, "POST", "/api/v1/checkins", `{"type":"bad"}`), http.StatusBadRequest, "invalid_body")
				if i == 60 {
					await(t, "it was asked", func() bool { return asked() > 0 })
				}
			}
			w.want(w.do(aniID, "POST", "/api/v1/checkins", `{"type":"bad"}`), http.StatusTooManyRequests, "rate_limited")
			w.want(w.tap(budiID, key1, tapIn), http.StatusCreated, "")
		})
	}
}
