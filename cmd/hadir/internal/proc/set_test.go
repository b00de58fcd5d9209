package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is its own child: HADIR_TEST_ROLE says what it does.
func TestMain(m *testing.M) {
	switch os.Getenv("HADIR_TEST_ROLE") {
	case "":
		goleak.VerifyTestMain(m)
	case "polite": // ends on SIGTERM
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("up")
		<-term
		fmt.Println("bye")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	case "failing":
		fmt.Println("cannot start")
		os.Exit(3)
	case "parent": // has a child, tells its pid and waits to be killed
		set := NewSet(nil)
		out := &lines{make(chan string, 8)}
		if err := set.Add(Spec{Name: "kid", Path: os.Args[0], Env: append(os.Environ(), "HADIR_TEST_ROLE=stubborn"), Out: out}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		<-out.ch
		fmt.Println(set.List()[0].PID)
		select {}
	}
}

// lines is the output of a child, line by line.
type lines struct{ ch chan string }

func (l *lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		l.ch <- strings.TrimSpace(line)
	}
	return len(p), nil
}

func (l *lines) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-l.ch:
		if got != want {
			t.Fatalf("child said %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("child never said %q", want)
	}
}

type fixture struct {
	*Set
	events chan Event
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{events: make(chan Event, 64)}
	f.Set = NewSet(func(e Event) { f.events <- e })
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.Close(ctx)
	})
	return f
}

func (f *fixture) add(t *testing.T, name, role string) *lines {
	t.Helper()
	out := &lines{make(chan string, 64)}
	if err := f.Add(Spec{Name: name, Path: os.Args[0], Env: append(os.Environ(), "HADIR_TEST_ROLE="+role), Out: out}); err != nil {
		t.Fatal(err)
	}
	f.event(t, name, Running)
	return out
}

func (f *fixture) event(t *testing.T, name string, state State) Event {
	t.Helper()
	select {
	case e := <-f.events:
		if e.Name != name || e.State != state {
			t.Fatalf("event %+v, want %s %s", e, name, state)
		}
		return e
	case <-time.After(20 * time.Second):
		t.Fatalf("no event %s %s", name, state)
	}
	return Event{}
}

func TestKillAndReplace(t *testing.T) {
	f := newFixture(t)
	out := f.add(t, "n1", "polite")
	out.expect(t, "up")
	before := f.List()[0]
	if err := f.Start("n1"); !errors.Is(err, ErrRunning) {
		t.Fatalf("second start: %v", err)
	}
	if err := f.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if e := f.event(t, "n1", Dead); !e.Meant || e.Err == nil || e.PID != before.PID {
		t.Fatalf("event %+v", e)
	}
	if alive(before.PID) {
		t.Fatal("the process lives")
	}
	for _, err := range []error{f.Kill(t.Context(), "n1"), f.Freeze("n1"), f.Thaw("n1")} {
		if !errors.Is(err, ErrGone) {
			t.Fatalf("signal to a dead child: %v", err)
		}
	}
	if err := f.Start("n1"); err != nil {
		t.Fatal(err)
	}
	f.event(t, "n1", Running)
	out.expect(t, "up")
	if now := f.List()[0]; now.PID == before.PID || now.State != Running {
		t.Fatalf("after the start: %+v", now)
	}
}

// TestStopIsPolite: a child that is asked to end does so in good order.
func TestStopIsPolite(t *testing.T) {
	f := newFixture(t)
	f.add(t, "n1", "polite").expect(t, "up")
	if err := f.Stop("n1"); err != nil {
		t.Fatal(err)
	}
	if e := f.event(t, "n1", Dead); !e.Meant || e.Err != nil {
		t.Fatalf("event %+v", e)
	}
	if err := f.Stop("n1"); !errors.Is(err, ErrGone) {
		t.Fatalf("a dead child was stopped: %v", err)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	f := newFixture(t)
	f.add(t, "n1", "polite").expect(t, "up")
	pid := f.List()[0].PID
	if err := f.Freeze("n1"); err != nil {
		t.Fatal(err)
	}
	if s := f.List()[0].State; s != Frozen {
		t.Fatalf("state %s", s)
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		eventually(t, "stopped", func() bool { return procState(pid) == "T" })
	}
	if err := f.Thaw("n1"); err != nil {
		t.Fatal(err)
	}
	if s := f.List()[0].State; s != Running {
		t.Fatalf("state %s", s)
	}
	// A frozen child can be killed.
	if err := errors.Join(f.Freeze("n1"), f.Kill(t.Context(), "n1")); err != nil {
		t.Fatal(err)
	}
}

func TestUnexpectedEnd(t *testing.T) {
	f := newFixture(t)
	out := f.add(t, "n1", "failing")
	e := f.event(t, "n1", Dead)
	var exit *exec.ExitError
	if e.Meant || !errors.As(e.Err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("event %+v", e)
	}
	out.expect(t, "cannot start") // everything it said is there when its end is told
}

func TestCloseStopsThenKills(t *testing.T) {
	f := newFixture(t)
	polite, frozen, stubborn := f.add(t, "n1", "polite"), f.add(t, "n2", "polite"), f.add(t, "n3", "stubborn")
	polite.expect(t, "up")
	frozen.expect(t, "up")
	stubborn.expect(t, "up")
	if err := f.Freeze("n2"); err != nil {
		t.Fatal(err)
	}
	all := f.List()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Close(ctx); close(done) }()
	polite.expect(t, "bye")
	frozen.expect(t, "bye")
	for range 2 {
		if e := <-f.events; e.Err != nil || !e.Meant || e.Name == "n3" {
			t.Fatalf("event %+v", e)
		}
	}
	select {
	case <-done:
		t.Fatal("Close did not wait for the stubborn child")
	default:
	}
	cancel()
	<-done
	for _, c := range all {
		if alive(c.PID) {
			t.Fatalf("%s lives", c.Name)
		}
	}
	if err := f.Start("n1"); !errors.Is(err, ErrClosed) {
		t.Fatalf("start after Close: %v", err)
	}
}

func TestUnknown(t *testing.T) {
	f := newFixture(t)
	for _, err := range []error{f.Start("x"), f.Kill(t.Context(), "x"), f.Freeze("x"), f.Thaw("x")} {
		if !errors.Is(err, ErrUnknown) {
			t.Fatalf("%v", err)
		}
	}
	if err := f.Add(Spec{Name: "n1", Path: filepath.Join(t.TempDir(), "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing program: %v", err)
	}
}

func TestNoOrphanWhenTheParentIsKilled(t *testing.T) {
	if !diesWithParent() {
		t.Skip("left out: the kernel does not tie a child's life to its parent here")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HADIR_TEST_ROLE=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(line))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out) //nolint:errcheck // test
	cmd.Wait()               //nolint:errcheck // test
	eventually(t, "the grandchild is gone", func() bool { return !alive(pid) })
}

func diesWithParent() bool {
	var a, none syscall.SysProcAttr
	dieWithParent(&a)
	return fmt.Sprint(a) != fmt.Sprint(none)
}

func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil && procState(pid) != "Z"
}

// procState is the letter in /proc/PID/stat; "" where there is none.
func procState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: it did not happen", what)
}
