package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/demo"
)

// asNode makes the test binary be hadir: the demo starts it as its nodes.
const asNode = "HADIR_TEST_AS_NODE"

// freeBase finds a port that is free together with the three after it.
func freeBase(t *testing.T) int {
	t.Helper()
search:
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := l.Addr().(*net.TCPAddr).Port
		l.Close() //nolint:errcheck // test
		for i := range 4 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				continue search
			}
			l.Close() //nolint:errcheck // test
		}
		return base
	}
	t.Fatal("no free ports")
	return 0
}

// output is what the demo has printed, safe to read while it prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// TestDemo is the whole demo with real processes: start, sign in, check in, kill
// the leader through the cluster's own page and go on, start it again, a morning
// that loses nothing, equal nodes, and no process left.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	file, out, errs, signals := filepath.Join(dir, "info.json"), &output{}, &output{}, make(chan os.Signal, 2)
	port := freeBase(t)
	code := make(chan int, 1)
	go func() {
		code <- run([]string{"demo", fmt.Sprint("--port=", port), "--dir=" + filepath.Join(dir, "demo"), "--info=" + file, "--", "--raft-multiplier=2"}, &world{
			stdout: out, stderr: errs, rand: rand.Reader, environ: append(os.Environ(), asNode+"=1"), getenv: os.Getenv,
			program: os.Args[0], signals: signals, exit: func(int) { panic("exit") },
		})
	}()
	ended := false
	end := func() int {
		if ended {
			return 0
		}
		ended = true
		signals <- os.Interrupt
		c := <-code
		close(signals)
		return c
	}
	defer end()
	var info demo.Info
	await(t, func() bool {
		select {
		case c := <-code:
			ended = true
			t.Fatalf("the demo ended with %d: %s%s", c, out, errs)
		default:
		}
		var err error
		info, err = demo.ReadInfo(file)
		return err == nil
	})
	if len(info.Nodes) != 3 || len(info.Accounts) != 40 || info.URL != fmt.Sprint("http://127.0.0.1:", port) {
		t.Fatalf("%+v", info)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	front, err := api.New(info.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer front.HTTP.CloseIdleConnections()
	student := *front
	if err := front.SignIn(ctx, info.Accounts[0].Email, info.Accounts[0].Password); err != nil {
		t.Fatal(err)
	}
	if err := student.SignIn(ctx, info.Accounts[39].Email, info.Accounts[39].Password); err != nil {
		t.Fatal(err)
	}
	if d, status, _, err := student.CheckIn(ctx, api.NewKey(), api.Tap{Type: "in"}); err != nil || status != http.StatusCreated {
		t.Fatalf("check in: %d %+v %v", status, d, err)
	}
	// A student may not act on nodes, nor begin a morning.
	for _, path := range []string{"/api/v1/demo/n1/kill", "/demo/morning/start"} {
		if a, err := student.Do(ctx, http.MethodPost, path, "", nil); err != nil || a.Status != http.StatusForbidden {
			t.Fatalf("%s as a student: %v %v", path, a, err)
		}
	}
	act(ctx, t, front, "/demo/morning/start")

	view, _, err := front.Cluster(ctx)
	if err != nil || view.LeaderID == "" {
		t.Fatalf("%+v %v", view, err)
	}
	killed := view.LeaderID
	// Through the node that is to die: it must still be able to answer.
	act(ctx, t, front, "/n/"+killed+"/api/v1/demo/"+killed+"/kill")
	await(t, func() bool { return strings.Contains(out.String(), killed+" killed") })
	key := api.NewKey()
	await(t, func() bool {
		_, status, _, err := student.CheckIn(ctx, key, api.Tap{Type: "out"})
		return err == nil && status == http.StatusCreated
	})
	act(ctx, t, front, "/api/v1/demo/"+killed+"/start")
	await(t, func() bool { return strings.Contains(out.String(), killed+" started again") })
	await(t, func() bool {
		now, err := demo.ReadInfo(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range now.Nodes {
			if n.ID == killed {
				return n.PID != info.Nodes[i].PID && ready(n.URL)
			}
		}
		return false
	})

	act(ctx, t, front, "/demo/morning/stop")
	await(t, func() bool { return strings.Contains(out.String(), "School morning:") })
	if !strings.Contains(out.String(), "lost 0, doubled 0 (checked on n1, n2, n3)") {
		t.Errorf("morning: %s", out)
	}
	await(t, func() bool {
		v, _, err := front.Verify(ctx)
		if err == nil && verdict(v) == "different" {
			t.Fatalf("%+v", v)
		}
		return err == nil && verdict(v) == "equal"
	})

	now, err := demo.ReadInfo(file)
	if err != nil {
		t.Fatal(err)
	}
	if c := end(); c != 0 || errs.String() != "" {
		t.Fatalf("code %d: %s%s", c, out, errs)
	}
	for _, n := range now.Nodes {
		if err := syscall.Kill(n.PID, 0); err == nil {
			t.Errorf("%s, pid %d, lives", n.ID, n.PID)
		}
		if _, err := os.Stat(filepath.Join(n.DataDir, "state.db")); err != nil {
			t.Errorf("--dir keeps nothing: %v", err)
		}
	}
}

func ready(url string) bool {
	resp, err := http.Get(url + "/readyz?decide")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // test
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode == http.StatusOK
}

func act(ctx context.Context, t *testing.T, c *api.Client, path string) {
	t.Helper()
	if a, err := c.Do(ctx, http.MethodPost, path, "", nil); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%s: %+v %v", path, a, err)
	}
}

// await waits for a condition, which looks at a file or asks a node.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatal("it did not happen in two minutes")
}
