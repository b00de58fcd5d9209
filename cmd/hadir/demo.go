package main

import (
	"fmt"
	"slices"
	"strings"

	"hadir/cmd/hadir/internal/demo"
	"hadir/cmd/hadir/internal/logs"
	"hadir/cmd/hadir/internal/serve"
	"hadir/httpapi/password"
)

// demoCmd runs a cluster of real processes on this machine.
type demoCmd struct {
	Nodes    int      `help:"How many nodes, 1 … 9." default:"3"`
	Port     int      `help:"Port of the front; node i listens on port+i." default:"8080"`
	Dir      string   `help:"Directory for data and logs, which stay; a temporary one when missing." placeholder:"DIR"`
	Info     string   `help:"Write addresses, process ids and accounts to this file as JSON once every node is ready." placeholder:"FILE"`
	Morning  bool     `help:"Start a school morning at once: five taps a second."`
	LogLevel string   `name:"demo-log-level" help:"Least level that the demo itself logs: debug, info, warn or error." enum:"debug,info,warn,error" default:"warn"`
	Serve    []string `arg:"" optional:"" name:"serve-flags" help:"After --: more flags of serve, for every node."`
}

const (
	maxDemoNodes = 9
	maxPort      = 65535
)

// Validate implements kong's hook: wrong usage is told before anything starts.
func (c *demoCmd) Validate() error {
	if c.Nodes < 1 || c.Nodes > maxDemoNodes {
		return fmt.Errorf("--nodes %d is not within 1 … %d", c.Nodes, maxDemoNodes)
	}
	if c.Port < 1 || c.Port+c.Nodes > maxPort {
		return fmt.Errorf("--port %d is not within 1 … %d, so that every node has one after it", c.Port, maxPort-c.Nodes)
	}
	return nil
}

// Run implements the command.
func (c *demoCmd) Run(w *world) error {
	if err := c.checkServe(w); err != nil {
		return err
	}
	log, err := logs.New(w.stderr, logs.Text, c.LogLevel)
	if err != nil {
		return err
	}
	ctx, hurry := w.untilSignal()
	return demo.Run(ctx, demo.Config{
		Nodes: c.Nodes, Port: c.Port, Dir: c.Dir, Info: c.Info, Morning: c.Morning, Serve: c.Serve,
		Program: w.program, Env: nodeEnv(w.environ), Out: w.stdout, Log: log, Hash: password.Hash, Hurry: hurry,
	})
}

// ownFlags are those that the demo sets for each node, or that would part a node
// from its front.
func ownFlags() []string {
	return []string{
		"node-id", "data-dir", "http-addr", "http-advertise", "peer-addr", "peer-advertise", "gossip-addr",
		"gossip-advertise", "join", "bootstrap-expect", "tls-cert", "tls-key", "trusted-proxies", "demo", "demo-people-file",
	}
}

// checkServe tells of a wrong flag after -- before three processes do.
func (c *demoCmd) checkServe(w *world) error {
	if len(c.Serve) == 0 {
		return nil
	}
	for _, arg := range c.Serve {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if strings.HasPrefix(arg, "--") && slices.Contains(ownFlags(), name) {
			return &serve.UsageError{Text: fmt.Sprintf("--%s after -- is the demo's own: it gives each node another one", name)}
		}
	}
	asked := false
	parser, err := newParser(&cli{}, w, func(int) { asked = true })
	if err != nil {
		return err
	}
	_, err = parser.Parse(append([]string{"serve"}, c.Serve...))
	if asked {
		return &serve.UsageError{Text: "--help goes before --: see hadir serve --help"}
	}
	return err
}

// nodeEnv gives the environment without the twins of flags that the demo sets:
// what is meant for one node must not reach three.
func nodeEnv(environ []string) []string {
	drop := map[string]bool{"HADIR_CLUSTER_KEY": true, "HADIR_CLUSTER_KEY_FILE": true, "HADIR_DEBUG_ADDR": true,
		"HADIR_ADMIN_EMAIL": true, "HADIR_ADMIN_PASSWORD_FILE": true}
	for _, f := range ownFlags() {
		drop["HADIR_"+strings.ToUpper(strings.ReplaceAll(f, "-", "_"))] = true
	}
	var out []string
	for _, e := range environ {
		if name, _, _ := strings.Cut(e, "="); !drop[name] {
			out = append(out, e)
		}
	}
	return out
}
