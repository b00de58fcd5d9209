package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/user"
	"strings"
	"sync"
	"time"

	"hadir/cluster"
	"hadir/cmd/hadir/internal/logs"
	"hadir/cmd/hadir/internal/serve"
)

// recoverCmd makes the last survivor a cluster of its own.
type recoverCmd struct {
	Dir    string `arg:"" help:"Data directory of the stopped node."`
	Phrase string `name:"yes-i-understand" help:"The phrase that is asked for otherwise, for scripts: recover and the name of the node." placeholder:"PHRASE"`
}

// Run implements the command.
func (c *recoverCmd) Run(w *world) error {
	ctx, _ := w.untilSignal()
	in, err := cluster.Inspect(c.Dir, 0)
	if err != nil && !in.Interrupted {
		return err
	}
	if !in.Interrupted { // else it was asked before
		if in.Server == "" {
			return fmt.Errorf("%s holds no member's data, so there is nothing to recover", c.Dir)
		}
		if err := c.confirm(ctx, w, in); err != nil {
			return err
		}
	}
	log, err := logs.New(w.stderr, logs.Text, "warn")
	if err != nil {
		return err
	}
	done, err := cluster.Recover(ctx, cluster.RecoverConfig{DataDir: c.Dir, By: person(), Clock: serve.Clock{}, Rand: w.rand, Log: log})
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "recovered: cluster %s, epoch %d → %d, events up to %d (%d entries of the log were not applied before)\n",
		done.Cluster, done.OldEpoch, done.Epoch, done.Seq, done.Replayed)
	fmt.Fprintf(w.stdout, "the files as they were: %s\n", done.Before)
	_, err = fmt.Fprintf(w.stdout, "Start this node as before; it is the whole cluster. Empty the data directories of the others (%s) before they are started: they join as new nodes.\n",
		orNone(strings.Join(done.Lost, ", ")))
	return err
}

// confirm says what will happen and has a person agree to it.
func (c *recoverCmd) confirm(ctx context.Context, w *world, in cluster.Inspection) error {
	phrase := "recover " + in.Name
	fmt.Fprintf(w.stderr, "%s of cluster %s, epoch %d: events up to %d, the last one decided %s; %d entries of its log may follow.\n",
		in.Name, in.Node.Cluster, in.State.Epoch, in.State.Seq, moment(in.State.Clock), in.Log.Unapplied)
	fmt.Fprintf(w.stderr, "It becomes a cluster of its own. What only other nodes have is lost, even if somebody was told that it counts, "+
		"and they are refused from then on:\n")
	for _, line := range others(ctx, in) {
		fmt.Fprintln(w.stderr, "  "+line)
	}
	answer := c.Phrase
	if answer == "" {
		fmt.Fprintf(w.stderr, "If a majority of them can be started again, do that instead. To go on, type: %s\n> ", phrase)
		var err error
		if answer, err = bufio.NewReader(w.stdin).ReadString('\n'); err != nil && err != io.EOF {
			return err
		}
		fmt.Fprintln(w.stderr)
	}
	if strings.TrimSpace(answer) != phrase {
		return &serve.UsageError{Text: fmt.Sprintf("nothing was changed: the phrase is %q", phrase)}
	}
	return nil
}

// answerTimeout is how long another node has to take a connection.
const answerTimeout = time.Second

// others gives a line about each other member. One that answers may be alive.
func others(ctx context.Context, in cluster.Inspection) []string {
	lines := make([]string, len(in.Configuration.Servers))
	var wg sync.WaitGroup
	for i, s := range in.Configuration.Servers {
		if string(s.ID) == in.Server {
			continue
		}
		lines[i] = fmt.Sprintf("%s at %s", s.ID, s.Address)
		wg.Go(func() {
			dialer := net.Dialer{Timeout: answerTimeout}
			conn, err := dialer.DialContext(ctx, "tcp", string(s.Address))
			if err != nil {
				lines[i] += ": does not answer"
				return
			}
			conn.Close() //nolint:errcheck // nothing was sent
			lines[i] += ": SOMETHING ANSWERS THERE. If it is this node, the cluster may be alive: look at hadir cluster status first"
		})
	}
	wg.Wait()
	var out []string
	for _, line := range lines {
		if line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return []string{"there are none"}
	}
	return out
}

// person is who runs this program, for the audit trail.
func person() string {
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return "an unknown user"
	}
	return u.Username
}
