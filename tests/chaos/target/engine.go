package target

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// engine speaks to a container engine through its unix socket.
type engine struct{ http *http.Client }

func newEngine(socket string) *engine {
	return &engine{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 16,
	}}}
}

// do sends a request; any of the statuses is right.
func (e *engine) do(ctx context.Context, method, path string, in, out any, right ...int) error {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return fmt.Errorf("the engine does not answer: %w", err)
	}
	defer resp.Body.Close()
	const most = 8 << 20
	b, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return err
	}
	if !slices.Contains(right, resp.StatusCode) {
		return fmt.Errorf("the engine: %s %s: %d %.300s", method, path, resp.StatusCode, strings.TrimSpace(string(b)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the engine: %s %s: %w", method, path, err)
	}
	return nil
}

// listed is a container in a list.
type listed struct {
	ID     string `json:"Id"`
	Labels map[string]string
}

const (
	projectLabel = "com.docker.compose.project"
	serviceLabel = "com.docker.compose.service"
	oneoffLabel  = "com.docker.compose.oneoff"
)

// ofProject lists a project's containers, also those that do not run.
func (e *engine) ofProject(ctx context.Context, project string) ([]listed, error) {
	filters, err := json.Marshal(map[string][]string{"label": {projectLabel + "=" + project}})
	if err != nil {
		return nil, err
	}
	var all []listed
	query := url.Values{"all": {"1"}, "filters": {string(filters)}}
	err = e.do(ctx, http.MethodGet, "/containers/json?"+query.Encode(), nil, &all, http.StatusOK)
	// The engine filters; whoever kills looks himself.
	return slices.DeleteFunc(all, func(c listed) bool { return c.Labels[projectLabel] != project }), err
}

// inspected is what counts of a container.
type inspected struct {
	ID    string `json:"Id"`
	State struct{ Running, Paused, Restarting bool }
	// Config.Labels again: what is touched is looked at first.
	Config          struct{ Labels map[string]string }
	NetworkSettings struct{ Networks map[string]endpoint }
}

// endpoint is a container's place on a network.
type endpoint struct {
	IPAMConfig *ipam    `json:"IPAMConfig,omitempty"`
	Aliases    []string `json:"Aliases,omitempty"`
	NetworkID  string   `json:"NetworkID,omitempty"`
}

type ipam struct {
	IPv4Address string `json:"IPv4Address,omitempty"`
	IPv6Address string `json:"IPv6Address,omitempty"`
}

func (e *engine) inspect(ctx context.Context, id string) (c inspected, err error) {
	return c, e.do(ctx, http.MethodGet, "/containers/"+id+"/json", nil, &c, http.StatusOK)
}

// order has something done to a container. That it is so already is no error.
func (e *engine) order(ctx context.Context, id, action string) error {
	return e.do(ctx, http.MethodPost, "/containers/"+id+"/"+action, nil, nil, http.StatusNoContent, http.StatusNotModified)
}
