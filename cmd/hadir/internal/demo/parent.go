package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"hadir/httpapi"
)

// Parent is a node's side of the control: the process that started it.
type Parent struct {
	url, token string
	http       *http.Client
}

const parentTimeout = 3 * time.Second

// FindParent gives the parent that the environment names, or nil when this node
// was not started by hadir demo.
func FindParent(getenv func(string) string) *Parent {
	u, token := getenv(ControlURLEnv), getenv(ControlTokenEnv)
	if u == "" || token == "" {
		return nil
	}
	return &Parent{url: u, token: token, http: &http.Client{Timeout: parentTimeout}}
}

// Act implements httpapi.Demo: it asks the parent to do something to a node. It
// is done a moment after Act returned. Errors: httpapi.ErrUnknownNode, ErrNotNow,
// or those of the connection.
func (p *Parent) Act(ctx context.Context, node, action string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/"+url.PathEscape(node)+"/"+url.PathEscape(action), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("the demo's parent process does not answer: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) //nolint:errcheck // only the status counts
	switch resp.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusNotFound:
		return httpapi.ErrUnknownNode
	case http.StatusConflict:
		return ErrNotNow
	}
	return fmt.Errorf("%w: status %d", ErrBadRequest, resp.StatusCode)
}
