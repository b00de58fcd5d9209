package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hadir/cluster"
	"hadir/cmd/hadir/internal/logs"
	"hadir/export"
	"hadir/httpapi"
	"hadir/httpapi/password"
	"hadir/httpapi/stream"
	"hadir/queue"
	"hadir/queue/jobs"
	"hadir/queue/mirror"
	"hadir/queue/shared"
	"hadir/queue/webhook"
)

// Process is what a node needs of the process that it is.
type Process struct {
	Version string
	Stderr  io.Writer
	// Rand is the cryptographic source.
	Rand io.Reader
	// Signals asks for the end; a second one ends the process at once.
	Signals <-chan os.Signal
	// Exit ends the process.
	Exit func(code int)
	// Demo acts on the processes of a demo; nil where there is none.
	Demo httpapi.Demo
}

const (
	// shutdownTime bounds a shutdown in all, drainTime the answering of requests
	// under way within it, journalTime the last write of the door journal.
	shutdownTime = 3 * time.Second
	drainTime    = 1500 * time.Millisecond
	journalTime  = 300 * time.Millisecond
	exportTime   = 500 * time.Millisecond // for the batch that is under way
)

// errSlowShutdown means that the node was left as it was.
var errSlowShutdown = errors.New("not everything could be stopped within three seconds; the files are safe, and the next start recovers")

// Run runs a node until a signal asks for its end.
func Run(ctx context.Context, o Options, proc Process) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this machine: %w", err)
	}
	p, err := o.resolve(hostname)
	if err != nil {
		return err
	}
	log, err := logs.New(proc.Stderr, o.LogFormat, o.LogLevel)
	if err != nil {
		return &UsageError{err.Error()}
	}
	log = log.With("node", p.NodeID)
	asked := make(chan struct{})
	go func() {
		if _, ok := <-proc.Signals; !ok {
			return
		}
		close(asked)
		if s, ok := <-proc.Signals; ok {
			fmt.Fprintf(proc.Stderr, "hadir: ended at once by a second signal (%s)\n", s)
			proc.Exit(1)
		}
	}()
	n := &running{plan: p, proc: proc, log: log, hostname: hostname, failed: make(chan error, 2), ending: make(chan struct{})}
	if err := n.start(ctx); err != nil {
		n.abandon()
		return err
	}
	select {
	case <-asked:
		return n.shutdown()
	case err := <-n.failed:
		return errors.Join(err, n.shutdown())
	}
}

// running is a node in this process.
type running struct {
	*plan
	proc     Process
	log      *slog.Logger
	hostname string

	listener net.Listener
	debug    *http.Server
	node     *cluster.Node
	journal  *httpapi.Journal
	queue    *queue.Queue
	mirror   *mirror.Mirror // nil without Redis
	desk     desk
	jobs     *jobs.Jobs
	webhooks *webhook.Hooks
	shared   *shared.Shared // nil without Redis
	exporter *export.Exporter
	api      *httpapi.API
	served   atomic.Pointer[httpapi.API] // api, for those who began before it
	server   *http.Server
	draining atomic.Bool
	failed   chan error
	ending   chan struct{} // closed when the end has begun

	stopQueue func() // nil until there is a queue
	stopJobs  func() // nil until there is a door
}

func (n *running) start(ctx context.Context) error {
	g := &genesis{
		node: n.NodeID, now: Clock{}.Now, rand: n.proc.Rand, zone: n.zone,
		email: n.AdminEmail, password: n.password, people: n.people, hash: password.Hash,
	}
	if err := g.check(); err != nil {
		return err
	}
	var err error
	if n.listener, err = net.Listen("tcp", n.HTTPAddr); err != nil {
		return fmt.Errorf("--http-addr %s: %w", n.HTTPAddr, err)
	}
	if err := n.startDebug(); err != nil {
		return err
	}
	public := httpURL(n.HTTPAdvertise, n.listener.Addr().String(), n.hostname, n.tls != nil)
	metrics := httpapi.NewMetrics(n.proc.Version)
	n.node, err = cluster.Start(ctx, cluster.Config{
		Name: n.NodeID, DataDir: n.DataDir,
		PeerAddr: n.PeerAddr, PeerAdvertise: n.PeerAdvertise,
		GossipAddr: n.GossipAddr, GossipAdvertise: n.GossipAdvertise,
		HTTPAdvertise: public, Join: n.Join, BootstrapExpect: n.BootstrapExpect,
		NonVoter: n.NonVoter, MinFree: max(1, uint64(n.MinFreeMiB)<<20),
		Stabilization: n.Stabilization, Snapshots: n.snapshotPolicy(),
		Keys: n.keys, RaftMultiplier: n.RaftMultiplier, Version: n.proc.Version,
		Genesis: g.commands, Founded: founded, Renew: g.renew,
		Clock: Clock{}, Rand: n.proc.Rand, Halt: halter(n.proc.Stderr, n.proc.Exit), Log: n.log, Observe: metrics,
	})
	var wrong *cluster.ConfigError
	if errors.As(err, &wrong) {
		return &UsageError{wrong.Text}
	} else if err != nil {
		return err
	}
	if err := n.startQueue(metrics); err != nil {
		return err
	}
	if err := n.startExport(); err != nil {
		return err
	}
	if err := n.startHTTP(metrics); err != nil {
		return err
	}
	n.log.Info("node is up", "url", public, "data", n.DataDir, "version", n.proc.Version)
	go func() {
		select {
		case <-n.node.Ready():
			n.log.Info("node is a member of its cluster", "leader", n.node.Status().Leader)
		case <-n.ending:
		}
	}()
	return nil
}

func (n *running) startHTTP(metrics *httpapi.Metrics) error {
	n.journal = httpapi.NewJournal(n.node.Own(), Clock{}, n.log)
	config := httpapi.Config{
		Node: n.node, Clock: Clock{}, Rand: n.proc.Rand, Log: n.log, Metrics: metrics, TrustedProxies: n.proxies,
		Journal: n.journal, Queue: door{n.queue}, Desk: n.desk, Jobs: work{n.jobs}, Webhooks: hooks{n.webhooks},
		Archive: n.node, Exports: exports{n.exporter}, Watcher: n.node,
		StreamLimits: stream.Limits{PerPerson: int(n.StreamPerPerson), PerNode: int(n.StreamClients)},
	}
	if err := n.share(&config); err != nil {
		return err
	}
	if len(n.targets) > 0 {
		config.Exported = n.exporter.Exported
	}
	if n.Demo {
		config.Demo = n.proc.Demo
		if n.proc.Demo == nil {
			n.log.Warn("this node was not started by hadir demo: there is nobody to kill or freeze nodes")
		}
		if n.people != nil {
			for _, a := range n.people.Accounts {
				config.Accounts = append(config.Accounts, httpapi.Account(a))
			}
		}
	}
	var err error
	if n.api, err = httpapi.New(config); err != nil {
		return err
	}
	n.served.Store(n.api)
	n.runJobs()
	n.server = httpapi.NewServer(n.unlessDraining(n.api), n.log)
	n.server.TLSConfig = n.tls
	go func() {
		var err error
		if n.tls != nil {
			err = n.server.ServeTLS(n.listener, "", "")
		} else {
			err = n.server.Serve(n.listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			n.failed <- fmt.Errorf("HTTP ended: %w", err)
		}
	}()
	return nil
}

// unlessDraining fails /readyz as soon as the end has begun.
func (n *running) unlessDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.draining.Load() && strings.HasSuffix(r.URL.Path, "/readyz") {
			http.Error(w, "[-]node is shutting down", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// startDebug serves the profiler, on its own address only.
func (n *running) startDebug() error {
	if n.DebugAddr == "" {
		return nil
	}
	l, err := net.Listen("tcp", n.DebugAddr)
	if err != nil {
		return fmt.Errorf("--debug-addr %s: %w", n.DebugAddr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
		case "cmdline":
			pprof.Cmdline(w, r)
		case "profile":
			pprof.Profile(w, r)
		case "symbol":
			pprof.Symbol(w, r)
		case "trace":
			pprof.Trace(w, r)
		default:
			pprof.Index(w, r)
		}
	})
	n.debug = &http.Server{Handler: mux, ReadHeaderTimeout: drainTime}
	go n.debug.Serve(l) //nolint:errcheck // it ends with the node
	n.log.Info("profiler", "url", "http://"+l.Addr().String()+"/debug/pprof/")
	return nil
}

// shutdown takes the node apart; see the package's comment for the order.
func (n *running) shutdown() error {
	begun := time.Now()
	n.log.Info("shutting down")
	n.draining.Store(true)
	close(n.ending)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		drain, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		var streams sync.WaitGroup
		streams.Go(func() { n.api.Close(drain) })
		if err := n.server.Shutdown(drain); err != nil {
			n.log.Warn("requests under way were cut off", "error", err)
			n.server.Close() //nolint:errcheck // the listener is closed already
		}
		streams.Wait()
		n.stopExport(ctx)
		n.closeJournal()
		var background sync.WaitGroup // each waits for a Redis that hangs
		background.Go(n.stopJobs)
		background.Go(n.stopQueue)
		background.Wait()
		err := n.node.Shutdown(ctx)
		if n.debug != nil {
			n.debug.Close() //nolint:errcheck // nothing of value is on it
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			n.log.Info("stopped", "took", time.Since(begun))
		}
		return err
	case <-ctx.Done():
		return errSlowShutdown
	}
}

// closeJournal writes the last refusals down, but a disk that hangs keeps no node
// from handing over.
func (n *running) closeJournal() {
	done := make(chan error, 1)
	go func() { done <- n.journal.Close() }()
	select {
	case err := <-done:
		if err != nil {
			n.log.Warn("the last second of the door journal is lost", "error", err)
		}
	case <-time.After(journalTime):
		n.log.Warn("the door journal cannot be written in time")
	}
}

// abandon closes what a start that failed has left open. The process ends next,
// but tests and their ports go on.
func (n *running) abandon() {
	n.stopExport(context.Background())
	if n.stopJobs != nil {
		n.stopJobs()
	}
	if n.stopQueue != nil {
		n.stopQueue()
	}
	if n.api != nil {
		cut, cancel := context.WithCancel(context.Background())
		cancel()
		n.api.Close(cut)
	}
	if n.node != nil {
		n.closeJournal()
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		n.node.Shutdown(ctx) //nolint:errcheck // there is a first error to report
	}
	if n.debug != nil {
		n.debug.Close() //nolint:errcheck // as above
	}
	if n.listener != nil {
		n.listener.Close() //nolint:errcheck // as above
	}
}
