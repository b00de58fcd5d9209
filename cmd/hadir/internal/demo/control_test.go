package demo

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"hadir/cmd/hadir/internal/proc"
	"hadir/httpapi"
)

// stand-in processes, which remember what was done to them.
type actors struct {
	mu    sync.Mutex
	state map[string]proc.State
	done  chan string
}

func (a *actors) act(node, action string, to proc.State) error {
	a.mu.Lock()
	a.state[node] = to
	a.mu.Unlock()
	a.done <- action + " " + node
	return nil
}

func (a *actors) Kill(_ context.Context, n string) error { return a.act(n, Kill, proc.Dead) }
func (a *actors) Stop(n string) error                    { return a.act(n, Stop, proc.Dead) }
func (a *actors) Freeze(n string) error                  { return a.act(n, Freeze, proc.Frozen) }
func (a *actors) Thaw(n string) error                    { return a.act(n, Thaw, proc.Running) }
func (a *actors) Start(n string) error                   { return a.act(n, Start, proc.Running) }

func (a *actors) List() []proc.Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []proc.Info
	for n, s := range a.state {
		out = append(out, proc.Info{Name: n, State: s})
	}
	return out
}

func TestControl(t *testing.T) {
	a := &actors{state: map[string]proc.State{"n1": proc.Running}, done: make(chan string, 8)}
	c := newControl(a, &pupils{}, "right", quiet())
	c.delay = time.Millisecond
	s := httptest.NewServer(c)
	defer s.Close()
	defer c.close()
	parent := func(token string) *Parent {
		return FindParent(func(name string) string { return map[string]string{ControlURLEnv: s.URL, ControlTokenEnv: token}[name] })
	}
	p := parent("right")
	defer p.http.CloseIdleConnections()
	for _, tc := range []struct {
		node, action string
		want         error
	}{
		{"n9", Kill, httpapi.ErrUnknownNode},
		{"n1", "dance", ErrBadRequest},
		{"n1", Start, ErrNotNow},
		{"n1", Thaw, ErrNotNow},
		{"n1", Freeze, nil},
		{"n1", Freeze, ErrNotNow},
		{"n1", Thaw, nil},
		{"n1", Kill, nil},
		{"n1", Kill, ErrNotNow},
		{"n1", Stop, ErrNotNow},
		{"n1", Start, nil},
		{"n1", Stop, nil},
		{"n1", Start, nil},
	} {
		err := p.Act(t.Context(), tc.node, tc.action)
		if !errors.Is(err, tc.want) {
			t.Fatalf("%s %s: %v, want %v", tc.action, tc.node, err, tc.want)
		}
		if tc.want == nil {
			if got := <-a.done; got != tc.action+" "+tc.node {
				t.Fatalf("done: %s", got)
			}
		}
	}
	wrong := parent("wrong")
	defer wrong.http.CloseIdleConnections()
	if err := wrong.Act(t.Context(), "n1", Kill); !errors.Is(err, ErrBadRequest) || len(a.done) != 0 {
		t.Fatalf("wrong token: %v", err)
	}
	if FindParent(func(string) string { return "" }) != nil {
		t.Fatal("a parent was found without an environment")
	}
}

func TestControlDropsOrdersWhenItCloses(t *testing.T) {
	a := &actors{state: map[string]proc.State{"n1": proc.Running}, done: make(chan string, 1)}
	c := newControl(a, &pupils{}, "", quiet())
	c.delay = time.Hour
	if err := c.order("n1", Kill); err != nil {
		t.Fatal(err)
	}
	c.close()
	if len(a.done) != 0 {
		t.Fatal("the order was carried out")
	}
	if err := c.order("n1", Kill); !errors.Is(err, ErrNotNow) {
		t.Fatalf("after close: %v", err)
	}
}

// pupils is a school that notes what it was told.
type pupils struct{ told []string }

func (p *pupils) Start() error {
	p.told = append(p.told, Start)
	if len(p.told) > 1 {
		return ErrMorning
	}
	return nil
}

func (p *pupils) Stop() { p.told = append(p.told, Stop) }

func TestControlDrivesTheMorning(t *testing.T) {
	p := &pupils{}
	c := newControl(nil, p, "right", quiet())
	defer c.close()
	for _, test := range []struct {
		action string
		want   error
	}{{Start, nil}, {Start, ErrNotNow}, {Stop, nil}, {Kill, ErrBadRequest}} {
		if err := c.order(School, test.action); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.action, err, test.want)
		}
	}
	if len(p.told) != 3 {
		t.Errorf("told %v", p.told)
	}
}
