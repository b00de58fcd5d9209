package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client asks one address, as one person. The zero Token is nobody.
type Client struct {
	HTTP  *http.Client
	Base  string // scheme://host:port, optionally with a path
	Token string
}

// New returns a client for a URL, as nobody yet.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is no address of a node: give it as http://host:port", base)
	}
	return &Client{HTTP: &http.Client{Timeout: 30 * time.Second}, Base: strings.TrimRight(base, "/")}, nil
}

// At returns the same person at another address.
func (c *Client) At(base string) *Client {
	return &Client{HTTP: c.HTTP, Base: strings.TrimRight(base, "/"), Token: c.Token}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// Answer is what came back, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request with an optional JSON body. The error is about the network
// only.
func (c *Client) Do(ctx context.Context, method, path, key string, body any) (*Answer, error) {
	if body == nil {
		return c.send(ctx, method, path, key, "", nil)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, key, "application/json", bytes.NewReader(b))
}

// send is Do with a body of any type, "" for none.
func (c *Client) send(ctx context.Context, method, path, key, mediaType string, body io.Reader) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return nil, err
	}
	return a, nil
}

// call sends a request and reads its answer into out, if it is a success. Other
// answers are a *Problem.
func (c *Client) call(ctx context.Context, method, path string, body, out any) error {
	return c.keyed(ctx, method, path, "", body, out)
}

// ErrUnreachable is wrapped where no answer came.
var ErrUnreachable = errors.New("no answer")

func unreachable(base string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL a second time
	}
	return fmt.Errorf("%w from %s: %w", ErrUnreachable, base, err)
}

// Problem is an answer that is no success, RFC 9457.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Field  string `json:"field"`
		Reason string `json:"reason"`
	} `json:"errors"`
}

// Error gives one line.
func (p *Problem) Error() string {
	s := fmt.Sprintf("%d", p.Status)
	for _, part := range []string{p.Code, p.Detail} {
		if part != "" {
			s += " " + part
		}
	}
	if p.Code == "" && p.Detail == "" {
		s += " " + http.StatusText(p.Status)
	}
	for _, e := range p.Errors {
		s += "; " + strings.TrimSpace(e.Field+" "+e.Reason)
	}
	return s
}

// Problem reads the answer as a problem; a foreign body gives the status alone.
func (a *Answer) Problem() *Problem {
	p := &Problem{}
	if kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type")); err == nil && strings.HasSuffix(kind, "json") {
		if json.Unmarshal(a.Body, p) != nil {
			p = &Problem{}
		}
	}
	p.Status = a.Status
	return p
}
