package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Frame is one frame of the stream.
type Frame struct {
	T      string          `json:"t"`
	Node   string          `json:"node"`
	Epoch  string          `json:"epoch"`
	Seq    uint64          `json:"seq"`
	Resume string          `json:"resume"`
	Reason string          `json:"reason"`
	Type   string          `json:"type"`
	User   uint64          `json:"user_id"`
	Data   json.RawMessage `json:"data"`
	Text   string          `json:"-"` // as it came
}

// Socket is one connection to the stream.
type Socket struct{ conn *websocket.Conn }

// Refused is the answer where no connection came about.
type Refused struct{ Answer *Answer }

// Error implements error.
func (r *Refused) Error() string { return "no stream: " + r.Answer.String() }

// Stream connects; header fields come in pairs. An answer that is none is a
// *Refused.
func (c Client) Stream(ctx context.Context, query url.Values, header ...string) (*Socket, error) {
	h := make(http.Header)
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	dial := websocket.Dialer{HandshakeTimeout: 5 * time.Second}
	conn, response, err := dial.DialContext(ctx, "ws"+strings.TrimPrefix(c.Base, "http")+"/api/v1/stream?"+query.Encode(), h)
	if err != nil {
		if response == nil {
			return nil, err
		}
		defer response.Body.Close()
		body, readErr := io.ReadAll(response.Body)
		if readErr != nil {
			return nil, readErr
		}
		return nil, &Refused{&Answer{Status: response.StatusCode, Header: response.Header, Body: body}}
	}
	response.Body.Close() //nolint:errcheck // it is empty
	return &Socket{conn}, nil
}

// Next gives the next frame, until a moment.
func (s *Socket) Next(until time.Time) (f Frame, err error) {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return f, err
	}
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		return f, err
	}
	f.Text = string(text)
	return f, json.Unmarshal(text, &f)
}

// Await gives the next frame that ok says is the one; others are passed over.
func (s *Socket) Await(within time.Duration, ok func(Frame) bool) (Frame, error) {
	until := time.Now().Add(within)
	for {
		f, err := s.Next(until)
		if err != nil || ok(f) {
			return f, err
		}
	}
}

// Code reads to the end and gives the code of closing, 0 when it was cut.
func (s *Socket) Code(within time.Duration) int {
	_, err := s.Await(within, func(Frame) bool { return false })
	return closeCode(err)
}

// Close ends the connection.
func (s *Socket) Close() { s.conn.Close() } //nolint:errcheck // it may have ended

func closeCode(err error) int {
	var c *websocket.CloseError
	if errors.As(err, &c) {
		return c.Code
	}
	return 0
}

// Follower is a client of the stream that moves from node to node and keeps its
// place. It notes everything that a client should never see.
type Follower struct {
	name string
	at   []Client // the same person at each node
	full bool     // sees everything, so that there is no gap
	self uint64   // whose events alone it may see; 0 for more

	mu       sync.Mutex
	epoch    string
	pos      uint64 // up to where it knows everything
	first    uint64 // where it began
	events   []Frame
	marks    int
	faults   []string
	connects map[string]int
	ends     map[int]int // by code; 0 for all others

	end  context.CancelFunc
	done chan struct{}
}

// Follow begins to follow, until Stop.
func (c *Cluster) Follow(name string, who Client, full bool, self uint64) *Follower {
	f := &Follower{name: name, full: full, self: self, connects: map[string]int{}, ends: map[int]int{}, done: make(chan struct{})}
	for _, n := range c.Nodes {
		f.at = append(f.at, who.At(n.URL))
	}
	ctx, end := context.WithCancel(context.Background())
	f.end = end
	go func() {
		defer close(f.done)
		for ctx.Err() == nil {
			f.visit(ctx, f.at[rand.IntN(len(f.at))])
		}
	}()
	return f
}

// longestVisit bounds how long a follower stays with a node.
const longestVisit = 3 * time.Second

// visit is one connection.
func (f *Follower) visit(ctx context.Context, c Client) {
	query := url.Values{"topics": {"attendance"}}
	f.mu.Lock()
	if f.epoch != "" {
		query.Set("epoch", f.epoch)
		query.Set("after", strconv.FormatUint(f.pos, 10))
	}
	f.mu.Unlock()
	s, err := c.Stream(ctx, query)
	if err != nil {
		var refused *Refused
		if errors.As(err, &refused) && refused.Answer.Status != http.StatusServiceUnavailable && refused.Answer.Status != http.StatusTooManyRequests {
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
			f.ends[closeCode(err)]++
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

func (f *Follower) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, f.name+": "+fmt.Sprintf(format, args...))
}

// take enters a frame into the books.
func (f *Follower) take(frame Frame) {
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
	return Await(ctx, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.pos < seq {
			return fmt.Errorf("%s is at %d of %d", f.name, f.pos, seq)
		}
		return nil
	})
}

// Stop ends the following.
func (f *Follower) Stop() {
	f.end()
	<-f.done
}

// Check compares what came with all events after the beginning, up to a seq, that
// want says it had to get. It is for after Stop.
func (f *Follower) Check(log []Frame, want func(Frame) bool) []string {
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

// Events reads the events after a seq from a node's log, in the form of frames.
func (c Client) Events(ctx context.Context, after uint64) ([]Frame, error) {
	var all []Frame
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := c.Get(ctx, fmt.Sprintf("/api/v1/logs?after=%d&limit=200", after), &page); err != nil {
			return nil, err
		}
		if len(page.Items) == 0 {
			return all, nil
		}
		for _, item := range page.Items {
			f := Frame{T: "event", Text: `{"t":"event",` + string(item[1:])}
			if err := json.Unmarshal(item, &f); err != nil {
				return nil, err
			}
			after = f.Seq
			all = append(all, f)
		}
	}
}
