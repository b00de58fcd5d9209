package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Output collects what a process writes: its beginning and its newest part.
type Output struct {
	mu   sync.Mutex
	head bytes.Buffer
	tail bytes.Buffer
	cut  int
}

const (
	maxHead = 256 << 10
	maxTail = 1 << 20
)

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	if room := maxHead - o.head.Len(); room > 0 {
		part := p[:min(room, len(p))]
		o.head.Write(part)
		p = p[len(part):]
	}
	o.tail.Write(p)
	if extra := o.tail.Len() - maxTail; extra > maxTail/4 {
		o.tail.Next(extra)
		o.cut += extra
	}
	return n, nil
}

// String gives what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cut > 0 {
		return fmt.Sprintf("%s\n… %d bytes left out …\n%s", o.head.String(), o.cut, o.tail.String())
	}
	return o.head.String() + o.tail.String()
}

// Proc is a running or ended process.
type Proc struct {
	Name   string
	Stdout *Output
	Stderr *Output

	cmd  *exec.Cmd
	gone chan struct{}
	code int
}

// starter starts processes on a thread that lives as long as this process: the
// kernel takes the death of the thread that started a child for the death of the
// parent, and Go ends threads when it likes.
var starter = sync.OnceValue(func() func(*exec.Cmd) error {
	type start struct {
		cmd  *exec.Cmd
		done chan error
	}
	starts := make(chan start)
	go func() {
		runtime.LockOSThread()
		for s := range starts {
			s.done <- s.cmd.Start()
		}
	}()
	return func(cmd *exec.Cmd) error {
		s := start{cmd, make(chan error, 1)}
		starts <- s
		return <-s.done
	}
})

// Start runs a program. env is added to this process's environment.
func Start(name, path string, args, env []string) (*Proc, error) {
	p := &Proc{Name: name, Stdout: &Output{}, Stderr: &Output{}, gone: make(chan struct{}), code: -1}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(clean(os.Environ()), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Stdout, p.Stderr
	// A grandchild that holds the pipe must not keep Wait from returning.
	p.cmd.WaitDelay = 2 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(p.cmd.SysProcAttr)
	if err := starter()(p.cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.cmd.Wait() //nolint:errcheck // the code says it
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.gone)
	}()
	return p, nil
}

// clean drops the settings of the machine's owner: a flag's environment twin
// would change what is tested. The mark by which CI tells the processes of its
// run stays, or it would not see what was left behind.
func clean(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "HADIR_") || strings.HasPrefix(e, "HADIR_CI_RUN=") {
			out = append(out, e)
		}
	}
	return out
}

// PID gives the process id, also after its end.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Gone is closed when the process has been waited for.
func (p *Proc) Gone() <-chan struct{} { return p.gone }

// Ended reports whether the process has been waited for.
func (p *Proc) Ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// Signal sends a signal to a process that has not ended.
func (p *Proc) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Wait waits for the end and gives the exit code; -1 for an end by signal.
func (p *Proc) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.gone:
		return p.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s (pid %d) has not ended: %w", p.Name, p.PID(), ctx.Err())
	}
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Proc) Kill() {
	if err := p.Signal(syscall.SIGKILL); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-p.gone
	}
}

// Foreign is a process that somebody else started: a child of the demo.
type Foreign struct {
	pid  int
	born string
}

// FindForeign recognises a running process by a word of its command line.
func FindForeign(pid int, word string) (*Foreign, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(line, []byte(word)) {
		return nil, fmt.Errorf("process %d is %q, which says nothing of %q", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '}), word)
	}
	f := &Foreign{pid: pid, born: birth(pid)}
	if f.born == "" {
		return nil, fmt.Errorf("process %d has ended", pid)
	}
	return f, nil
}

// birth gives when a process was started, in the kernel's words; "" for one that
// does not run. A zombie does not run.
func birth(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name in parentheses may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

// PID gives its number.
func (f *Foreign) PID() int { return f.pid }

// Alive reports whether it is still the same process and runs.
func (f *Foreign) Alive() bool { return birth(f.pid) == f.born }

// Signal sends a signal, if it is still the same process.
func (f *Foreign) Signal(sig syscall.Signal) error {
	if !f.Alive() {
		return os.ErrProcessDone
	}
	return syscall.Kill(f.pid, sig)
}

// Freeze stops the process where it is, and returns when it has stopped.
func (f *Foreign) Freeze(ctx context.Context) error {
	if err := f.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStopped(ctx, f.pid)
}

// awaitStopped waits until every thread has stopped: that a signal was sent says
// nothing of when it takes effect. Without /proc that cannot be seen.
func awaitStopped(ctx context.Context, pid int) error {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		return nil //nolint:nilerr // there is nothing to wait for here
	}
	return Await(ctx, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		for _, t := range threads {
			b, err := os.ReadFile(t)
			if err != nil {
				return err
			}
			if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); f[0] != "T" {
				return fmt.Errorf("process %d has not stopped: %s", pid, f[0])
			}
		}
		return nil
	})
}

// Usage is what a process has used.
type Usage struct {
	RSS int64 // bytes
	CPU time.Duration
}

// UsageOf reads /proc.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 22 {
		return u, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	pages, err3 := strconv.ParseInt(f[21], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	u.CPU, u.RSS = time.Duration(user+system)*tick, pages*int64(os.Getpagesize())
	return u, errors.Join(err1, err2, err3)
}

// NoteSources looks at every source file, so that go test knows what a test of a
// process depends on: it would give an old result from its cache otherwise, although
// the program has changed. It must be called within a test: go test takes no notice
// of what a TestMain does before.
func NoteSources() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // an editor's
			return nil
		case err != nil:
			return err
		case entry.IsDir():
			if name := entry.Name(); name == "node_modules" || (strings.HasPrefix(name, ".") && path != root) {
				return fs.SkipDir
			}
			return nil
		}
		if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
}

// Build builds the command into dir.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "hadir")
	args := []string{"build", "-o", bin}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/hadir")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return bin, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run this within hadir's source")
}

// The ports that FreePorts gives lie below those that the kernel gives to
// outgoing connections, so that nobody takes one between the look and the use.
const (
	firstPort = 12_000
	lastPort  = 32_000
)

var ports struct {
	sync.Mutex
	next int
}

// FreePorts gives n ports in a row that are free on 127.0.0.1, TCP and UDP. It
// gives no port twice.
func FreePorts(n int) (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		// Two test programs at a time begin at different places.
		ports.next = firstPort + os.Getpid()*97%(lastPort-firstPort)
	}
	run := 0
	for range 2 * (lastPort - firstPort) {
		if ports.next+n >= lastPort {
			ports.next, run = firstPort, 0
		}
		port := ports.next
		ports.next++
		if !free(port) {
			run = 0
			continue
		}
		if run++; run == n {
			return port - n + 1, nil
		}
	}
	return 0, errors.New("no free ports")
}

func free(port int) bool {
	tcp, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", Loopback(port))
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}

// Loopback gives the address of a port on 127.0.0.1.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
