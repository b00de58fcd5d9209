package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hadir/cmd/hadir/internal/demo"
	"hadir/cmd/hadir/internal/logs"
	"hadir/cmd/hadir/internal/serve"
	"hadir/httpapi/password"
	"hadir/tests/chaos"
	"hadir/tests/chaos/client"
	"hadir/tests/chaos/plan"
	chaostarget "hadir/tests/chaos/target"
)

// chaosCmd breaks a cluster under load and finds out whether it lost anything.
type chaosCmd struct {
	access
	Duration time.Duration `help:"How long check-ins are sent and things are broken." default:"60s"`
	Seed     uint64        `help:"The plan's: the same seed breaks the same things in the same order." default:"1"`
	Rate     int           `help:"Check-ins a second." default:"20"`
	Window   time.Duration `help:"The cluster's window, within which two check-ins of one person and kind are not both accepted." default:"5m"`
	Out      string        `help:"Directory for the report, as JSON and as a page." placeholder:"DIR" default:"."`
	Info     string        `help:"Break the demo that wrote this info file." placeholder:"FILE"`
	Compose  string        `help:"Break the containers of this Compose project." placeholder:"PROJECT"`
	Engine   string        `help:"Socket of the engine, for --compose." placeholder:"PATH" default:"/var/run/docker.sock"`
	URL      string        `help:"Address of the front, for --compose." default:"http://127.0.0.1:8080"`
	NodeURL  string        `help:"Address of a node, for --compose; {address} is the fixed one of its container, {node} its name." placeholder:"URL" default:"http://{address}:8080"`
	CA       string        `help:"File with the authority of the front's certificate, for --compose." placeholder:"FILE"`
	Port     int           `help:"Port of the front of the demo that is started where no target is given; node i is on port+i." default:"8090"`
}

// The bounds of a run.
const (
	mostChaos     = 24 * time.Hour
	mostChaosRate = 1000
	chaosNodes    = 3
	demoStarts    = 90 * time.Second
)

// errChaosFailed is the verdict in words; what failed was printed.
var errChaosFailed = errors.New("something was lost or doubled, or could not be found out: see above, and the report")

// Validate implements kong's hook.
func (c *chaosCmd) Validate() error {
	switch {
	case c.Duration < plan.Shortest || c.Duration > mostChaos:
		return fmt.Errorf("--duration %s is not within %s … %s", c.Duration, plan.Shortest, mostChaos)
	case c.Rate < 1 || c.Rate > mostChaosRate:
		return fmt.Errorf("--rate %d is not within 1 … %d", c.Rate, mostChaosRate)
	case c.Window <= 0:
		return fmt.Errorf("--window %s is no window", c.Window)
	case c.Info != "" && c.Compose != "":
		return errors.New("give --info or --compose, not both")
	case c.Port < 1 || c.Port+chaosNodes > maxPort:
		return fmt.Errorf("--port %d is not within 1 … %d", c.Port, maxPort-chaosNodes)
	}
	return c.access.Validate()
}

// Run implements the command.
func (c *chaosCmd) Run(w *world) error {
	ctx, hurry := w.untilSignal()
	// Before anything is broken: a run whose report has no place is for nothing.
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	switch {
	case c.Compose != "":
		return c.compose(ctx, w)
	case c.Info != "":
		return c.demo(ctx, w, c.Info)
	}
	return c.ownDemo(ctx, w, hurry)
}

// ownDemo starts a demo, breaks it and ends it. Its nodes export to SQLite, so that
// there is an export to be compared.
func (c *chaosCmd) ownDemo(ctx context.Context, w *world, hurry <-chan struct{}) (err error) {
	dir, err := os.MkdirTemp("", "hadir-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log, err := logs.New(w.stderr, logs.Text, "error")
	if err != nil {
		return err
	}
	info := filepath.Join(dir, "info.json")
	// The demo outlives a signal until everything is healed.
	life, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- demo.Run(life, demo.Config{
			Nodes: chaosNodes, Port: c.Port, Dir: filepath.Join(dir, "nodes"), Info: info, Program: w.program, Env: nodeEnv(w.environ),
			Serve: []string{"--export-url=sqlite://" + filepath.Join(dir, "{node}.export.db")}, Out: io.Discard, Log: log, Hash: password.Hash, Hurry: hurry,
		})
	}()
	starting, cancel := context.WithTimeout(ctx, demoStarts)
	defer cancel()
	var failed error
	up := client.Await(starting, func() error {
		select {
		case failed = <-ended:
			ended <- failed
			return nil
		default:
		}
		_, err := os.Stat(info)
		return err
	})
	switch {
	case ctx.Err() != nil:
		err = chaos.ErrInterrupted
	case failed != nil:
	case up != nil:
		err = fmt.Errorf("the demo has not started: %w", up)
	default:
		err = c.demo(ctx, w, info)
	}
	end()
	return errors.Join(err, <-ended)
}

// demo breaks a running demo.
func (c *chaosCmd) demo(ctx context.Context, w *world, file string) error {
	info, err := demo.ReadInfo(file)
	if err != nil {
		return fmt.Errorf("--info: %w", err)
	}
	if info.Control == nil {
		return fmt.Errorf("--info: %s does not say where the demo takes orders: start it with this version", file)
	}
	cfg := chaostarget.DemoConfig{Front: info.URL, Control: info.Control.URL, Token: info.Control.Token}
	for _, n := range info.Nodes {
		cfg.Nodes = append(cfg.Nodes, chaostarget.Node{ID: n.ID, URL: n.URL})
	}
	t, err := chaostarget.NewDemo(ctx, cfg)
	if err != nil {
		return err
	}
	front, err := c.admin(ctx, client.Client{HTTP: client.NewHTTP(), Base: t.Front})
	if err != nil {
		return err
	}
	return c.run(ctx, w, t, front)
}

// compose breaks the containers of a running Compose project.
func (c *chaosCmd) compose(ctx context.Context, w *world) error {
	with, err := c.trusting()
	if err != nil {
		return err
	}
	front, err := c.admin(ctx, client.Client{HTTP: with, Base: strings.TrimRight(c.URL, "/")})
	if err != nil {
		return err
	}
	nodes, err := chaostarget.Members(ctx, front)
	if err != nil {
		return err
	}
	t, err := chaostarget.NewCompose(ctx, chaostarget.ComposeConfig{
		Project: c.Compose, Socket: c.Engine, Front: front.Base, NodeURL: c.NodeURL, Nodes: nodes,
	})
	if err != nil {
		return err
	}
	return c.run(ctx, w, t, front)
}

// trusting gives a client that trusts the authority of --ca, or the machine's.
func (c *chaosCmd) trusting() (*http.Client, error) {
	if c.CA == "" {
		return client.NewHTTP(), nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(text) {
		return nil, &serve.UsageError{Text: fmt.Sprintf("--ca: %s holds no certificate", c.CA)}
	}
	return client.NewHTTPS(trusted), nil
}

// admin signs the administrator in at the front; a demo's where nobody is given.
func (c *chaosCmd) admin(ctx context.Context, at client.Client) (client.Client, error) {
	var err error
	switch {
	case c.TokenFile != "":
		at.Token, err = serve.ReadSecret("--token-file", c.TokenFile)
		return at, err
	case c.Token != "":
		at.Token = c.Token
		return at, nil
	}
	secret, err := c.secret()
	if err != nil {
		return at, err
	}
	return at.SignIn(ctx, cmp.Or(c.Email, demo.Admin().Email), secret)
}

// run breaks the target, and reports.
func (c *chaosCmd) run(ctx context.Context, w *world, t *chaostarget.Target, admin client.Client) error {
	defer admin.HTTP.CloseIdleConnections()
	r, err := chaos.Run(ctx, chaos.Config{
		Target: t, Admin: admin, Seed: c.Seed, Duration: c.Duration, Rate: c.Rate, Window: c.Window, Out: w.stdout,
	})
	if err != nil {
		return err
	}
	chaos.Verdict(w.stdout, r)
	names, err := r.Save(c.Out)
	if err != nil {
		return fmt.Errorf("the report was not written: %w", err)
	}
	fmt.Fprintln(w.stdout, strings.Join(names, "\n"))
	if !r.OK {
		return errChaosFailed
	}
	return nil
}
