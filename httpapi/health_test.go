package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hadir/cluster"
	"hadir/httpapi"
)

func TestHealth(t *testing.T) {
	w := newWorld(t)
	for _, prefix := range []string{"", "/api/v1"} {
		if r := w.get(0, prefix+"/healthz"); r.StatusCode != http.StatusOK || string(r.body) != "ok\n" {
			t.Errorf("healthz: %d %s", r.StatusCode, r.body)
		}
		if r := w.get(0, prefix+"/readyz?decide"); r.StatusCode != http.StatusOK || strings.Contains(string(r.body), "[-]") ||
			!strings.Contains(string(r.body), "[+]raft leader known\n") || !strings.Contains(string(r.body), "[+]quorum answers\n") {
			t.Errorf("readyz: %d %s", r.StatusCode, r.body)
		}
	}
	for line, change := range map[string]func(*cluster.Status){
		"[-]raft leader known":   func(s *cluster.Status) { s.Leader = "" },
		"[-]member of a cluster": func(s *cluster.Status) { s.Nodes = nil },
		"[-]not shutting down":   func(s *cluster.Status) { s.Nodes[0].State = cluster.Stopping },
	} {
		w.node.set(func(n *fakeNode) { n.status = change })
		if r := w.get(0, "/readyz"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(r.body), line) {
			t.Errorf("%s: %d %s", line, r.StatusCode, r.body)
		}
	}
	w.node.set(func(n *fakeNode) { n.status = func(s *cluster.Status) { s.Nodes[1].Reachable = false } })
	if r := w.get(0, "/readyz"); r.StatusCode != http.StatusOK {
		t.Errorf("readyz: %d %s", r.StatusCode, r.body)
	}
	if r := w.get(0, "/readyz?decide"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "[-]quorum answers") {
		t.Errorf("readyz?decide: %d %s", r.StatusCode, r.body)
	}
}

func TestMetrics(t *testing.T) {
	m := httpapi.NewMetrics("1.2.3")
	m.Committed(3, time.Millisecond)
	m.Forwarded(1, time.Millisecond)
	m.StoredLogs("StoreLogs", time.Millisecond)
	m.Elected(time.Second)
	w := newWorld(t, func(c *httpapi.Config) { c.Metrics = m })
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.do(0, "BREW", "/api/v1/coffee", "")
	text := string(w.get(0, "/metrics").body)
	for _, line := range []string{
		`hadir_checkins_total{outcome="accepted"} 1`, `hadir_checkins_total{outcome="duplicate"} 1`, `hadir_checkin_replays_total 1`,
		`hadir_sign_ins_total{result="ok"} 1`, `hadir_commit_seconds_count 1`, `hadir_forward_seconds_count 1`,
		`hadir_store_logs_seconds_count{op="StoreLogs"} 1`, `hadir_elections_total 1`, `hadir_leaderless_seconds_count 1`,
		`hadir_build_info{version="1.2.3"} 1`, `hadir_leader_known 1`, `hadir_is_leader 0`, `hadir_node_reachable{node="n3"} 0`,
		`hadir_http_requests_total{method="other",route="none",status="404"} 1`, `go_goroutines`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%s is not there", line)
		}
	}
	// Two doors in one process do not share anything.
	newWorld(t)
}
