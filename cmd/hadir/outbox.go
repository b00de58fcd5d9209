package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"hadir/cluster/transport"
	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
	"hadir/queue/mirror"
	"hadir/store"
)

// outboxCmd rescues what waits on the disk of a node that will not run again.
type outboxCmd struct {
	Export outboxExportCmd `cmd:"" help:"Write the undecided check-ins of a node that does not run to standard output."`
	Import outboxImportCmd `cmd:"" help:"Have them decided by a running cluster. Doing it twice does no harm."`
}

// outboxExportCmd reads a data directory and changes nothing in it.
type outboxExportCmd struct {
	Dir            string `arg:"" help:"Data directory of the node, or a copy of it."`
	ClusterKeyFile string `help:"File with the cluster's key, which signs what is written; not needed for a cluster without one." placeholder:"FILE"`
}

// outboxHead is the first line of what export writes.
const outboxHead = "hadir-outbox-1"

var errNoMember = errors.New("the node was never a member of a cluster: it has nothing to rescue")

// Run implements the command.
func (c *outboxExportCmd) Run(w *world) error {
	keys := transport.DevelopmentKeys()
	if c.ClusterKeyFile != "" {
		text, err := serve.ReadSecret("--cluster-key-file", c.ClusterKeyFile)
		if err != nil {
			return err
		}
		if keys, err = transport.ParseKeys(text); err != nil {
			return fmt.Errorf("--cluster-key-file %s: %w", c.ClusterKeyFile, err)
		}
	}
	sign, err := keys.MirrorKeys()
	if err != nil {
		return err
	}
	var entries []store.OutboxEntry
	damaged := 0
	id, err := store.OutboxFile(filepath.Join(c.Dir, "node.db"), func(e store.OutboxEntry) error {
		if e.Damaged != nil {
			damaged++
			fmt.Fprintf(w.stderr, "hadir: entry %d cannot be read: %s\n", e.N, serve.Explain(e.Damaged))
			return nil //nolint:nilerr // it is told, and the others are rescued
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return err
	}
	if id.IsZero() {
		return errNoMember
	}
	out := bufio.NewWriter(w.stdout)
	fmt.Fprintln(out, outboxHead)
	for _, e := range entries {
		sealed, err := mirror.Seal(sign[0], id, e, true)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, base64.StdEncoding.EncodeToString(sealed))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "hadir: %d check-ins were written\n", len(entries))
	if damaged > 0 {
		return fmt.Errorf("%d entries cannot be read: the others were written", damaged)
	}
	return nil
}

// outboxImportCmd sends what export wrote.
type outboxImportCmd struct {
	target
	File string `arg:"" help:"What hadir outbox export wrote; - for standard input."`
}

// What one request takes, far below the limit of a body.
const importBatch = 100

var errNotImported = errors.New("not every check-in was taken: see above, put it right and import the file again")

// Run implements the command.
func (c *outboxImportCmd) Run(w *world) error {
	lines, err := readOutboxFile(w, c.File)
	if err != nil {
		return err
	}
	return c.ask(verifyTimeout, func(ctx context.Context, client *api.Client) error {
		var sum api.OutboxImport
		for first := 0; first < len(lines); first += importBatch {
			part, err := client.ImportOutbox(ctx, lines[first:min(first+importBatch, len(lines))])
			if err != nil {
				return fmt.Errorf("after %d check-ins: %w", first, err)
			}
			for i := range part.Errors {
				part.Errors[i].Row += first
			}
			sum.Taken += part.Taken
			sum.Known += part.Known
			sum.Errors = append(sum.Errors, part.Errors...)
		}
		if c.JSON {
			if err := writeJSON(w.stdout, sum); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(w.stdout, "taken %d, known before %d, refused %d\n", sum.Taken, sum.Known, len(sum.Errors))
			for _, e := range sum.Errors {
				fmt.Fprintf(w.stderr, "hadir: check-in %d: %s\n", e.Row, e.Reason)
			}
		}
		if len(sum.Errors) > 0 {
			return errNotImported
		}
		return nil
	})
}

func readOutboxFile(w *world, name string) ([]string, error) {
	in := w.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	lines := strings.Fields(string(text))
	if len(lines) == 0 || lines[0] != outboxHead {
		return nil, &serve.UsageError{Text: name + " was not written by hadir outbox export"}
	}
	return lines[1:], nil
}
