package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"hadir/tests/chaos/client"
)

// Follower is a client of the stream that moves from node to node and keeps its
// place. It notes everything that a client should never see.
type Follower struct {
	name string
	at   []client.Client // the same person at each node
	full bool            // sees everything, so that there is no gap
	self uint64          // whose events alone it may see; 0 for more

	mu       sync.Mutex
	epoch    string
	pos      uint64 // up to where it knows everything
	first    uint64 // where it began
	events   []client.Frame
	marks    int
	faults   []string
	connects map[string]int
	ends     map[int]int // by code; 0 for all others

	end  context.CancelFunc
	done chan struct{}
}

// Follow begins to follow, until Stop. at is the same person at each node that may
// be visited; full says that the person sees everything, self whose events alone
// they may see, 0 for more.
func Follow(name string, at []client.Client, full bool, self uint64) *Follower {
	ctx, end := context.WithCancel(context.Background())
	f := newFollower(name, full, self)
	f.at, f.end = at, end
	go func() {
		defer close(f.done)
		for ctx.Err() == nil {
			f.visit(ctx, f.at[rand.IntN(len(f.at))])
		}
	}()
	return f
}

func newFollower(name string, full bool, self uint64) *Follower {
	return &Follower{name: name, full: full, self: self, connects: map[string]int{}, ends: map[int]int{}, done: make(chan struct{})}
}

// longestVisit bounds how long a follower stays with a node.
const longestVisit = 3 * time.Second

// visit is one connection.
func (f *Follower) visit(ctx context.Context, c client.Client) {
	query := url.Values{"topics": {"attendance"}}
	f.mu.Lock()
	if f.epoch != "" {
		query.Set("epoch", f.epoch)
		query.Set("after", strconv.FormatUint(f.pos, 10))
	}
	f.mu.Unlock()
	s, err := c.Stream(ctx, query)
	if err != nil {
		var refused *client.Refused
		if errors.As(err, &refused) && !mayRefuse(refused.Answer) {
			f.fault("%v", err)
		}
		pause := time.NewTimer(20 * time.Millisecond) // nobody listens there now
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		return
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	until := time.Now().Add(time.Duration(rand.Int64N(int64(longestVisit))))
	for greeted := false; ; {
		frame, err := s.Next(until)
		if err != nil {
			f.mu.Lock()
			f.ends[client.CloseCode(err)]++
			f.mu.Unlock()
			return
		}
		if !greeted && frame.T != "hello" {
			f.fault("the first frame is %s", frame.Text)
		}
		greeted = true
		f.take(frame)
	}
}

// mayRefuse reports whether a stream may be refused like that: by a node for the
// time being, or by a front that reaches no node.
func mayRefuse(a *client.Answer) bool {
	switch a.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return true
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return a.Header.Get("X-Hadir-Node") == ""
	}
	return false
}

func (f *Follower) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, f.name+": "+fmt.Sprintf(format, args...))
}

// take enters a frame into the books.
func (f *Follower) take(frame client.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := func(format string, args ...any) {
		f.faults = append(f.faults, f.name+": "+fmt.Sprintf(format, args...))
	}
	switch frame.T {
	case "hello":
		f.connects[frame.Node]++
		switch {
		case f.epoch == "":
			f.epoch, f.pos, f.first = frame.Epoch, frame.Seq, frame.Seq
		case frame.Resume != "ok" || frame.Seq != f.pos || frame.Epoch != f.epoch:
			fault("resumed at %d: %s", f.pos, frame.Text)
		}
	case "event":
		if frame.Seq <= f.pos || (f.full && frame.Seq != f.pos+1) {
			fault("event %d after %d", frame.Seq, f.pos)
		}
		if f.self != 0 && frame.User != f.self {
			fault("somebody else's event: %s", frame.Text)
		}
		f.pos = frame.Seq
		f.events = append(f.events, frame)
	case "mark":
		if frame.Seq < f.pos {
			fault("mark %d after %d", frame.Seq, f.pos)
		}
		f.pos = frame.Seq
		f.marks++
	}
}

// Reached waits until the follower knows everything up to a seq.
func (f *Follower) Reached(ctx context.Context, seq uint64) error {
	return client.Await(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.pos < seq {
			return fmt.Errorf("%s is at %d of %d", f.name, f.pos, seq)
		}
		return nil
	})
}

// Name gives the follower's name.
func (f *Follower) Name() string { return f.name }

// Stop ends the following.
func (f *Follower) Stop() {
	f.end()
	<-f.done
}

// Check compares what came with all events after the beginning, up to a seq, that
// want says it had to get. It is for after Stop.
func (f *Follower) Check(log []client.Frame, want func(client.Frame) bool) []string {
	faults := f.faults
	i := 0
	for _, e := range log {
		if e.Seq <= f.first || !want(e) {
			continue
		}
		switch {
		case i >= len(f.events):
			faults = append(faults, fmt.Sprintf("%s: event %d and what follows never came", f.name, e.Seq))
			return faults
		case f.events[i].Text != e.Text:
			faults = append(faults, fmt.Sprintf("%s: got %s, the log has %s", f.name, f.events[i].Text, e.Text))
			return faults
		}
		i++
	}
	if len(log) > 0 {
		for i < len(f.events) && f.events[i].Seq > log[len(log)-1].Seq {
			i++ // younger than the log that was read
		}
	}
	if i < len(f.events) {
		faults = append(faults, fmt.Sprintf("%s: %s came and is not in the log", f.name, f.events[i].Text))
	}
	return faults
}

// String gives one line.
func (f *Follower) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%s: %d events and %d marks from %d to %d; connections %v; ends by code %v; faults %d", f.name, len(f.events), f.marks,
		f.first+1, f.pos, f.connects, f.ends, len(f.faults))
}
