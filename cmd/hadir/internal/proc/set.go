package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Set is a set of children. Its methods may be called concurrently.
type Set struct {
	notify func(Event)
	starts chan start // to the one thread that starts processes
	ended  chan struct{}

	mu       sync.Mutex
	closed   bool
	order    []string
	children map[string]*child
}

type child struct {
	spec  Spec
	cmd   *exec.Cmd
	state State
	meant bool
	gone  chan struct{} // closed when the process has been waited for
}

type start struct {
	cmd  *exec.Cmd
	done chan error
}

// NewSet returns an empty set. notify is called for each start and end, in a
// goroutine of the Set's, without a lock; it may be nil.
func NewSet(notify func(Event)) *Set {
	if notify == nil {
		notify = func(Event) {}
	}
	s := &Set{
		notify: notify, starts: make(chan start), ended: make(chan struct{}),
		children: make(map[string]*child),
	}
	go s.starter()
	return s
}

// Add makes a child known and starts it.
func (s *Set) Add(spec Spec) error {
	s.mu.Lock()
	if s.children[spec.Name] != nil {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", spec.Name, ErrRunning)
	}
	s.order = append(s.order, spec.Name)
	s.children[spec.Name] = &child{spec: spec, state: Dead}
	s.mu.Unlock()
	return s.Start(spec.Name)
}

// Start starts a child that is dead.
func (s *Set) Start(name string) error {
	info, err := s.start(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.notify(Event{Info: info})
	return nil
}

func (s *Set) start(name string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[name]
	switch {
	case c == nil:
		return Info{}, ErrUnknown
	case s.closed:
		return Info{}, ErrClosed
	case c.state != Dead:
		return Info{}, ErrRunning
	}
	cmd := exec.Command(c.spec.Path, c.spec.Args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.spec.Env, c.spec.Out, c.spec.Out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	done := make(chan error, 1)
	s.starts <- start{cmd, done}
	if err := <-done; err != nil {
		return Info{}, err
	}
	c.cmd, c.state, c.meant, c.gone = cmd, Running, false, make(chan struct{})
	info := c.info()
	go s.wait(c, cmd)
	return info, nil
}

func (s *Set) wait(c *child, cmd *exec.Cmd) {
	err := cmd.Wait()
	s.mu.Lock()
	c.state = Dead
	e := Event{Info: c.info(), Err: err, Meant: c.meant}
	gone := c.gone
	s.mu.Unlock()
	// Told before anybody who waits goes on: the end is known to all by then.
	s.notify(e)
	close(gone)
}

func (c *child) info() Info {
	info := Info{Name: c.spec.Name, State: c.state}
	if c.cmd != nil && c.cmd.Process != nil {
		info.PID = c.cmd.Process.Pid
	}
	return info
}

// Kill ends a child with SIGKILL, as a power cut would, and waits for its end.
func (s *Set) Kill(ctx context.Context, name string) error {
	gone, err := s.signal(name, syscall.SIGKILL, func(c *child) { c.meant = true })
	if err != nil {
		return err
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop asks a child to end, with SIGTERM, and does not wait for its end.
func (s *Set) Stop(name string) error {
	_, err := s.signal(name, syscall.SIGTERM, func(c *child) { c.meant = true })
	return err
}

// Freeze stops a child where it is; it keeps its sockets and answers nothing.
func (s *Set) Freeze(name string) error {
	_, err := s.signal(name, syscall.SIGSTOP, func(c *child) { c.state = Frozen })
	return err
}

// Thaw lets a frozen child go on.
func (s *Set) Thaw(name string) error {
	_, err := s.signal(name, syscall.SIGCONT, func(c *child) { c.state = Running })
	return err
}

func (s *Set) signal(name string, sig syscall.Signal, then func(*child)) (gone <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[name]
	switch {
	case c == nil:
		return nil, fmt.Errorf("%s: %w", name, ErrUnknown)
	case c.state == Dead:
		return nil, fmt.Errorf("%s: %w", name, ErrGone)
	}
	// os.Process knows whether the process was waited for.
	if err := c.cmd.Process.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("%s: %w", name, ErrGone)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	then(c)
	return c.gone, nil
}

// List gives all children in the order in which they were added.
func (s *Set) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Info, 0, len(s.order))
	for _, name := range s.order {
		out = append(out, s.children[name].info())
	}
	return out
}

// Close stops all children with SIGTERM, kills those that are left when ctx
// ends, and returns when all have been waited for. The set cannot be used after.
func (s *Set) Close(ctx context.Context) {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	var left []<-chan struct{}
	for _, name := range s.order {
		c := s.children[name]
		if c.state == Dead {
			if c.gone != nil {
				left = append(left, c.gone) // its end may not have been told yet
			}
			continue
		}
		c.meant = true
		// An error means that it has just ended.
		c.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck
		c.cmd.Process.Signal(syscall.SIGCONT) //nolint:errcheck
		left = append(left, c.gone)
	}
	s.mu.Unlock()
	for _, gone := range left {
		select {
		case <-gone:
			continue
		case <-ctx.Done():
		}
		s.killAll()
		<-gone
	}
	if first {
		close(s.ended)
	}
}

func (s *Set) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		if c.state != Dead {
			c.cmd.Process.Kill() //nolint:errcheck // it has just ended then
		}
	}
}
