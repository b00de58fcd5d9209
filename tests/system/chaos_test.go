package system_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hadir/tests/chaos/report"
	"hadir/tests/system/harness"
)

// chaosFor is how long a demo is broken: HADIR_CHAOS says so, else it is a minute in
// make test-full and long enough for the worst of it here.
func chaosFor(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("HADIR_CHAOS"); s != "" {
		d, err := time.ParseDuration(s)
		must(t, err)
		return d
	}
	if os.Getenv("HADIR_LONG") == "1" {
		return time.Minute
	}
	return 20 * time.Second
}

// startChaos starts hadir chaos with a demo of its own.
func startChaos(t *testing.T, temp string, args ...string) *harness.Proc {
	t.Helper()
	shared.drop() // there are enough processes for two cores
	port, err := harness.FreePorts(4)
	must(t, err)
	p, err := harness.Start("chaos", bin, append([]string{"chaos", "--port", fmt.Sprint(port), "--out", temp}, args...), []string{"TMPDIR=" + temp})
	must(t, err)
	t.Cleanup(func() {
		p.Kill()
		text := p.Stdout.String() + p.Stderr.String()
		showRaces(t, text)
		t.Log(text)
	})
	return p
}

// TestChaos: a demo under load loses a majority, everything, its leader and more, by
// the seed of the run, and loses and doubles nothing.
func TestChaos(t *testing.T) {
	temp, long := t.TempDir(), chaosFor(t)
	seed := os.Getenv("HADIR_SEED")
	if seed == "" {
		seed = "1"
	}
	p := startChaos(t, temp, "--duration", long.String(), "--seed", seed)
	code, err := p.Wait(within(t, long+5*time.Minute))
	must(t, err)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(filepath.Join(temp, "hadir-chaos-"+seed+".json"))
	must(t, err)
	var r report.Report
	must(t, json.Unmarshal(text, &r))
	if !r.OK || r.Counts.Lost != 0 || r.Counts.Doubled != 0 || r.Counts.Accepted == 0 || len(r.Faults) < 5 || len(r.Checks) != 10 || len(r.Timeline) < 15 {
		t.Errorf("the report: %s, %d faults, %d checks, %d seconds", r.Line(), len(r.Faults), len(r.Checks), len(r.Timeline))
	}
	if _, err := os.Stat(filepath.Join(temp, "hadir-chaos-"+seed+".html")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.Stdout.String(), r.Line()) {
		t.Error("the verdict was not printed")
	}
	left, err := filepath.Glob(filepath.Join(temp, "hadir-chaos-*", "*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestChaosIsInterrupted: Ctrl-C in the middle of a fault heals a demo that goes on,
// and gives no verdict.
func TestChaosIsInterrupted(t *testing.T) {
	shared.drop()
	d := startDemo(t, harness.DemoOptions{Nodes: 3, Dir: filepath.Join(t.TempDir(), "school")})
	admin, err := d.SignIn(within(t, 20*time.Second), "admin")
	must(t, err)
	temp := t.TempDir()
	p := startChaos(t, temp, "--duration", "60s", "--info", d.InfoFile())
	// The first episode of seed 1 takes nodes away.
	must(t, harness.Await(within(t, 90*time.Second), func() error {
		if p.Ended() {
			return fmt.Errorf("it has ended")
		}
		if out := p.Stdout.String(); !strings.Contains(out, "up 2/3") && !strings.Contains(out, "up 1/3") && !strings.Contains(out, "up 0/3") {
			return errors.New("nothing is broken yet")
		}
		return nil
	}))
	must(t, p.Signal(syscall.SIGINT))
	code, err := p.Wait(within(t, 2*time.Minute))
	must(t, err)
	if code != 1 || !strings.Contains(p.Stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, p.Stderr)
	}
	demoHealthy(t, d, admin)
	if _, err := os.Stat(filepath.Join(temp, "hadir-chaos-1.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a report: %v", err)
	}
}
