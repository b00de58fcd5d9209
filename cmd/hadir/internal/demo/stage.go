package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"hadir/cmd/hadir/internal/front"
	"hadir/cmd/hadir/internal/proc"
)

// Config is what Run needs. Fields without "optional" are required.
type Config struct {
	Nodes   int
	Port    int      // of the front; node i is on Port + i
	Dir     string   // optional: a temporary directory that is removed at the end
	Info    string   // optional: file for scripts
	Morning bool     // begin a morning at once
	Serve   []string // more flags for each node
	Program string   // the binary to run as a node
	Env     []string // environment of the nodes
	Out     io.Writer
	Log     *slog.Logger
	// Hash hashes a password for the sample people.
	Hash func(rand io.Reader, password string) (string, error)
	// Hurry, when closed, ends a shutdown at once. Optional.
	Hurry <-chan struct{}
}

const (
	readyTimeout = 60 * time.Second
	readyEvery   = 50 * time.Millisecond
	stopTimeout  = 5 * time.Second
	headerLimit  = 10 * time.Second
)

// lines lets several goroutines write.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// stage is a running demo.
type stage struct {
	cfg     Config
	layout  *layout
	temp    bool
	set     *proc.Set
	front   *front.Front
	control *control
	orders  string // URL of the control
	morning *Morning
	servers []*http.Server
	wg      sync.WaitGroup
	client  *http.Client

	mu      sync.Mutex
	up      bool                // every node has been ready once
	stopped bool                // the end has begun
	fell    map[string]struct{} // ended without being told to, before up
	fallen  chan struct{}       // signalled with the first of them
	logs    []*os.File
}

// Run runs a demo until ctx ends. No process is left when it returns.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.Out = &lines{w: cfg.Out}
	s := &stage{cfg: cfg, fell: map[string]struct{}{}, fallen: make(chan struct{}, 1), client: &http.Client{Timeout: tapTimeout}}
	defer func() { err = errors.Join(err, s.close()) }()
	// The front's port first: nothing is written when it is taken.
	l, err := net.Listen("tcp", loopback(cfg.Port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is taken: stop the program that uses it, or give another --port", cfg.Port)
	} else if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := s.serve(l); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.startNodes(); err != nil {
		return err
	}
	if err := s.awaitNodes(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while it was starting
		}
		return err
	}
	s.mu.Lock()
	s.up = true
	s.mu.Unlock()
	if err := s.writeInfo(); err != nil {
		return fmt.Errorf("--info: %w", err)
	}
	s.describe(time.Since(begun))
	if cfg.Morning {
		if err := s.morning.Start(); err != nil {
			return err
		}
		fmt.Fprintln(cfg.Out, "The school morning has begun: five taps a second.")
	}
	<-ctx.Done()
	return nil
}

// prepare makes the directory and finds the ports.
func (s *stage) prepare() error {
	dir := s.cfg.Dir
	var err error
	if dir == "" {
		s.temp = true
		dir, err = os.MkdirTemp("", "hadir-demo-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("directory for the demo: %w", err)
	}
	s.layout = &layout{dir: dir} // known to close from here on
	if s.cfg.Info != "" {
		// Whoever waits for the file must not find that of an earlier demo.
		if err := os.Remove(s.cfg.Info); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--info: %w", err)
		}
	}
	l, err := arrange(dir, s.cfg.Nodes, s.cfg.Port)
	if err != nil {
		return err
	}
	s.layout = l
	p, err := people(rand.Reader, s.cfg.Hash)
	if err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return errors.Join(l.save(), writeFile(s.peopleFile(), b))
}

func (s *stage) peopleFile() string { return filepath.Join(s.layout.dir, "people.json") }

// serve starts the front.
func (s *stage) serve(l net.Listener) error {
	var nodes []front.Node
	for i, n := range s.layout.Nodes {
		nodes = append(nodes, front.Node{ID: n.ID, URL: &url.URL{Scheme: "http", Host: s.layout.http(i)}})
	}
	s.front = front.New(front.Config{Nodes: nodes, Log: s.cfg.Log})
	var err error
	s.morning, err = NewMorning(MorningConfig{
		Front: s.url(), Nodes: s.info().Nodes, People: everybody(), Log: s.cfg.Log,
		HTTP: &http.Client{Timeout: tapTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}},
		Done: func(r Report) { fmt.Fprintln(s.cfg.Out, "School morning:", r) },
	})
	if err != nil {
		return err
	}
	morning := adminsOnly(s.morning, s.url(), s.client)
	s.run(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/api/v1")
		if path == "/demo/morning" || strings.HasPrefix(path, "/demo/morning/") {
			morning.ServeHTTP(w, r)
			return
		}
		s.front.ServeHTTP(w, r)
	}))
	return nil
}

func (s *stage) url() string { return "http://" + loopback(s.cfg.Port) }

func (s *stage) run(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: headerLimit, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	s.servers = append(s.servers, server)
	s.wg.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("a server of the demo ended", "error", err)
		}
	})
}

func (s *stage) startNodes() error {
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return err
	}
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return fmt.Errorf("address of the demo's control: %w", err)
	}
	s.set = proc.NewSet(s.notice)
	s.control = newControl(s.set, s.morning, hex.EncodeToString(token), s.cfg.Log)
	s.orders = "http://" + l.Addr().String()
	s.run(l, s.control)
	env := append(slices.Clone(s.cfg.Env), ControlURLEnv+"="+s.orders, ControlTokenEnv+"="+s.control.token)
	for i, n := range s.layout.Nodes {
		out, err := os.OpenFile(s.layout.log(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		s.logs = append(s.logs, out)
		if err := s.set.Add(proc.Spec{Name: n.ID, Path: s.cfg.Program, Args: s.args(i), Env: env, Out: out}); err != nil {
			return fmt.Errorf("start a node: %w", err)
		}
	}
	return nil
}

// args gives the command line of a node.
func (s *stage) args(i int) []string {
	n := s.layout.Nodes[i]
	var seeds []string
	for _, other := range s.layout.Nodes {
		seeds = append(seeds, loopback(other.Gossip))
	}
	return append([]string{
		"serve", "--node-id=" + n.ID, "--data-dir=" + s.layout.data(i),
		"--http-addr=" + s.layout.http(i), "--http-advertise=" + s.layout.url(i),
		"--peer-addr=" + loopback(n.Peer), "--gossip-addr=" + loopback(n.Gossip),
		"--join=" + strings.Join(seeds, ","), "--bootstrap-expect=" + strconv.Itoa(len(s.layout.Nodes)),
		"--trusted-proxies=127.0.0.1", "--demo", "--demo-people-file=" + s.peopleFile(),
	}, s.cfg.Serve...)
}

// notice is told of each start and end of a node.
func (s *stage) notice(e proc.Event) {
	s.mu.Lock()
	up, stopped := s.up, s.stopped
	if e.State == proc.Dead && !e.Meant && !up {
		s.fell[e.Name] = struct{}{}
	}
	s.mu.Unlock()
	if stopped {
		return
	}
	if e.State == proc.Dead {
		s.front.Gone(e.Name, errors.New("process has ended"))
	}
	if !up {
		if e.State == proc.Dead {
			select {
			case s.fallen <- struct{}{}:
			default:
			}
			return
		}
		fmt.Fprintf(s.cfg.Out, "%s started, pid %d\n", e.Name, e.PID)
		return
	}
	switch {
	case e.State == proc.Running:
		fmt.Fprintf(s.cfg.Out, "%s started again, pid %d\n", e.Name, e.PID)
		if err := s.writeInfo(); err != nil {
			s.cfg.Log.Warn("info file was not written", "error", err)
		}
	case e.Meant && e.Err == nil:
		fmt.Fprintf(s.cfg.Out, "%s stopped, pid %d\n", e.Name, e.PID)
	case e.Meant:
		fmt.Fprintf(s.cfg.Out, "%s killed, pid %d\n", e.Name, e.PID)
	default:
		fmt.Fprintf(s.cfg.Out, "%s has ended by itself (%v): %s\n", e.Name, e.Err, lastLine(s.layout.log(s.layout.index(e.Name))))
	}
}

func (s *stage) info() Info {
	info := Info{URL: s.url()}
	pids := map[string]int{}
	if s.set != nil {
		for _, p := range s.set.List() {
			pids[p.Name] = p.PID
		}
	}
	for i, n := range s.layout.Nodes {
		info.Nodes = append(info.Nodes, InfoNode{ID: n.ID, URL: s.layout.url(i), PID: pids[n.ID], DataDir: s.layout.data(i)})
	}
	for _, a := range everybody() {
		info.Accounts = append(info.Accounts, InfoAccount{a.Email, a.Password, a.Role})
	}
	if s.control != nil {
		info.Control = &InfoControl{URL: s.orders, Token: s.control.token}
	}
	return info
}

func (s *stage) writeInfo() error {
	if s.cfg.Info == "" {
		return nil
	}
	s.mu.Lock() // one writer at a time, and the newest pids last
	defer s.mu.Unlock()
	return WriteInfo(s.cfg.Info, s.info())
}

// close stops everything that was started.
func (s *stage) close() error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	if s.morning != nil {
		s.morning.Close()
	}
	if s.control != nil {
		s.control.close()
	}
	if s.set != nil {
		fmt.Fprintln(s.cfg.Out, "stopping the nodes")
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		if s.cfg.Hurry != nil {
			go func() {
				select {
				case <-s.cfg.Hurry:
					cancel()
				case <-ctx.Done():
				}
			}()
		}
		s.set.Close(ctx)
		cancel()
	}
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	s.wg.Wait()
	if s.front != nil {
		s.front.Close()
	}
	s.client.CloseIdleConnections()
	for _, f := range s.logs {
		errs = append(errs, f.Close())
	}
	if s.temp && s.layout != nil {
		errs = append(errs, os.RemoveAll(s.layout.dir))
	}
	return errors.Join(errs...)
}
