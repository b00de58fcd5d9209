package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hadir/tests/chaos/client"
)

// freshness is the promise: an answer without stale has everything that was
// acknowledged so long before.
const freshness = 2 * time.Second

// Reader reads while a load runs, and checks that an answer that is not marked stale
// has what somebody was told two seconds before.
type Reader struct {
	at    client.Client
	load  *Load
	every time.Duration

	mu     sync.Mutex
	counts Reads
	faults []string

	end  context.CancelFunc
	done chan struct{}
}

// Reads counts reads.
type Reads struct {
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	Stale    int `json:"stale"`   // of them, marked as such
	Checked  int `json:"checked"` // of them, those in which something had to be
}

// Read begins to read, until Stop.
func Read(at client.Client, l *Load, every time.Duration) *Reader {
	ctx, end := context.WithCancel(context.Background())
	r := &Reader{at: at, load: l, every: every, end: end, done: make(chan struct{})}
	go r.run(ctx)
	return r
}

func (r *Reader) run(ctx context.Context) {
	defer close(r.done)
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
			r.read(ctx, n*7919)
		case <-ctx.Done():
			return
		}
	}
}

const readTimeout = 5 * time.Second

func (r *Reader) read(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	want, told, some := r.load.Sample(n)
	path := "/api/v1/attendances?limit=20"
	if some {
		path += fmt.Sprintf("&user_id=%d&type=%s", want.User, want.Type)
	}
	began := time.Now()
	a, err := r.at.Do(ctx, http.MethodGet, path, "", nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Sent++
	switch {
	case err != nil: // nobody is there
	case a.Status == http.StatusOK:
		r.counts.Answered++
		r.check(a, want, some && told.Add(freshness).Before(began))
	case !mayRefuse(a):
		r.faults = append(r.faults, "a read met "+a.String())
	}
}

func (r *Reader) check(a *client.Answer, want client.Attendance, must bool) {
	var page struct {
		Items []client.Attendance `json:"items"`
		Stale bool                `json:"stale"`
	}
	if err := json.Unmarshal(a.Body, &page); err != nil {
		r.faults = append(r.faults, fmt.Sprintf("a read met %s: %v", a, err))
		return
	}
	if page.Stale {
		r.counts.Stale++
		return
	}
	if !must {
		return
	}
	r.counts.Checked++
	for _, item := range page.Items {
		if item.ID == want.ID {
			return
		}
	}
	r.faults = append(r.faults, fmt.Sprintf("%s says that it is fresh and does not have record %d", a.Header.Get("X-Hadir-Node"), want.ID))
}

// Counts gives how far it is.
func (r *Reader) Counts() Reads {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Stop ends the reading and gives what was wrong.
func (r *Reader) Stop() (faults []string) {
	r.end()
	<-r.done
	return r.faults
}
