package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"
)

func TestSettled(t *testing.T) {
	for _, tc := range []struct {
		code   int
		status string
		want   bool
	}{
		{201, "accepted", true}, {409, "duplicate", true}, {202, "review", true}, {202, "queued", false}, {422, "rejected", true},
		{400, "", true}, {401, "", true}, {403, "", true}, {413, "", true},
		{408, "", false}, {429, "", false}, {500, "", false}, {502, "", false}, {503, "", false}, {504, "", false},
	} {
		if got := settled(tc.code, tc.status); got != tc.want {
			t.Errorf("%d %s: %v, want %v", tc.code, tc.status, got, tc.want)
		}
	}
}

func newServer(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	at := func(s int) string { return time.Unix(int64(s), 0).UTC().Format(time.RFC3339) }
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			fmt.Fprintf(w, `{"items":[{"id":4,"timestamp":%q},{"id":3,"timestamp":%q}],"next_cursor":"x y"}`, at(40), at(30))
		case "x y":
			fmt.Fprintf(w, `{"items":[{"id":2,"timestamp":%q},{"id":1,"timestamp":%q}],"next_cursor":null}`, at(20), at(10))
		}
	})
	for since, want := range map[int]int{0: 4, 30: 2, 15: 3, 100: 0} {
		got, err := c.AttendancesSince(t.Context(), time.Unix(int64(since), 0), url.Values{"limit": {"2"}})
		if err != nil || len(got) != want {
			t.Errorf("since %d: %d records, want %d, %v", since, len(got), want, err)
		}
	}
}

func TestProblems(t *testing.T) {
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/cluster" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"status":503,"code":"no_leader","detail":"Wait."}`)
			return
		}
		w.WriteHeader(502)
		fmt.Fprint(w, "<html>")
	})
	_, _, err := c.Cluster(t.Context())
	var p *Problem
	if !errors.As(err, &p) || p.Code != "no_leader" || err.Error() != "503 no_leader Wait." {
		t.Errorf("problem: %v", err)
	}
	if _, err := c.Users(t.Context()); err == nil || err.Error() != "502 Bad Gateway" {
		t.Errorf("foreign answer: %v", err)
	}
	if err := c.At("http://127.0.0.1:1").SignIn(t.Context(), "a", "b"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
	for _, bad := range []string{"", "localhost:8080", "ftp://x", "http://"} {
		if _, err := New(bad); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestNewKeyIsAUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		k := NewKey()
		if !form.MatchString(k) || seen[k] {
			t.Fatalf("%q", k)
		}
		seen[k] = true
	}
}
