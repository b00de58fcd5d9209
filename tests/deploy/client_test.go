package deploy_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// client speaks the public interface as one person.
type client struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

// try sends a request; the error is about the network only.
func (c *client) try(method, path, key string, body any) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// do is try where the network must work.
func (c *client) do(method, path, key string, body any) (int, []byte) {
	c.t.Helper()
	status, b, err := c.try(method, path, key, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return status, b
}

func (c *client) signIn(email, password string) {
	c.t.Helper()
	status, b := c.do("POST", "/api/v1/session", "", map[string]string{"email": email, "password": password})
	var out struct{ Token string }
	if err := json.Unmarshal(b, &out); status != http.StatusOK || err != nil || out.Token == "" {
		c.t.Fatalf("sign-in: %d %s", status, b)
	}
	c.token = out.Token
}

func (c *client) checkIn(key string) (int, []byte) {
	c.t.Helper()
	return c.do("POST", checkIns, key, map[string]string{"type": "in", "location_error": "unavailable"})
}
