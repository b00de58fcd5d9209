package target

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/chaos/plan"
)

// parent stands for a demo's parent process.
type parent struct {
	mu    sync.Mutex
	state map[string]string
	did   []string
}

func (p *parent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet {
		json.NewEncoder(w).Encode(p.state) //nolint:errcheck // a test would notice
		return
	}
	node, action, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	next := map[string]string{"running kill": dead, "running stop": dead, "running freeze": frozen, "frozen kill": dead, "frozen thaw": running, "dead start": running}
	to, ok := next[p.state[node]+" "+action]
	if !ok {
		w.WriteHeader(http.StatusConflict)
		return
	}
	p.state[node] = to
	p.did = append(p.did, action+" "+node)
	w.WriteHeader(http.StatusAccepted)
}

func (p *parent) set(node, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state[node] = state
}

func (p *parent) get() (map[string]string, []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]string{}
	for k, v := range p.state {
		out[k] = v
	}
	return out, slices.Clone(p.did)
}

func newTestDemo(t *testing.T, states map[string]string) (*parent, DemoConfig) {
	t.Helper()
	p := &parent{state: states}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, DemoConfig{Front: "http://front", Nodes: []Node{{"n1", "http://a"}, {"n2", "http://b"}}, Control: s.URL, Token: "secret"}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestDemoFaultsBeginAndEnd(t *testing.T) {
	p, cfg := newTestDemo(t, map[string]string{"n1": running, "n2": running})
	target, err := NewDemo(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[plan.Kind]string{plan.Kill: dead, plan.Stop: dead, plan.Pause: frozen, plan.Restart: running} {
		if err := target.Begin(within(t), "n1", kind); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if states, _ := p.get(); states["n1"] != want || states["n2"] != running {
			t.Errorf("%s: %v", kind, states)
		}
		if err := target.End(within(t), "n1"); err != nil {
			t.Errorf("end of %s: %v", kind, err)
		}
		if states, _ := p.get(); states["n1"] != running {
			t.Errorf("end of %s: %v", kind, states)
		}
	}
}

// TestSlowEndsRunning: a slow node stops and goes on, and runs in the end, even if it
// has died meanwhile.
func TestSlowEndsRunning(t *testing.T) {
	p, cfg := newTestDemo(t, map[string]string{"n1": running, "n2": running})
	target, err := NewDemo(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Begin(within(t), "n2", plan.Slow); err != nil {
		t.Fatal(err)
	}
	for {
		if _, did := p.get(); len(did) >= 4 {
			if want := []string{"freeze n2", "thaw n2", "freeze n2", "thaw n2"}; !slices.Equal(did[:4], want) {
				t.Errorf("done: %v", did)
			}
			break
		}
		if within(t).Err() != nil {
			t.Fatal("nothing is done")
		}
	}
	p.set("n1", dead)
	if err := target.Heal(within(t)); err != nil {
		t.Error(err)
	}
	if states, _ := p.get(); states["n1"] != running || states["n2"] != running {
		t.Errorf("healed: %v", states)
	}
	_, before := p.get()
	if err := target.Heal(within(t)); err != nil {
		t.Error(err)
	}
	if _, after := p.get(); len(after) != len(before) {
		t.Errorf("healing what is well has done %v", after[len(before):])
	}
}

func TestDemoIsLeftAlone(t *testing.T) {
	p, cfg := newTestDemo(t, map[string]string{"n1": running, "n2": running, "n3": running})
	target, err := NewDemo(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for part, kind := range map[string]plan.Kind{"n3": plan.Kill, "n1": plan.Cut, "redis": plan.Kill, "n2": "dance"} {
		if err := target.Begin(within(t), part, kind); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s %s: %v", kind, part, err)
		}
	}
	if err := target.End(within(t), "n3"); !errors.Is(err, ErrUnknown) {
		t.Errorf("end of a foreign part: %v", err)
	}
	if _, did := p.get(); len(did) > 0 {
		t.Errorf("done: %v", did)
	}
	cfg.Token = "wrong"
	if _, err := NewDemo(within(t), cfg); err == nil {
		t.Error("a wrong token was taken")
	}
	cfg.Token = "secret"
	p.set("n1", frozen)
	if _, err := NewDemo(within(t), cfg); err == nil {
		t.Error("a demo with a frozen node was taken")
	}
}
