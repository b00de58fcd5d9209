package system_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

func startDemo(t *testing.T, o harness.DemoOptions) *harness.Demo {
	t.Helper()
	o.Bin, o.Info = bin, filepath.Join(t.TempDir(), "info.json")
	start := time.Now()
	d, err := harness.StartDemo(within(t, 60*time.Second), o)
	if d != nil {
		t.Cleanup(func() {
			log := d.Log()
			d.Close()
			showRaces(t, log)
			if t.Failed() {
				t.Log(log)
			}
		})
	}
	if err != nil {
		if d != nil {
			t.Log(d.Log())
		}
		t.Fatal(err)
	}
	t.Logf("demo of %d nodes up in %.2f s", o.Nodes, time.Since(start).Seconds())
	return d
}

// allGone waits until no child is left.
func allGone(t *testing.T, children map[string]*harness.Foreign) {
	t.Helper()
	must(t, harness.Await(within(t, 10*time.Second), func() error {
		for id, c := range children {
			if c.Alive() {
				return fmt.Errorf("%s (pid %d) lives", id, c.PID())
			}
		}
		return nil
	}))
}

// TestDemoLeavesNothing: Ctrl-C ends everything and removes the temporary
// directory.
func TestDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	d := startDemo(t, harness.DemoOptions{Nodes: 1, Env: []string{"TMPDIR=" + temp}})
	children, err := d.Children()
	must(t, err)
	info, err := d.Info()
	must(t, err)
	if _, err := os.Stat(info.Nodes[0].DataDir); err != nil {
		t.Error(err)
	}
	must(t, d.Proc.Signal(syscall.SIGINT))
	code, err := d.Proc.Wait(within(t, 15*time.Second))
	must(t, err)
	if code != 0 {
		t.Errorf("Ctrl-C: exit code %d", code)
	}
	allGone(t, children)
	left, err := os.ReadDir(temp)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDemo: the front, the controls, the death of the parent, and --dir.
func TestDemo(t *testing.T) {
	t.Parallel()
	shared.drop() // there are enough processes for two cores
	port, err := harness.FreePorts(4)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "school")
	d := startDemo(t, harness.DemoOptions{Nodes: 3, Port: port, Dir: dir})
	admin, err := d.SignIn(within(t, 20*time.Second), "admin")
	must(t, err)
	info, err := d.Info()
	must(t, err)
	roles := map[string]int{}
	for _, a := range info.Accounts {
		roles[a.Role]++
	}
	if roles["admin"] == 0 || roles["teacher"] == 0 || roles["student"] == 0 || len(info.Nodes) != 3 || info.URL == "" {
		t.Fatalf("info: %+v", info)
	}
	var users struct{ Items []struct{ Role string } }
	must(t, admin.Get(within(t, 10*time.Second), "/api/v1/users?limit=100", &users))
	if len(users.Items) != 40 {
		t.Errorf("%d sample people, want 1 administrator, 3 teachers and 36 students", len(users.Items))
	}

	t.Run("unkeyed is not repeated", func(t *testing.T) { unkeyed(t, d, admin) })
	t.Run("keyed moves on", func(t *testing.T) { keyed(t, d, admin) })
	t.Run("only administrators control", func(t *testing.T) {
		student, err := d.SignIn(within(t, 20*time.Second), "student")
		must(t, err)
		if a := do(t, student, "POST", "/api/v1/demo/n1/kill", "", nil); a.Status != 403 {
			t.Errorf("a student kills a node: %s", a)
		}
	})
	if t.Failed() {
		return
	}

	// The parent dies: so do the children. What was accepted stays.
	key := harness.Key()
	accepted := decided(t, admin, key, do(t, admin, "POST", "/api/v1/checkins", key, harness.Tap{Type: "in", User: 1}))
	if accepted.Attendance == nil {
		t.Fatalf("check-in: %+v", accepted)
	}
	children, err := d.Children()
	must(t, err)
	d.Proc.Kill()
	allGone(t, children)

	d = startDemo(t, harness.DemoOptions{Nodes: 3, Port: port, Dir: dir})
	// The session is still good: its secret is in the replicated state.
	path := fmt.Sprintf("/api/v1/attendances/%d?min_index=%d", accepted.Attendance.ID, accepted.Sync.Index)
	if a := do(t, admin, "GET", path, "", nil); a.Status != 200 {
		t.Errorf("after the restart: %s", a)
	}
	t.Run("rolling restart", func(t *testing.T) { rolling(t, d, admin) })
	verifyEqual(t, d.Client.Base)
	children, err = d.Children()
	must(t, err)
	must(t, d.Proc.Signal(syscall.SIGINT))
	if code, err := d.Proc.Wait(within(t, 15*time.Second)); err != nil || code != 0 {
		t.Errorf("Ctrl-C: exit code %d, %v", code, err)
	}
	allGone(t, children)
	if _, err := os.Stat(filepath.Join(dir, "n1", "state.db")); err != nil {
		t.Errorf("--dir was not kept: %v", err)
	}
}

// unkeyed: a check-in without a key that a frozen node has taken waits for that
// node; when it dies, the client is told, and no other node has decided it.
func unkeyed(t *testing.T, d *harness.Demo, admin harness.Client) {
	children, err := d.Children()
	must(t, err)
	victim := children["n2"]
	must(t, victim.Freeze(within(t, 5*time.Second)))
	type answer struct {
		user uint64
		a    *harness.Answer
		err  error
	}
	answers := make(chan answer, 3)
	var wg sync.WaitGroup
	defer wg.Wait()
	for user := uint64(38); user <= 40; user++ {
		wg.Go(func() {
			a, err := admin.Do(within(t, 40*time.Second), "POST", "/api/v1/checkins", "", harness.Tap{Type: "out", User: user})
			answers <- answer{user, a, err}
		})
	}
	// The two that reached living nodes are decided, by a new leader if need be.
	waiting := map[uint64]bool{38: true, 39: true, 40: true}
	for range 2 {
		got := <-answers
		delete(waiting, got.user)
		if got.err != nil || (got.a.Status != 201 && got.a.Status != 202 && got.a.Status != 503) {
			t.Errorf("unkeyed check-in of %d: %v, %v", got.user, got.a, got.err)
		}
	}
	if len(waiting) != 1 {
		t.Fatalf("waiting: %v", waiting)
	}
	select {
	case got := <-answers:
		t.Fatalf("the front has sent an unkeyed check-in to another node: %v, %v", got.a, got.err)
	case <-time.After(4 * time.Second): // longer than the front waits for what it may move on
	}
	must(t, victim.Signal(syscall.SIGKILL))
	got := <-answers
	if got.err != nil || got.a.Status != 502 {
		t.Errorf("unkeyed check-in at a node that died: %v, %v", got.a, got.err)
	}
	var list struct{ Items []harness.Attendance }
	for user := range waiting {
		must(t, admin.Get(within(t, 20*time.Second), fmt.Sprintf("/api/v1/attendances?consistency=strong&user_id=%d", user), &list))
		if len(list.Items) != 0 {
			t.Errorf("the unkeyed check-in was decided elsewhere: %+v", list.Items)
		}
	}
	startAgain(t, d, admin, "n2", victim.PID())
}

// startAgain starts a dead node by the control and waits for the new description
// and for its return.
func startAgain(t *testing.T, d *harness.Demo, admin harness.Client, id string, old int) {
	t.Helper()
	must(t, harness.Await(within(t, 10*time.Second), func() error {
		return d.Control(within(t, 5*time.Second), admin, id, "start")
	}))
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		children, err := d.Children()
		if err != nil {
			return err
		}
		if children[id].PID() == old {
			return errors.New("the description still names the dead process")
		}
		return nil
	}))
	demoHealthy(t, d, admin)
}

func demoHealthy(t *testing.T, d *harness.Demo, admin harness.Client) {
	t.Helper()
	info, err := d.Info()
	must(t, err)
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		for _, n := range info.Nodes {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			v, err := admin.At(n.URL).View(ctx)
			cancel()
			if err != nil {
				return err
			}
			if v.Leader == "" || v.CanLose != 1 {
				return fmt.Errorf("%s: leader %q, can lose %d", n.ID, v.Leader, v.CanLose)
			}
		}
		return nil
	}))
}

// keyed: nobody who taps with a key notices that a node is killed.
func keyed(t *testing.T, d *harness.Demo, admin harness.Client) {
	load := d.Load(admin, harness.LoadConfig{Rate: 20})
	defer load.Stop()
	must(t, load.Progress(within(t, 20*time.Second), 10))
	children, err := d.Children()
	must(t, err)
	view, err := admin.View(within(t, 10*time.Second))
	must(t, err)
	victim := "n1"
	if view.Leader == victim {
		victim = "n3" // a follower: a leader's death is another test
	}
	must(t, d.Control(within(t, 10*time.Second), admin, victim, "kill"))
	must(t, harness.Await(within(t, 10*time.Second), func() error {
		if children[victim].Alive() {
			return errors.New("the node was not killed")
		}
		return nil
	}))
	must(t, load.Progress(within(t, 20*time.Second), 20))
	ops := load.Stop()
	for _, op := range ops {
		if !op.Final() || len(op.Tries) != 1 || len(op.Strange) > 0 {
			t.Errorf("op %d met %+v %v", op.N, op.Tries, op.Strange)
		}
	}
	startAgain(t, d, admin, victim, children[victim].PID())
	judgeDemo(t, d, admin, ops)
}

func judgeDemo(t *testing.T, d *harness.Demo, admin harness.Client, ops []*harness.Op) {
	t.Helper()
	info, err := d.Info()
	must(t, err)
	nodes := map[string]harness.Client{}
	for _, n := range info.Nodes {
		nodes[n.ID] = admin.At(n.URL)
	}
	v, err := harness.Judge(within(t, 40*time.Second), nodes, ops)
	must(t, err)
	if len(v.Faults) > 0 {
		t.Errorf("the judgement: %s", v)
	}
	t.Log(harness.Summary(ops))
}

// rolling stops one node after the other, as an upgrade would, under load.
func rolling(t *testing.T, d *harness.Demo, admin harness.Client) {
	load := d.Load(admin, harness.LoadConfig{Rate: 30})
	defer load.Stop()
	for _, id := range []string{"n1", "n2", "n3"} {
		demoHealthy(t, d, admin)
		must(t, load.Progress(within(t, 20*time.Second), 10))
		children, err := d.Children()
		must(t, err)
		must(t, children[id].Signal(syscall.SIGTERM))
		must(t, harness.Await(within(t, 10*time.Second), func() error {
			if children[id].Alive() {
				return fmt.Errorf("%s has not ended", id)
			}
			return nil
		}))
		startAgain(t, d, admin, id, children[id].PID())
	}
	must(t, load.Progress(within(t, 20*time.Second), 10))
	ops := load.Stop()
	for _, op := range ops {
		if !op.Final() || len(op.Strange) > 0 {
			t.Errorf("op %d met %+v %v", op.N, op.Tries, op.Strange)
		}
	}
	if retried := harness.Undecided(ops); len(retried) > 0 {
		t.Errorf("the front passed on answers that were no decision, by status: %v", retried)
	}
	checkGap(t, "rolling restart", load, time.Time{})
	judgeDemo(t, d, admin, ops)
}
