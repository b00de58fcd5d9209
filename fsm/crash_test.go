package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/store"
)

// The crash tests run this binary again as a child that applies a fixed log,
// takes snapshots and restores them, and dies at a failpoint or by SIGKILL. Then
// the child is started again until it comes to the end. Whatever happened, the
// end must be the state of a run that nothing disturbed.

const (
	crashDir   = "HADIR_CRASH_DIR"   // set in the child: where it works
	crashPoint = "HADIR_CRASH_POINT" // name:n, die at the nth hit; empty to count
	crashExit  = 7
)

// crashLog is the log of the crash tests: the same in every process.
func crashLog(t *testing.T) []*raft.Log {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	now := attendance.Millis(1_770_000_000_000)
	admin := attendance.Principal{Kind: attendance.SystemPrincipal}
	var logs []*raft.Log
	add := func(commands ...attendance.Command) {
		now += attendance.Millis(rnd.IntN(120_000))
		b, err := attendance.EncodeEntry(attendance.Entry{
			Level: 1, Cluster: attendance.ClusterID{3}, ProposedAt: now, Commands: commands,
		})
		if err != nil {
			t.Fatal(err)
		}
		// Gaps, as barriers and no-ops leave them.
		index := uint64(len(logs)*2 + 3)
		logs = append(logs, &raft.Log{Type: raft.LogCommand, Index: index, Term: 1 + index/50, Data: b})
	}
	for i := range 8 {
		add(attendance.Command{Principal: admin, Node: "n1", Body: attendance.PutUser{
			Name: fmt.Sprint("Person ", i), Email: fmt.Sprintf("p%d@example.test", i), Role: attendance.Teacher, Active: true,
		}})
	}
	for i := range 120 {
		var commands []attendance.Command
		for range 1 + rnd.IntN(6) {
			user := uint64(1 + rnd.IntN(9)) // one of them unknown
			commands = append(commands, attendance.Command{
				Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user},
				Key:       "key-" + strconv.Itoa(rnd.IntN(200)), Node: "n" + strconv.Itoa(rnd.IntN(3)+1),
				Body: attendance.CheckIn{
					UserID: user, Kind: attendance.Kind(1 + rnd.IntN(2)), Age: attendance.Millis(rnd.IntN(900_000)), Recorded: rnd.IntN(4) == 0,
				},
			})
		}
		if i%40 == 39 {
			now += 20 * attendance.DayMillis // keys expire, history may go
			commands = append(commands, attendance.Command{
				Principal: admin, Node: "n1", Body: attendance.Prune{Floor: now - 16*attendance.DayMillis, ThroughSeq: uint64(i * 2)},
			})
		}
		add(commands...)
	}
	return logs
}

// crasher counts hits of failpoints and dies at one.
type crasher struct {
	point string
	nth   int
	hits  map[string]int
}

func newCrasher(spec string) (*crasher, error) {
	c := &crasher{hits: map[string]int{}}
	if spec == "" {
		return c, nil
	}
	name, n, _ := strings.Cut(spec, ":")
	nth, err := strconv.Atoi(n)
	c.point, c.nth = name, nth
	return c, err
}

func (c *crasher) hit(name string) {
	c.hits[name]++
	if name == c.point && c.hits[name] == c.nth {
		os.Exit(crashExit) // no deferred call runs: as dead as a process can be by itself
	}
}

// TestCrashChild is the child. In the parent, where the variable is not set,
// there is nothing to do.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return
	}
	c, err := newCrasher(os.Getenv(crashPoint))
	if err != nil {
		t.Fatal(err)
	}
	logs := crashLog(t)
	if err := store.CleanIncoming(dir); err != nil {
		t.Fatal(err)
	}
	state, err := store.OpenState(filepath.Join(dir, "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24, Failpoint: c.hit})
	if err != nil {
		t.Fatal(err)
	}
	machine := fsm.New(state, fsm.Options{Halt: func(err error) { t.Fatal(err) }, Failpoint: c.hit})
	adapter := &fsm.Raft{Machine: machine}
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	inmem := raft.NewInmemStore()
	// The first command has index 3: raft's own bootstrap entries come before.
	if err := inmem.StoreLogs(append([]*raft.Log{{Index: 1, Type: raft.LogNoop}}, logs...)); err != nil {
		t.Fatal(err)
	}
	if restore, err := fsm.CheckStart(state, true, inmem, snapshots); err != nil || restore {
		t.Fatalf("after a crash: restore %v, %v", restore, err)
	}
	applied := func() (n uint64) {
		if err := state.View(func(tx *store.ReadTx) error { n = tx.Meta().Applied; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// raft hands over again what lies above the snapshot it started from.
	next := 0
	for next < len(logs) && logs[next].Index <= applied() {
		next++
	}
	for next = max(0, next-5); next < len(logs); next += 3 {
		adapter.ApplyBatch(logs[next:min(next+3, len(logs))])
		if next%30 == 0 {
			takeSnapshot(t, adapter, snapshots, logs[min(next+2, len(logs)-1)])
		}
		if next%60 == 57 && !restored(dir, next) {
			restoreNewest(t, adapter, snapshots)
			for next = 0; logs[next].Index <= applied(); next++ {
			}
			next -= 3
		}
	}
	hits := ""
	for name, n := range c.hits {
		hits += fmt.Sprintf("%s=%d\n", name, n)
	}
	if err := os.WriteFile(filepath.Join(dir, "hits"), []byte(hits), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
}

// restored says whether the restore at a place was begun before: it moves the
// state back, and would do so for ever.
func restored(dir string, at int) bool {
	name := filepath.Join(dir, fmt.Sprint("restored-", at))
	if _, err := os.Stat(name); err == nil {
		return true
	}
	return os.WriteFile(name, nil, 0o600) != nil
}

func takeSnapshot(t *testing.T, adapter *fsm.Raft, snapshots raft.SnapshotStore, last *raft.Log) {
	t.Helper()
	snap, err := adapter.Snapshot()
	if errors.Is(err, fsm.ErrReplaying) {
		return // raft tries again later, and so does the next round
	}
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	sink, err := snapshots.Create(raft.SnapshotVersionMax, last.Index, last.Term, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
}

func restoreNewest(t *testing.T, adapter *fsm.Raft, snapshots raft.SnapshotStore) {
	t.Helper()
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("snapshots: %v, %v", list, err)
	}
	_, in, err := snapshots.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := adapter.Restore(in); err != nil {
		t.Fatal(err)
	}
}

// runChild runs the child once and says whether it came to the end. It is killed
// after the given time, if that is not zero.
func runChild(t *testing.T, dir, point string, kill time.Duration) (finished bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashPoint+"="+point)
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
	switch {
	case err == nil:
		return true
	case errors.As(err, &exit) && (exit.ExitCode() == crashExit || exit.ExitCode() == -1):
		return false
	}
	t.Fatalf("child: %v\n%s", err, out.String())
	return false
}

// endState checks the files of a child that came to the end and gives the hash.
func endState(t *testing.T, dir string) attendance.Hash {
	t.Helper()
	state, err := store.OpenState(filepath.Join(dir, "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	var hash attendance.Hash
	err = errors.Join(state.Check(), state.View(func(tx *store.ReadTx) error {
		var err error
		hash, err = tx.StateHash()
		return err
	}), state.Close())
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestWhateverCrashesTheStateIsTheSame(t *testing.T) {
	calm := t.TempDir()
	if !runChild(t, calm, "", 0) {
		t.Fatal("the undisturbed child did not come to the end")
	}
	want := endState(t, calm)
	counted, err := os.ReadFile(filepath.Join(calm, "hits"))
	if err != nil {
		t.Fatal(err)
	}
	points := 0
	for line := range strings.Lines(string(counted)) {
		name, n, _ := strings.Cut(strings.TrimSpace(line), "=")
		hits, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		// The first ones, the last one, and some between.
		for nth := 1; nth <= hits; nth += 1 + nth*2/3 {
			points++
			t.Run(fmt.Sprintf("%s:%d", name, nth), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if runChild(t, dir, fmt.Sprintf("%s:%d", name, nth), 0) {
					t.Fatal("the failpoint was not reached")
				}
				if !runChild(t, dir, "", 0) {
					t.Fatal("the second run did not come to the end")
				}
				if got := endState(t, dir); got != want {
					t.Errorf("state %s, want %s", got, want)
				}
			})
		}
	}
	if points < 25 {
		t.Errorf("only %d places to crash at: did the failpoints get lost?", points)
	}
	for i := range 8 {
		t.Run(fmt.Sprint("kill-", i), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			kill := time.Duration(15+9*i) * time.Millisecond
			for range 50 {
				if runChild(t, dir, "", kill) {
					if got := endState(t, dir); got != want {
						t.Errorf("state %s, want %s", got, want)
					}
					return
				}
				kill += kill/4 + 10*time.Millisecond // so that it gets further each time, on any machine
			}
			t.Fatal("the child never came to the end")
		})
	}
}
