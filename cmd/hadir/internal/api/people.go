package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Me gives who is signed in.
func (c *Client) Me(ctx context.Context) (User, error) {
	var out struct {
		User User `json:"user"`
	}
	err := c.call(ctx, http.MethodGet, "/api/v1/session", nil, &out)
	return out.User, err
}

// UserByEmail finds somebody by their whole address, whatever its case. ok is
// false when the caller sees nobody with it.
func (c *Client) UserByEmail(ctx context.Context, email string) (u User, ok bool, err error) {
	// What was just decided on another node is in it, too.
	q := url.Values{"q": {email}, "limit": {"100"}, "consistency": {"strong"}}
	is := func(u User) bool { return strings.EqualFold(u.Email, email) }
	_, err = list(ctx, c, "/api/v1/users", q, func(found User) bool {
		if is(found) {
			u, ok = found, true
		}
		return ok
	})
	return u, ok, err
}

// NewUser is somebody to create. Without a password they cannot sign in yet.
type NewUser struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Role     string `json:"role"`
	Password string `json:"password,omitempty"`
}

// AddUser creates somebody. It may be called again with the same key.
func (c *Client) AddUser(ctx context.Context, key string, n NewUser) (u User, err error) {
	return u, c.keyed(ctx, http.MethodPost, "/api/v1/users", key, n, &u)
}

// SetPassword sets the password of a user. Current is needed for one's own.
func (c *Client) SetPassword(ctx context.Context, key string, user uint64, password, current string) error {
	in := map[string]string{"password": password}
	if current != "" {
		in["current_password"] = current
	}
	return c.keyed(ctx, http.MethodPost, fmt.Sprintf("/api/v1/users/%d/password", user), key, in, nil)
}

// ImportReport says what became of a file of people.
type ImportReport struct {
	DryRun    bool        `json:"dry_run"`
	Rows      int         `json:"rows"`
	Created   int         `json:"created"`
	Updated   int         `json:"updated"`
	Unchanged int         `json:"unchanged"`
	Errors    int         `json:"errors"`
	Unknown   int         `json:"unknown"`
	Skipped   int         `json:"skipped"`
	Stopped   *Stopped    `json:"stopped,omitempty"`
	Items     []ImportRow `json:"items"`
}

// Stopped says why an import did not come to its end.
type Stopped struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ImportRow says what became of a line: created, updated, unchanged, error,
// unknown or skipped.
type ImportRow struct {
	Row    int    `json:"row"`
	Status string `json:"status"`
	ID     uint64 `json:"id,omitempty"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Import sends a file of people. It may be sent again at any time.
func (c *Client) Import(ctx context.Context, file []byte, dry bool) (r ImportReport, err error) {
	path := "/api/v1/users/import"
	if dry {
		path += "?dry_run=true"
	}
	a, err := c.send(ctx, http.MethodPost, path, "", "text/csv; charset=utf-8", bytes.NewReader(file))
	if err != nil {
		return r, unreachable(c.Base, err)
	}
	return r, c.read(a, &r)
}

// keyed is call under an idempotency key.
func (c *Client) keyed(ctx context.Context, method, path, key string, body, out any) error {
	a, err := c.Do(ctx, method, path, key, body)
	if err != nil {
		return unreachable(c.Base, err)
	}
	return c.read(a, out)
}

// read reads an answer into out, if it is a success. Others are a *Problem.
func (c *Client) read(a *Answer, out any) error {
	if a.Status < 200 || a.Status > 299 {
		return a.Problem()
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return fmt.Errorf("%s does not answer as hadir does: %w", c.Base, err)
	}
	return nil
}
