package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// The crash tests run this binary again as a child that records and decides, and
// notes in a file of its own what it was told is done. It dies at a failpoint or
// by SIGKILL and is started again until it comes to the end. What was told must
// be there each time.

const (
	outboxCrashDir   = "HADIR_OUTBOX_CRASH_DIR"
	outboxCrashPoint = "HADIR_OUTBOX_CRASH_POINT" // name:n, die at the nth hit
	outboxCrashExit  = 7
	outboxCrashTaps  = 60
)

// TestOutboxCrashChild is the child. In the parent there is nothing to do.
func TestOutboxCrashChild(t *testing.T) {
	dir := os.Getenv(outboxCrashDir)
	if dir == "" {
		return
	}
	point, at, _ := strings.Cut(os.Getenv(outboxCrashPoint), ":")
	hits := map[string]int{}
	told, err := os.OpenFile(filepath.Join(dir, "told"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(format string, args ...any) {
		if _, err := fmt.Fprintf(told, format+"\n", args...); err != nil {
			t.Fatal(err)
		}
	}
	o, shut := openOutbox(t, filepath.Join(dir, "node.db"), OutboxOptions{Failpoint: func(name string) {
		if hits[name]++; name == point && strconv.Itoa(hits[name]) == at {
			os.Exit(outboxCrashExit)
		}
	}})
	for i := range outboxCrashTaps {
		key := fmt.Sprint("k", i)
		e := mustPut(t, o, tap(uint64(i%7+1), key))
		tell("recorded %s %d", key, e.N)
		if e.State == OutboxDecided || i%3 == 0 {
			continue
		}
		// What an earlier run decided may be decided otherwise now: the first counts.
		if err := o.Decide(OutboxDecision{N: e.N, Outcome: decided(uint64(os.Getpid())), At: testClock}); err != nil {
			t.Fatal(err)
		}
		got, err := o.Find(e.Command.Principal, key)
		if err != nil {
			t.Fatal(err)
		}
		tell("decided %s %d", key, got.Outcome.Seq)
	}
	tell("end")
	shut()
}

// runOutboxChild runs the child once, killed after the given time if that is not
// zero.
func runOutboxChild(t *testing.T, dir, point string, kill time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutboxCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), outboxCrashDir+"="+dir, outboxCrashPoint+"="+point)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if kill > 0 {
		timer := time.AfterFunc(kill, func() { _ = cmd.Process.Kill() }) // it may have ended by itself
		defer timer.Stop()
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && (exit.ExitCode() == outboxCrashExit || exit.ExitCode() == -1)) {
		t.Fatalf("child: %v\n%s", err, out.String())
	}
}

// checkTold compares the file with what the children were told, and reports
// whether one came to the end.
func checkTold(t *testing.T, dir string) (ended bool) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	places, outcomes := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 1 && f[0] == "end":
			ended = true
		case len(f) == 3 && strings.HasSuffix(line, "\n"):
			told := places
			if f[0] == "decided" {
				told = outcomes
			}
			if told[f[1]] != "" && told[f[1]] != f[2] {
				t.Errorf("%s: told %s, then %s", f[1], told[f[1]], f[2])
			}
			told[f[1]] = f[2]
		}
	}
	path := filepath.Join(dir, "node.db")
	if _, err := os.Stat(path); err != nil {
		return ended // it was killed before it had made the file
	}
	n, err := OpenNode(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	o, err := n.Outbox(OutboxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range outboxCrashTaps {
		key := fmt.Sprint("k", i)
		e, err := o.Find(attendance.Principal{Kind: attendance.UserPrincipal, ID: uint64(i%7 + 1)}, key)
		switch {
		case places[key] != "" && (err != nil || fmt.Sprint(e.N) != places[key]):
			t.Errorf("%s was recorded at %s and is %+v, %v", key, places[key], e, err)
		case outcomes[key] != "" && (e.State != OutboxDecided || fmt.Sprint(e.Outcome.Seq) != outcomes[key]):
			t.Errorf("%s was decided as %s and is %+v", key, outcomes[key], e)
		}
	}
	// The indexes fit the rows, whatever happened.
	if err := n.db.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			first = errors.Join(first, err)
		}
		rows := func(name []byte) int { return tx.Bucket(name).Stats().KeyN }
		c, err := readCounters(tx)
		if rows(bucketOutbox) != int(c.waiting) || rows(bucketOutboxUsers) != int(c.waiting) ||
			rows(bucketOutboxDecided) != int(c.decided) || rows(bucketOutboxKeys) != int(c.waiting+c.decided) {
			err = errors.Join(err, fmt.Errorf("counters %+v do not fit the rows", c))
		}
		return errors.Join(first, err)
	}); err != nil {
		t.Error(err)
	}
	return ended
}

func TestOutboxSurvivesCrashes(t *testing.T) {
	for _, point := range []string{"outbox.before", "outbox.after"} {
		for _, nth := range []int{1, 2, 3, 17, 50, 99} {
			t.Run(fmt.Sprintf("%s:%d", point, nth), func(t *testing.T) {
				t.Parallel()
				dir := tempDir(t)
				runOutboxChild(t, dir, fmt.Sprintf("%s:%d", point, nth), 0)
				if checkTold(t, dir) {
					t.Fatal("the failpoint was not reached")
				}
				if runOutboxChild(t, dir, "", 0); !checkTold(t, dir) {
					t.Error("the second run did not come to the end")
				}
			})
		}
	}
	for i := range 6 {
		t.Run(fmt.Sprint("kill-", i), func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			kill := time.Duration(10+7*i) * time.Millisecond
			for range 50 {
				if runOutboxChild(t, dir, "", kill); checkTold(t, dir) {
					return
				}
				kill += kill/4 + 5*time.Millisecond // further each time, on any machine
			}
			t.Fatal("the child never came to the end")
		})
	}
}
