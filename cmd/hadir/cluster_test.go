package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"hadir/cmd/hadir/internal/api"
)

func TestMissing(t *testing.T) {
	healthy := &struct {
		Healthy          bool `json:"healthy"`
		FailureTolerance int  `json:"failure_tolerance"`
	}{true, 1}
	whole := func(change func(v *api.Cluster)) api.Cluster {
		v := api.Cluster{LeaderID: "n1", Health: healthy, Nodes: []api.Node{
			{ID: "n1", Voter: true, Reachable: true}, {ID: "n2", Voter: true, Reachable: true, Lag: caughtUp},
			{ID: "n3", Replica: true, Reachable: true},
		}}
		change(&v)
		return v
	}
	for _, tc := range []struct {
		name   string
		change func(v *api.Cluster)
		want   string
	}{
		{"nothing", func(*api.Cluster) {}, ""},
		{"a leader", func(v *api.Cluster) { v.LeaderID = "" }, "nobody leads"},
		{"an answer", func(v *api.Cluster) { v.Nodes[1].Reachable = false }, "n2 does not answer"},
		{"events", func(v *api.Cluster) { v.Nodes[1].Lag++ }, "n2 is 501 events behind"},
		{"a vote", func(v *api.Cluster) { v.Nodes[2].Replica = false }, "n3 has no vote yet"},
		{"the leader's word", func(v *api.Cluster) { v.Health = nil }, "healthy"},
	} {
		got := ""
		if err := missing(whole(tc.change)); err != nil {
			got = err.Error()
		}
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s is missing: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestStatusWaits: nobody signs in at a node that is not ready, and what is missing
// is waited for, or named in the end.
func TestStatusWaits(t *testing.T) {
	var asked, looked, early atomic.Int32
	complete := int32(3)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			if asked.Add(1) < 3 {
				http.Error(w, "[-]raft no leader", http.StatusServiceUnavailable)
			}
		case "/api/v1/session":
			if asked.Load() < 3 {
				early.Add(1)
			}
			fmt.Fprint(w, `{"token":"t"}`)
		case "/api/v1/cluster":
			fmt.Fprintf(w, `{"node_id":"n2","leader_id":"n1","health":{"healthy":true},"nodes":[{"id":"n1","voter":true,"reachable":%v}]}`,
				looked.Add(1) >= complete)
		}
	}))
	defer s.Close()
	status := func(wait string) (int, string) {
		code, out, errs := try(t, "cluster", "status", "--url="+s.URL, "--email=a@example.test", "--password=p", "--wait="+wait)
		return code, out + errs
	}
	if code, out := status("1m"); code != 0 || !strings.Contains(out, "leader n1") || looked.Load() != complete+1 || early.Load() != 0 {
		t.Errorf("code %d after %d looks, %d early sign-ins: %s", code, looked.Load(), early.Load(), out)
	}
	complete = 1 << 30
	if code, out := status("1s"); code != 1 || !strings.Contains(out, "waited in vain: n1 does not answer") {
		t.Errorf("code %d: %s", code, out)
	}
}

// TestVerifyTriesAgain: a node that has applied more meanwhile is compared again, one
// that does not answer is not.
func TestVerifyTriesAgain(t *testing.T) {
	const (
		good  = `{"node_id":"n1","index":5,"seq":4,"chain":"aa","state":"bb"}`
		moved = `{"node_id":"n2","index":6,"seq":5,"error":"entries were applied meanwhile"}`
		dead  = `{"node_id":"n3","error":"no answer"}`
	)
	for _, tc := range []struct {
		name    string
		answers []string // the last one is given again
		asked   int32
		code    int
		want    string
	}{
		{"caught", []string{good + "," + moved, good + "," + moved, good}, 3, 0, "equal"},
		{"never caught", []string{good + "," + moved}, verifyTries, 1, "incomplete"},
		{"dead", []string{good + "," + moved + "," + dead}, 1, 1, "incomplete"},
	} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			i := min(int(asked.Add(1)), len(tc.answers)) - 1
			fmt.Fprintf(w, `{"equal":false,"items":[%s]}`, tc.answers[i])
		}))
		code, out, errs := try(t, "cluster", "verify", "--url="+s.URL, "--token=t")
		s.Close()
		if code != tc.code || asked.Load() != tc.asked || !strings.Contains(out, "\n"+tc.want+"\n") {
			t.Errorf("%s: asked %d times, code %d, %s%s", tc.name, asked.Load(), code, out, errs)
		}
	}
}

// TestStatusIsInterrupted: who waits ten minutes may change their mind.
func TestStatusIsInterrupted(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	signals := make(chan os.Signal, 1)
	defer close(signals)
	signals <- os.Interrupt
	var out, errs bytes.Buffer
	code := run([]string{"cluster", "status", "--url=" + s.URL, "--token=t", "--wait=10m"}, &world{
		stdout: &out, stderr: &errs, rand: rand.Reader, getenv: func(string) string { return "" }, signals: signals,
	})
	if code != 1 || !strings.Contains(errs.String(), "waited in vain") {
		t.Errorf("code %d: %s%s", code, out.String(), errs.String())
	}
}
