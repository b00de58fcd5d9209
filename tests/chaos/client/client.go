package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client speaks to one node, as one person. The zero Token is nobody.
type Client struct {
	HTTP  *http.Client
	Base  string
	Token string
}

// NewHTTP makes a client for many connections to few hosts, without retries of
// its own making.
func NewHTTP() *http.Client { return NewHTTPS(nil) }

// NewHTTPS is NewHTTP that trusts these authorities, those of the machine where it
// is nil.
func NewHTTPS(trusted *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 512, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}}
}

// At gives the same person at another address.
func (c Client) At(base string) Client { c.Base = base; return c }

// Answer is what came back, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// String gives what a failed test wants to show.
func (a *Answer) String() string {
	body := a.Body
	if len(body) > 600 {
		body = append(body[:600:600], "…"...)
	}
	return fmt.Sprintf("%d from %s: %s", a.Status, a.Header.Get("X-Hadir-Node"), body)
}

// Code gives the stable word of a problem.
func (a *Answer) Code() string {
	var p struct{ Code, Reason string }
	if json.Unmarshal(a.Body, &p) != nil {
		return ""
	}
	if p.Code == "" {
		return p.Reason
	}
	return p.Code
}

// CSV is a body of that type.
type CSV []byte

// Do sends a request. body is sent as JSON, bytes and strings as they are.
func (c Client) Do(ctx context.Context, method, path, key string, body any) (*Answer, error) {
	var in io.Reader
	mediaType := "application/json"
	switch b := body.(type) {
	case nil:
	case CSV:
		in, mediaType = bytes.NewReader(b), "text/csv; charset=utf-8"
	case []byte:
		in = bytes.NewReader(b)
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, in)
	if err != nil {
		return nil, err
	}
	// A broken connection must be seen here, not repaired by net/http under our
	// feet: it repeats requests that it takes for idempotent, and this header is
	// one of its signs.
	req.GetBody = nil
	if body != nil {
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
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	return a, nil
}

// Get reads JSON into out; anything but 200 is an error.
func (c Client) Get(ctx context.Context, path string, out any) error {
	a, err := c.Do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("GET %s%s: %s", c.Base, path, a)
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return fmt.Errorf("GET %s%s: %w", c.Base, path, err)
	}
	return nil
}

// SignIn gives the client of a person.
func (c Client) SignIn(ctx context.Context, email, password string) (Client, error) {
	a, err := c.Do(ctx, http.MethodPost, "/api/v1/session", "", map[string]string{"email": email, "password": password})
	if err != nil {
		return c, err
	}
	var out struct{ Token string }
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &out) != nil || out.Token == "" {
		return c, fmt.Errorf("sign in as %s: %s", email, a)
	}
	c.Token = out.Token
	return c, nil
}

// Tap is the body of a check-in.
type Tap struct {
	Type      string   `json:"type"`
	Latitude  *float64 `json:"latitude,omitempty"`
	Longitude *float64 `json:"longitude,omitempty"`
	User      uint64   `json:"user_id,omitempty"`
}

// Attendance is a record.
type Attendance struct {
	ID          uint64    `json:"id"`
	User        uint64    `json:"user_id"`
	Type        string    `json:"type"`
	Timestamp   time.Time `json:"timestamp"`
	FirstSeenAt time.Time `json:"first_seen_at"`
	Node        string    `json:"node_id"`
	Seq         uint64    `json:"seq"`
}

// Decision is the answer to a check-in.
type Decision struct {
	Status     string      `json:"status"`
	Key        string      `json:"key"`
	Attendance *Attendance `json:"attendance"`
	DeltaMS    *int64      `json:"delta_ms"`
	Code       string      `json:"code"`
	Reason     string      `json:"reason"`
	Sync       struct {
		HandledBy string `json:"handled_by"`
		Leader    string `json:"leader"`
		Term      uint64 `json:"term"`
		Index     uint64 `json:"index"`
		Seq       uint64 `json:"seq"`
		Forwarded bool   `json:"forwarded"`
	} `json:"sync"`
}

// View is a node's own view of the cluster.
type View struct {
	NodeID  string `json:"node_id"`
	Leader  string `json:"leader_id"`
	Term    uint64 `json:"term"`
	Quorum  int    `json:"quorum"`
	CanLose int    `json:"can_lose"`
	// Health is nil while no leader says.
	Health *struct {
		Healthy          bool `json:"healthy"`
		FailureTolerance int  `json:"failure_tolerance"`
	} `json:"health"`
	Warnings  []string         `json:"warnings"`
	Nodes     []ViewedNode     `json:"nodes"`
	Elections []ViewedElection `json:"elections"` // newest first, as that node saw them
}

// ViewedElection is an election in a view.
type ViewedElection struct {
	Term         uint64    `json:"term"`
	Leader       string    `json:"leader"`
	At           time.Time `json:"at"`
	LeaderlessMS int64     `json:"leaderless_ms"`
}

// ViewedNode is a member in a view.
type ViewedNode struct {
	ID        string `json:"id"`
	ServerID  string `json:"server_id"`
	State     string `json:"state"`
	Voter     bool   `json:"voter"`
	Replica   bool   `json:"replica"`
	Reachable bool   `json:"reachable"`
	Applied   uint64 `json:"applied"`
	Seq       uint64 `json:"seq"`
	Lag       uint64 `json:"lag"`
}

// View asks a node for its view.
func (c Client) View(ctx context.Context) (View, error) {
	var v View
	return v, c.Get(ctx, "/api/v1/cluster", &v)
}

// maxPages ends a list that does not end by itself.
const maxPages = 10_000

// List reads a list to its end; items as bytes, so that nodes can be compared. A
// query with after goes on in that parameter, others in cursor.
func (c Client) List(ctx context.Context, path string, query url.Values) ([]json.RawMessage, error) {
	q := url.Values{"limit": {"100"}}
	for k, v := range query {
		q[k] = v
	}
	onward := "cursor"
	if q.Has("after") {
		onward = "after"
	}
	var all []json.RawMessage
	for range maxPages {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  any               `json:"next_cursor"`
		}
		if err := c.Get(ctx, path+"?"+q.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		next := ""
		switch v := page.Next.(type) {
		case string:
			next = v
		case float64:
			next = fmt.Sprintf("%.0f", v)
		}
		if next == "" {
			return all, nil
		}
		q.Set(onward, next)
	}
	return nil, fmt.Errorf("the list %s does not end", path)
}
