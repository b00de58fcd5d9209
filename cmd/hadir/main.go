package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"hadir/cmd/hadir/internal/serve"
)

// Set by the linker: -X main.version=… -X main.commit=…
var (
	version = "dev"
	commit  = ""
)

// cli is the command line.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run one node."`
	Demo    demoCmd    `cmd:"" help:"Run a cluster of several nodes on this machine, with sample people."`
	Keygen  keygenCmd  `cmd:"" help:"Write a new cluster key to standard output."`
	Cluster clusterCmd `cmd:"" help:"Look at a running cluster, or change who leads."`
	User    userCmd    `cmd:"" help:"Look after the people of a running cluster."`
	Backup  backupCmd  `cmd:"" help:"Take a backup of a running cluster."`
	Restore restoreCmd `cmd:"" help:"Restore a backup into an empty cluster."`
	Export  exportCmd  `cmd:"" help:"Look after the SQL copies of a running cluster."`
	Outbox  outboxCmd  `cmd:"" help:"Rescue undecided check-ins from the disk of a node that will not run again."`
	Inspect inspectCmd `cmd:"" help:"Look at the files of a stopped node."`
	Recover recoverCmd `cmd:"" help:"Make the last survivor a cluster of its own, when the others are gone for good."`
	Chaos   chaosCmd   `cmd:"" help:"Break a cluster under load, and find out whether it has lost anything."`
	Bench   benchCmd   `cmd:"" help:"Measure a running cluster."`
	Health  healthCmd  `cmd:"" help:"Ask the node on this machine how it is; for the health check of a container."`
	DevCert devCertCmd `cmd:"" help:"Make a local authority and a certificate, for phones on the local network."`
	Version versionCmd `cmd:"" help:"Show version, commit and command level."`
}

// world is what commands see of the process and the machine.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	rand           io.Reader
	environ        []string
	getenv         func(string) string
	program        string // path of this binary
	signals        <-chan os.Signal
	// ask asks the person at the terminal for a secret.
	ask  func(ctx context.Context, label string) (string, error)
	exit func(code int)
}

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	os.Exit(run(os.Args[1:], &world{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, rand: rand.Reader, environ: os.Environ(), getenv: os.Getenv,
		program: program, signals: signals, exit: os.Exit, ask: askTerminal,
	}))
}

// run does what the arguments say and gives the exit code.
func run(args []string, w *world) int {
	exited := -1
	parser, err := newParser(&cli{}, w, func(code int) { exited = code })
	if err != nil {
		fmt.Fprintln(w.stderr, "hadir:", serve.Explain(err))
		return serve.ExitFailed
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err == nil {
		err = parsed.Run(w)
	}
	return report(w, err)
}

// newParser gives the parser of the command line into target.
func newParser(target any, w *world, exit func(int)) (*kong.Kong, error) {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "node"
	}
	return kong.New(target,
		kong.Name("hadir"),
		kong.Description("Attendance that is never lost and never counted twice, on a cluster of nodes."),
		kong.Writers(w.stdout, w.stderr),
		kong.Exit(exit),
		kong.Vars{"hostname": hostname},
		kong.DefaultEnvars("HADIR"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
	)
}

// report says what went wrong and gives the exit code.
func report(w *world, err error) int {
	var parse *kong.ParseError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &parse):
		line := serve.Explain(err)
		if parse.Context != nil {
			help := "hadir --help"
			if name := parse.Context.Command(); name != "" {
				help = "hadir " + withoutArguments(name) + " --help"
			}
			line += ": see " + help
		}
		fmt.Fprintln(w.stderr, "hadir:", line)
		return serve.ExitUsage
	}
	fmt.Fprintln(w.stderr, "hadir:", serve.Explain(err))
	return serve.ExitCode(err)
}

// withoutArguments drops the placeholders that kong puts after a command's name.
func withoutArguments(command string) string {
	name, _, _ := strings.Cut(command, " <")
	name, _, _ = strings.Cut(name, " [")
	return name
}

// untilSignal gives a context that ends with the first signal; hurry is closed
// with the second.
func (w *world) untilSignal() (ctx context.Context, hurry <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan struct{})
	go func() {
		defer close(second)
		if _, ok := <-w.signals; !ok {
			return
		}
		cancel()
		<-w.signals
	}()
	return ctx, second
}
