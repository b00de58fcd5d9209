package target

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/plan"
)

// ComposeConfig says which Compose project is meant.
type ComposeConfig struct {
	Project string
	Socket  string // of the engine
	Front   string // URL through which people come
	// NodeURL is that of a node; {node} stands for its name, {address} for the fixed
	// address of its container, {url} for the front.
	NodeURL string
	Nodes   []string
}

// What may be done to the services that a project has beside its nodes, by name.
// Nothing is done to any other service.
var besides = []string{"mysql", "nginx", "redis"}

// NewCompose returns the target of a running Compose project: the services that bear
// the names of nodes, and those beside them that it knows. All of them must run.
func NewCompose(ctx context.Context, cfg ComposeConfig) (*Target, error) {
	e := newEngine(cfg.Socket)
	all, err := e.ofProject(ctx, cfg.Project)
	if err != nil {
		return nil, err
	}
	t := &Target{
		Name: "Compose project " + cfg.Project, Front: cfg.Front, Services: map[string][]plan.Kind{},
		NodeKinds: []plan.Kind{plan.Kill, plan.Pause, plan.Stop, plan.Restart, plan.Cut, plan.Slow},
	}
	p := &compose{engine: e, project: cfg.Project, parts: map[string]container{}}
	for _, c := range all {
		service := c.Labels[serviceLabel]
		isNode := slices.Contains(cfg.Nodes, service)
		if c.Labels[oneoffLabel] == "True" || (!isNode && !slices.Contains(besides, service)) {
			continue
		}
		if _, twice := p.parts[service]; twice {
			return nil, fmt.Errorf("project %s has two containers of %s: one of each is understood", cfg.Project, service)
		}
		now, err := e.inspect(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		if !now.State.Running || now.State.Paused {
			return nil, fmt.Errorf("%s of project %s does not run: everything must run before something is done to it", service, cfg.Project)
		}
		p.parts[service] = container{c.ID, now.places()}
		if !isNode {
			t.Services[service] = []plan.Kind{plan.Kill, plan.Pause, plan.Stop}
		}
	}
	for _, node := range cfg.Nodes {
		found, there := p.parts[node]
		if !there {
			return nil, fmt.Errorf("project %s has no container of a service %s, which is a node of the cluster at %s", cfg.Project, node, cfg.Front)
		}
		address := found.address()
		if address == "" && strings.Contains(cfg.NodeURL, "{address}") {
			return nil, fmt.Errorf("%s of project %s has no fixed address: give a --node-url with {node} or {url}", node, cfg.Project)
		}
		base := strings.NewReplacer("{node}", node, "{address}", address, "{url}", strings.TrimRight(cfg.Front, "/")).Replace(cfg.NodeURL)
		t.Nodes = append(t.Nodes, Node{ID: node, URL: base})
	}
	t.hands = p
	return t, nil
}

// Members asks a front for the names of the nodes.
func Members(ctx context.Context, front client.Client) (names []string, err error) {
	v, err := front.View(ctx)
	for _, n := range v.Nodes {
		names = append(names, n.ID)
	}
	slices.Sort(names)
	return names, err
}

// places gives a container's networks, in the form in which they are asked for.
func (c inspected) places() map[string]endpoint {
	out := map[string]endpoint{}
	for name, at := range c.NetworkSettings.Networks {
		// The engine adds a part of the id itself.
		at.Aliases = slices.DeleteFunc(slices.Clone(at.Aliases), func(a string) bool { return strings.HasPrefix(c.ID, a) })
		out[name] = at
	}
	return out
}

// compose does things to containers.
type compose struct {
	engine  *engine
	project string
	parts   map[string]container // as they were found
}

type container struct {
	id     string
	places map[string]endpoint
}

// address gives the container's fixed address, "" where it has none: another one
// would change under our feet.
func (c container) address() string {
	for _, name := range slices.Sorted(maps.Keys(c.places)) {
		if ip := c.places[name].IPAMConfig; ip != nil && ip.IPv4Address != "" {
			return ip.IPv4Address
		}
	}
	return ""
}

// now looks at a part, and that it is still what it was.
func (p *compose) now(ctx context.Context, part string) (inspected, container, error) {
	was := p.parts[part]
	c, err := p.engine.inspect(ctx, was.id)
	if err == nil && (c.ID != was.id || c.Config.Labels[projectLabel] != p.project || c.Config.Labels[serviceLabel] != part) {
		err = fmt.Errorf("container %.12s is not %s of project %s any more", was.id, part, p.project)
	}
	return c, was, err
}

func (p *compose) kill(ctx context.Context, part string) error {
	c, was, err := p.now(ctx, part)
	if err != nil || !c.State.Running {
		return err
	}
	if err := p.engine.order(ctx, was.id, "kill?signal=KILL"); err != nil {
		return err
	}
	return p.await(ctx, part, "killed", func(c inspected) bool { return !c.State.Running })
}

// stop gives the container the time that its project gives it.
func (p *compose) stop(ctx context.Context, part string) error {
	_, was, err := p.now(ctx, part)
	if err != nil {
		return err
	}
	return p.engine.order(ctx, was.id, "stop")
}

func (p *compose) pause(ctx context.Context, part string) error {
	c, was, err := p.now(ctx, part)
	if err != nil || c.State.Paused {
		return err
	}
	return p.engine.order(ctx, was.id, "pause")
}

func (p *compose) cut(ctx context.Context, part string) error {
	c, was, err := p.now(ctx, part)
	if err != nil {
		return err
	}
	for name := range c.NetworkSettings.Networks {
		in := map[string]any{"Container": was.id, "Force": false}
		if err := p.engine.do(ctx, http.MethodPost, "/networks/"+name+"/disconnect", in, nil, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// right connects, starts and wakes a container, as far as that is needed.
func (p *compose) right(ctx context.Context, part string) error {
	c, was, err := p.now(ctx, part)
	if err != nil {
		return err
	}
	for name, at := range was.places {
		if _, there := c.NetworkSettings.Networks[name]; there {
			continue
		}
		in := map[string]any{"Container": was.id, "EndpointConfig": endpoint{IPAMConfig: at.IPAMConfig, Aliases: at.Aliases}}
		if err := p.engine.do(ctx, http.MethodPost, "/networks/"+name+"/connect", in, nil, http.StatusOK); err != nil {
			return err
		}
	}
	if c.State.Paused {
		if err := p.engine.order(ctx, was.id, "unpause"); err != nil {
			return err
		}
	}
	if !c.State.Running {
		if err := p.engine.order(ctx, was.id, "start"); err != nil {
			return err
		}
	}
	return p.await(ctx, part, "made good again", func(c inspected) bool {
		return c.State.Running && !c.State.Paused && !c.State.Restarting && len(c.NetworkSettings.Networks) == len(was.places)
	})
}

func (p *compose) await(ctx context.Context, part, what string, ok func(inspected) bool) error {
	return client.Await(ctx, func() error {
		c, _, err := p.now(ctx, part)
		if err == nil && !ok(c) {
			err = fmt.Errorf("%s was not %s: %+v", part, what, c.State)
		}
		return err
	})
}
