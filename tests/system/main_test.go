// Package system tests hadir from outside: a race build of the command, real
// processes, HTTP and signals.
//
//	HADIR_BIN=path            use this binary instead of building one
//	HADIR_TRIALS=20           rounds of killing the leader (2)
//	HADIR_TEST_REQUIRE=netns  what may not be left out
package system_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

var (
	bin    string // the race build
	tmp    string // of this run
	trials = 2
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "system tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if tmp, err = os.MkdirTemp("", "hadir-system-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(tmp)
	if s := os.Getenv("HADIR_TRIALS"); s != "" {
		if trials, err = strconv.Atoi(s); err != nil || trials < 1 {
			return 1, fmt.Errorf("HADIR_TRIALS is %q and must be a number of rounds", s)
		}
	}
	if bin = os.Getenv("HADIR_BIN"); bin == "" {
		start := time.Now()
		if bin, err = harness.Build(context.Background(), tmp, true); err != nil {
			return 1, err
		}
		fmt.Printf("system tests: race build in %.1f s\n", time.Since(start).Seconds())
	}
	defer shared.drop()
	return m.Run(), nil
}

// shared is one cluster for all tests that leave it healthy. A test that failed
// takes its cluster with it.
var shared sharedCluster

type sharedCluster struct {
	mu sync.Mutex
	c  *harness.Cluster
	n  int
}

// enoughStudents lets every test tap as somebody who has not tapped yet. Each one
// costs an entry while the cluster is set up.
const enoughStudents = 300

func (s *sharedCluster) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

// cluster gives the shared cluster, healthy. Tests that use it do not run in
// parallel, so they have ended before the parallel ones go on.
func cluster(t *testing.T) *harness.Cluster {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.c == nil {
		shared.n++
		c, err := harness.New(harness.Options{
			Bin: bin, Dir: filepath.Join(tmp, fmt.Sprintf("shared%d", shared.n)), Students: enoughStudents,
		})
		if err != nil {
			t.Fatal(err)
		}
		shared.c = c
	}
	c := shared.c
	t.Cleanup(func() {
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
			shared.drop()
		}
	})
	if err := c.Up(within(t, 40*time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// showRaces fails the test when the race detector spoke in a process.
func showRaces(t *testing.T, log string) {
	t.Helper()
	if i := strings.Index(log, "WARNING: DATA RACE"); i >= 0 {
		t.Errorf("the race detector has found something:\n%s", log[i:min(len(log), i+6000)])
	}
}

// within gives a context for a condition that is awaited.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request that must be answered.
func do(t *testing.T, c harness.Client, method, path, key string, body any) *harness.Answer {
	t.Helper()
	a, err := c.Do(within(t, 30*time.Second), method, path, key, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// judge fails the test if what clients were told is not what the nodes have, or
// if the nodes are not equal.
func judge(t *testing.T, c *harness.Cluster, ops []*harness.Op) {
	t.Helper()
	must(t, c.Healthy(within(t, 40*time.Second)))
	v, err := c.Judge(within(t, 60*time.Second), ops)
	must(t, err)
	if len(v.Faults) > 0 {
		t.Errorf("the judgement: %s", v)
	}
	verifyEqual(t, c.Nodes[0].URL, "--token", c.Admin.Token)
	t.Log(harness.Summary(ops))
}

// verifyEqual runs hadir cluster verify.
func verifyEqual(t *testing.T, url string, access ...string) {
	t.Helper()
	out, err := command(t, append([]string{"cluster", "verify", "--url", url}, access...)...)
	if err != nil || !strings.Contains(out, "\nequal\n") {
		t.Errorf("hadir cluster verify: %v\n%s", err, out)
	}
}

// command runs hadir to its end.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(within(t, 60*time.Second), bin, args...).CombinedOutput()
	return string(out), err
}
