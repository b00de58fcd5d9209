package target

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"hadir/tests/chaos/plan"
)

// fakeEngine has containers, and remembers which ones were touched.
type fakeEngine struct {
	mu      sync.Mutex
	all     map[string]*inspected
	touched []string
}

func (e *fakeEngine) add(project, service string, networks ...string) *inspected {
	c := &inspected{ID: fmt.Sprintf("%s-%s-0123456789abcdef", project, service)}
	c.State.Running = true
	c.Config.Labels = map[string]string{projectLabel: project, serviceLabel: service}
	c.NetworkSettings.Networks = map[string]endpoint{}
	for _, n := range networks {
		c.NetworkSettings.Networks[n] = endpoint{IPAMConfig: &ipam{IPv4Address: "10.0.0.7"}, Aliases: []string{service, c.ID[:12]}, NetworkID: "x"}
	}
	e.all[c.ID] = c
	return c
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.URL.Path == "/containers/json" {
		var list []listed // of every project: a filter that does not filter
		for _, c := range e.all {
			list = append(list, listed{c.ID, c.Config.Labels})
		}
		json.NewEncoder(w).Encode(list) //nolint:errcheck // a test would notice
		return
	}
	if path[0] == "networks" {
		var in struct {
			Container      string
			EndpointConfig endpoint
		}
		json.NewDecoder(r.Body).Decode(&in) //nolint:errcheck // a test would notice
		e.touched = append(e.touched, path[2]+" "+in.Container)
		if path[2] == "connect" {
			in.EndpointConfig.NetworkID = "x"
			e.all[in.Container].NetworkSettings.Networks[path[1]] = in.EndpointConfig
		} else {
			delete(e.all[in.Container].NetworkSettings.Networks, path[1])
		}
		return
	}
	c := e.all[path[1]]
	if c == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if path[2] == "json" {
		json.NewEncoder(w).Encode(c) //nolint:errcheck // a test would notice
		return
	}
	e.touched = append(e.touched, path[2]+" "+c.ID)
	switch path[2] {
	case "kill", "stop":
		c.State.Running = false
	case "start":
		c.State.Running = true
	case "pause", "unpause":
		c.State.Paused = path[2] == "pause"
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *fakeEngine) state(c *inspected) inspected {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *c
}

func newFakeEngine(t *testing.T) (*fakeEngine, ComposeConfig) {
	t.Helper()
	e := &fakeEngine{all: map[string]*inspected{}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(e)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return e, ComposeConfig{Project: "ours", Socket: socket, Front: "https://front/", NodeURL: "{url}/n/{node}", Nodes: []string{"node-1", "node-2"}}
}

func TestContainersAreBrokenAndMended(t *testing.T) {
	e, cfg := newFakeEngine(t)
	n1 := e.add("ours", "node-1", "cluster")
	e.add("ours", "node-2", "cluster")
	e.add("ours", "nginx", "cluster", "front")
	e.add("ours", "grafana")
	e.add("theirs", "node-1", "cluster")
	e.add("theirs", "redis")
	before := n1.places()
	target, err := NewCompose(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Node{{"node-1", "https://front/n/node-1"}, {"node-2", "https://front/n/node-2"}}; !slices.Equal(target.Nodes, want) {
		t.Errorf("nodes: %+v", target.Nodes)
	}
	if len(target.Services) != 1 || target.Services["nginx"] == nil {
		t.Errorf("services: %v", target.Services)
	}
	is := map[plan.Kind]func(c inspected) bool{
		plan.Kill: func(c inspected) bool { return !c.State.Running }, plan.Stop: func(c inspected) bool { return !c.State.Running },
		plan.Pause: func(c inspected) bool { return c.State.Paused }, plan.Cut: func(c inspected) bool { return len(c.NetworkSettings.Networks) == 0 },
		plan.Restart: func(c inspected) bool { return c.State.Running },
	}
	for kind, broken := range is {
		if err := target.Begin(within(t), "node-1", kind); err != nil || !broken(e.state(n1)) {
			t.Errorf("%s: %v, %+v", kind, err, e.state(n1))
		}
		if err := target.End(within(t), "node-1"); err != nil {
			t.Errorf("end of %s: %v", kind, err)
		}
		if c := e.state(n1); !c.State.Running || c.State.Paused || !reflect.DeepEqual(c.places(), before) {
			t.Errorf("end of %s: %+v, want networks %+v", kind, c, before)
		}
	}
	for part, kind := range map[string]plan.Kind{"grafana": plan.Kill, "redis": plan.Kill, "nginx": plan.Cut} {
		if target.Begin(within(t), part, kind) == nil {
			t.Errorf("%s %s was done", kind, part)
		}
	}
	if err := target.Heal(within(t)); err != nil {
		t.Error(err)
	}
	for _, what := range e.touched {
		if !strings.HasSuffix(what, " "+n1.ID) {
			t.Errorf("touched: %s", what)
		}
	}
}

// TestEverythingIsHealed: several things at once, and one container that has ended by
// itself.
func TestEverythingIsHealed(t *testing.T) {
	e, cfg := newFakeEngine(t)
	n1, n2, redis := e.add("ours", "node-1", "cluster"), e.add("ours", "node-2", "cluster"), e.add("ours", "redis", "cluster")
	target, err := NewCompose(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for part, kind := range map[string]plan.Kind{"node-1": plan.Cut, "redis": plan.Pause} {
		if err := target.Begin(within(t), part, kind); err != nil {
			t.Fatal(err)
		}
	}
	e.mu.Lock()
	n2.State.Running = false
	e.mu.Unlock()
	if err := target.Heal(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*inspected{n1, n2, redis} {
		if s := e.state(c); !s.State.Running || s.State.Paused || len(s.NetworkSettings.Networks) != 1 {
			t.Errorf("%s: %+v", c.ID, s)
		}
	}
}

// TestAnotherContainer: an id that stands for something else by now is not touched.
func TestAnotherContainer(t *testing.T) {
	e, cfg := newFakeEngine(t)
	n1 := e.add("ours", "node-1")
	e.add("ours", "node-2")
	target, err := NewCompose(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	n1.Config.Labels[projectLabel] = "theirs"
	e.mu.Unlock()
	for _, kind := range target.NodeKinds {
		if kind == plan.Slow {
			continue // it only begins to
		}
		if err := target.Begin(within(t), "node-1", kind); err == nil {
			t.Errorf("%s was done", kind)
		}
	}
	if len(e.touched) > 0 {
		t.Errorf("touched: %v", e.touched)
	}
}

func TestProjectsThatAreNotTaken(t *testing.T) {
	for name, spoil := range map[string]func(e *fakeEngine, n1 *inspected){
		"a node is missing":  func(e *fakeEngine, n1 *inspected) { delete(e.all, n1.ID) },
		"a node is dead":     func(_ *fakeEngine, n1 *inspected) { n1.State.Running = false },
		"a node is paused":   func(_ *fakeEngine, n1 *inspected) { n1.State.Paused = true },
		"two of one service": func(e *fakeEngine, _ *inspected) { e.add("ours", "x").Config.Labels[serviceLabel] = "node-1" },
	} {
		e, cfg := newFakeEngine(t)
		n1 := e.add("ours", "node-1")
		e.add("ours", "node-2")
		spoil(e, n1)
		if _, err := NewCompose(within(t), cfg); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

func TestNodesAreReachedAtTheirAddress(t *testing.T) {
	e, cfg := newFakeEngine(t)
	n1 := e.add("ours", "node-1", "cluster")
	e.add("ours", "node-2", "cluster")
	cfg.NodeURL = "http://{address}:8080"
	target, err := NewCompose(within(t), cfg)
	if err != nil || target.Nodes[0].URL != "http://10.0.0.7:8080" {
		t.Errorf("%v, %+v", err, target)
	}
	n1.NetworkSettings.Networks["cluster"] = endpoint{}
	if _, err := NewCompose(within(t), cfg); err == nil {
		t.Error("a node whose address may change was taken")
	}
}
