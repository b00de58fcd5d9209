package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/plan"
)

// DemoConfig says where a running hadir demo is.
type DemoConfig struct {
	Front string
	Nodes []Node
	// Control is the URL at which its parent process takes orders, and Token is what
	// it wants to see. Processes are known to it by name, so that no signal goes to
	// a number that somebody else's process may have got since.
	Control, Token string
}

// NewDemo returns the target of a running demo. All of its nodes must run.
func NewDemo(ctx context.Context, cfg DemoConfig) (*Target, error) {
	d := &demo{url: cfg.Control, token: cfg.Token, http: &http.Client{Timeout: 5 * time.Second}}
	states, err := d.states(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range cfg.Nodes {
		if states[n.ID] != running {
			return nil, fmt.Errorf("%s of the demo is %s: it must run before something is done to it", n.ID, states[n.ID])
		}
	}
	return &Target{
		Name: "demo", Front: cfg.Front, Nodes: cfg.Nodes, hands: d,
		NodeKinds: []plan.Kind{plan.Kill, plan.Pause, plan.Stop, plan.Restart, plan.Slow},
	}, nil
}

// demo gives orders to the parent process of a demo.
type demo struct {
	url, token string
	http       *http.Client
}

// The states of a node process.
const (
	running = "running"
	frozen  = "frozen"
	dead    = "dead"
)

func (d *demo) do(ctx context.Context, method, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("the demo's parent process does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, body, err
}

func (d *demo) states(ctx context.Context) (map[string]string, error) {
	status, body, err := d.do(ctx, http.MethodGet, "/")
	if err != nil {
		return nil, err
	}
	var states map[string]string
	if err := json.Unmarshal(body, &states); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("the demo's parent process gives no states: %d %.200s", status, body)
	}
	return states, nil
}

// order gives an order. That it makes no sense in the state in which the node is by
// now is no error: whoever orders looks at the state.
func (d *demo) order(ctx context.Context, node, action string) error {
	status, body, err := d.do(ctx, http.MethodPost, "/"+url.PathEscape(node)+"/"+action)
	if err == nil && status != http.StatusAccepted && status != http.StatusConflict {
		err = fmt.Errorf("%s of %s: the demo answers %d %.200s", action, node, status, body)
	}
	return err
}

// await orders once and waits for a state.
func (d *demo) await(ctx context.Context, node, action, want string) error {
	states, err := d.states(ctx)
	if err != nil || states[node] == want {
		return err
	}
	if err := d.order(ctx, node, action); err != nil {
		return err
	}
	var ended error // it died in between, and will not come to that state
	err = client.Await(ctx, func() error {
		states, err := d.states(ctx)
		switch {
		case err != nil || states[node] == want:
			return err
		case states[node] == dead:
			ended = fmt.Errorf("%s of %s: it has ended by itself", action, node)
			return nil
		}
		return fmt.Errorf("%s of %s: it is %s", action, node, states[node])
	})
	return errors.Join(err, ended)
}

func (d *demo) kill(ctx context.Context, node string) error { return d.await(ctx, node, "kill", dead) }
func (d *demo) stop(ctx context.Context, node string) error { return d.await(ctx, node, "stop", dead) }

func (d *demo) pause(ctx context.Context, node string) error {
	return d.await(ctx, node, "freeze", frozen)
}

func (d *demo) cut(context.Context, string) error {
	return fmt.Errorf("%w: processes on one loopback have no network to cut", ErrUnknown)
}

// again is how long an order may take to show before it is given again: a node may
// have ended by itself in between.
const again = time.Second

func (d *demo) right(ctx context.Context, node string) error {
	var ordered time.Time
	return client.Await(ctx, func() error {
		states, err := d.states(ctx)
		if err != nil || states[node] == running {
			return err
		}
		if time.Since(ordered) > again {
			ordered = time.Now()
			action := map[string]string{dead: "start", frozen: "thaw"}[states[node]]
			if err := d.order(ctx, node, action); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s is %s and has not come back", node, states[node])
	})
}
