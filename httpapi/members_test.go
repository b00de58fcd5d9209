package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hadir/cluster"
)

func TestRemoveAServer(t *testing.T) {
	w := newWorld(t)
	ask := func(body string) reply { return w.do(adminID, "POST", "/api/v1/cluster/remove", body) }
	before := w.node.proposals()
	w.want(ask(`{"id":"n9"}`), http.StatusNotFound, "not_found")
	w.want(ask(`{}`), http.StatusBadRequest, "invalid_body")
	w.want(ask(`{"id":"n3","force":true}`), http.StatusBadRequest, "invalid_body")
	if w.node.proposals() != before || len(w.node.gone) != 0 {
		t.Fatal("a request that is wrong has had an effect")
	}
	for i, body := range []string{`{"id":"n3"}`, `{"id":"n3-cc"}`} {
		w.want(ask(body), http.StatusOK, "")
		if w.node.proposals() != before+i+1 {
			t.Error("it was not written down")
		}
	}
	if !slices.Equal(w.node.gone, []string{"n3-cc", "n3-cc"}) {
		t.Errorf("removed %q", w.node.gone)
	}
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		fmt.Errorf("%w: of 2", cluster.ErrQuorumAtRisk): {http.StatusConflict, "quorum_at_risk"},
		cluster.ErrUnknownServer:                        {http.StatusNotFound, "not_found"},
		cluster.ErrNoLeader:                             {http.StatusServiceUnavailable, "no_leader"},
		cluster.ErrUnknown:                              {http.StatusServiceUnavailable, "unknown_outcome"},
	} {
		w.node.set(func(n *fakeNode) { n.moveErr = err })
		w.want(ask(`{"id":"n3"}`), want.status, want.code)
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	w := newWorld(t)
	w.node.set(func(n *fakeNode) {
		n.refuse = fmt.Errorf("%w: 3 MiB", cluster.ErrDiskLow)
		n.status = func(s *cluster.Status) {
			s.Nodes[0].DiskLow, s.Nodes[0].DiskFree = true, 3<<20
			s.Warnings = []cluster.Warning{cluster.DiskLow}
			s.Health = cluster.Health{Known: true, Healthy: false, Tolerance: 1}
		}
	})
	w.want(w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`), http.StatusServiceUnavailable, "storage_unavailable")
	if r := w.do(0, "GET", "/readyz", ""); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "[-]room on the disk") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	r := w.do(adminID, "GET", "/api/v1/cluster", "")
	for _, want := range []string{`"warnings":["disk_low"]`, `"health":{"healthy":false,"failure_tolerance":1}`, `"disk_low":true,"disk_free_bytes":3145728`} {
		if !strings.Contains(string(r.body), want) {
			t.Errorf("%s is not in %s", want, r.body)
		}
	}
	if r := w.do(0, "GET", "/metrics", ""); !strings.Contains(string(r.body), "hadir_disk_low 1") || !strings.Contains(string(r.body), "hadir_healthy 0") {
		t.Errorf("metrics: %s", r.body)
	}
}
