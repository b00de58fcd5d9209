// Package redistest gives tests a Redis of their own, where there is one on the machine.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a process on a free loopback port, and a client of it.
type Server struct {
	t    *testing.T
	port string
	Dir  string // where it keeps its files
	args []string
	cmd  *exec.Cmd
	*redis.Client
}

// Safe are the arguments with which Redis keeps what it has through a power cut.
var Safe = []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}

// Start starts one, or skips the test where there is none and none is required.
func Start(t *testing.T, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("HADIR_TEST_REQUIRE"), ","), "redis") {
			t.Fatalf("redis is required: %v", err)
		}
		t.Skipf("redis: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, port: port, Dir: t.TempDir(), args: args}
	s.Client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, MaxRetries: -1})
	t.Cleanup(func() {
		s.Kill()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Restart()
	return s
}

// Restart starts the process on the same port and directory.
func (s *Server) Restart() {
	s.t.Helper()
	args := append([]string{"--bind", "127.0.0.1", "--port", s.port, "--dir", s.Dir, "--save", "", "--daemonize", "no"}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	Await(s.t, "redis answers", func() bool { return s.Ping(context.Background()).Err() == nil })
}

// Kill ends the process at once.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait() // killed
		s.cmd = nil
	}
}

// Signal sends a signal to the process.
func (s *Server) Signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

// Must sends a command that must not fail.
func (s *Server) Must(args ...any) {
	s.t.Helper()
	if err := s.Do(context.Background(), args...).Err(); err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
}

// Await waits for a condition, generously.
func Await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("it never came: " + what)
}

// URL gives where it is, as options of a client.
func (s *Server) URL() *redis.Options {
	o, err := redis.ParseURL(fmt.Sprintf("redis://127.0.0.1:%s/0", s.port))
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}
