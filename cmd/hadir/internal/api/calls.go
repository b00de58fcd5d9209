package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SignIn becomes a person.
func (c *Client) SignIn(ctx context.Context, email, password string) error {
	var out struct {
		Token string `json:"token"`
	}
	in := map[string]string{"email": email, "password": password}
	if err := c.call(ctx, http.MethodPost, "/api/v1/session", in, &out); err != nil {
		return fmt.Errorf("sign in as %s: %w", email, err)
	}
	if out.Token == "" {
		return fmt.Errorf("sign in as %s: the answer has no token", email)
	}
	c.Token = out.Token
	return nil
}

// User is a person.
type User struct {
	ID     uint64 `json:"id"`
	Name   string `json:"name"`
	Email  string `json:"email"`
	Role   string `json:"role"`
	Active bool   `json:"active"`
}

// Users lists everybody whom the caller may see.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	return list(ctx, c, "/api/v1/users", url.Values{"limit": {"100"}}, func(User) bool { return false })
}

// Attendance is a record.
type Attendance struct {
	ID        uint64    `json:"id"`
	UserID    uint64    `json:"user_id"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Node      string    `json:"node_id"`
}

// maxPages ends a list that a broken server would make endless.
const maxPages = 10_000

// list reads a list page by page, to its end or to the first item that is
// enough.
func list[T any](ctx context.Context, c *Client, path string, query url.Values, enough func(T) bool) ([]T, error) {
	var all []T
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for range maxPages {
		var page struct {
			Items []T             `json:"items"`
			Next  json.RawMessage `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if enough(item) {
				return all, nil
			}
			all = append(all, item)
		}
		next := cursor(page.Next)
		if next == "" {
			return all, nil
		}
		q.Set("cursor", next)
	}
	return nil, fmt.Errorf("%s: the list of %s does not end", c.Base, path)
}

// cursor takes a cursor as it comes: a string or a number, null or "" at the end.
func cursor(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n uint64
	if json.Unmarshal(raw, &n) == nil && n > 0 {
		return strconv.FormatUint(n, 10)
	}
	return ""
}

// Tap is a check-in to send. UserID 0 is the caller.
type Tap struct {
	Type      string   `json:"type"`
	Latitude  *float64 `json:"latitude"`
	Longitude *float64 `json:"longitude"`
	AccuracyM float64  `json:"accuracy_m,omitempty"`
	UserID    uint64   `json:"user_id,omitempty"`
}

// Decision is what became of a tap, as far as the answer tells.
type Decision struct {
	Status     string      `json:"status"`
	Key        string      `json:"key"`
	Seq        uint64      `json:"seq"` // of the event that decided it
	Attendance *Attendance `json:"attendance"`
	Sync       struct {
		HandledBy string `json:"handled_by"`
		Leader    string `json:"leader"`
		Index     uint64 `json:"index"`
	} `json:"sync"`
	Code string `json:"code"` // of a problem
}

// CheckIn sends a tap once. final reports whether the answer settles it: no
// other may come under the same key.
func (c *Client) CheckIn(ctx context.Context, key string, tap Tap) (d Decision, code int, final bool, err error) {
	a, err := c.Do(ctx, http.MethodPost, "/api/v1/checkins", key, tap)
	if err != nil {
		return Decision{}, 0, false, unreachable(c.Base, err)
	}
	if err := json.Unmarshal(a.Body, &d); err != nil {
		return Decision{}, a.Status, false, fmt.Errorf("%s: answer %d to a check-in is not JSON: %w", c.Base, a.Status, err)
	}
	return d, a.Status, settled(a.Status, d.Status), nil
}

// settled reads the table of contract §4. 202 is final for a review and is not
// for a queued tap; refusals at the door that a retry would meet again are final.
func settled(code int, status string) bool {
	switch code {
	case http.StatusCreated, http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	case http.StatusAccepted:
		return status == "review"
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// Cluster is a node's own view.
type Cluster struct {
	NodeID   string `json:"node_id"`
	Epoch    any    `json:"epoch"`
	LeaderID string `json:"leader_id"`
	Term     uint64 `json:"term"`
	Quorum   int    `json:"quorum"`
	CanLose  int    `json:"can_lose"`
	// Health is null while no leader says.
	Health *struct {
		Healthy          bool `json:"healthy"`
		FailureTolerance int  `json:"failure_tolerance"`
	} `json:"health"`
	Warnings []string `json:"warnings"`
	Nodes    []Node   `json:"nodes"`
}

// Node is a member in that view.
type Node struct {
	ID            string     `json:"id"`
	Address       string     `json:"address"`
	HTTP          string     `json:"http"`
	State         string     `json:"state"`
	Voter         bool       `json:"voter"`
	Reachable     bool       `json:"reachable"`
	LastContactMS *float64   `json:"last_contact_ms"`
	Commit        uint64     `json:"commit"`
	Applied       uint64     `json:"applied"`
	Seq           uint64     `json:"seq"`
	Lag           uint64     `json:"lag"`
	Version       string     `json:"version"`
	StartedAt     *time.Time `json:"started_at"`
	Replica       bool       `json:"replica"`
	DiskLow       bool       `json:"disk_low"`
}

// Cluster gives the answering node's view, as bytes too.
func (c *Client) Cluster(ctx context.Context) (Cluster, json.RawMessage, error) {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/api/v1/cluster", nil, &raw); err != nil {
		return Cluster{}, nil, err
	}
	var v Cluster
	if err := json.Unmarshal(raw, &v); err != nil {
		return Cluster{}, nil, fmt.Errorf("%s does not answer as hadir does: %w", c.Base, err)
	}
	return v, raw, nil
}

// Ready gives nil when the asked node decides.
func (c *Client) Ready(ctx context.Context) error {
	a, err := c.Do(ctx, http.MethodGet, "/readyz?decide", "", nil)
	if err != nil {
		return unreachable(c.Base, err)
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("%s does not decide yet: %s", c.Base, strings.Join(strings.Fields(string(a.Body)), " "))
	}
	return nil
}

// AttendancesSince lists records from a moment on, newest first.
func (c *Client) AttendancesSince(ctx context.Context, since time.Time, filter url.Values) ([]Attendance, error) {
	return list(ctx, c, "/api/v1/attendances", filter, func(a Attendance) bool { return a.Timestamp.Before(since) })
}

// Transfer has a leader hand over.
func (c *Client) Transfer(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/api/v1/cluster/transfer", nil, nil)
}

// Remove takes a node out of the cluster, by name or server id, and gives the
// server id.
func (c *Client) Remove(ctx context.Context, who string) (removed string, err error) {
	var answer struct {
		Removed string `json:"removed"`
	}
	err = c.call(ctx, http.MethodPost, "/api/v1/cluster/remove", map[string]string{"id": who}, &answer)
	return answer.Removed, err
}

// Comparison is what each node's state comes to at one moment.
type Comparison struct {
	Nodes []Compared `json:"items"`
}

// Compared is one node's.
type Compared struct {
	Node  string `json:"node_id"`
	Index uint64 `json:"index"`
	Seq   uint64 `json:"seq"`
	Chain string `json:"chain"`
	State string `json:"state"`
	Error string `json:"error"`
}

// Verify has all nodes compared.
func (c *Client) Verify(ctx context.Context) (Comparison, json.RawMessage, error) {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodPost, "/api/v1/cluster/verify", nil, &raw); err != nil {
		return Comparison{}, nil, err
	}
	var v Comparison
	if err := json.Unmarshal(raw, &v); err != nil {
		return Comparison{}, nil, fmt.Errorf("%s does not answer as hadir does: %w", c.Base, err)
	}
	return v, raw, nil
}
