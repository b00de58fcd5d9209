package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hadir/attendance"
	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/logs"
	"hadir/cmd/hadir/internal/progress"
	"hadir/cmd/hadir/internal/serve"
	"hadir/store"
)

// backupCmd takes a backup.
type backupCmd struct {
	access
	File  string `arg:"" help:"Where to write it; - for standard output."`
	URL   string `help:"Address of any node, or of a front." default:"http://127.0.0.1:8080"`
	Force bool   `help:"Write over a file that is there."`
}

// signInTimeout bounds what comes before the transfer, which takes as long as it
// takes.
const signInTimeout = 30 * time.Second

// Run implements the command.
func (c *backupCmd) Run(w *world) error {
	if c.File != "-" {
		if err := checkTarget(c.File, c.Force); err != nil {
			return err
		}
	}
	ctx, _ := w.untilSignal()
	client, err := c.signedIn(ctx, c.URL)
	if err != nil {
		return err
	}
	in, err := client.Backup(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if c.File == "-" {
		h, sum, err := receiveBackup(ctx, w, in, w.stdout)
		if err != nil {
			return err
		}
		return describeBackup(w.stderr, h, sum)
	}
	h, sum, err := writeBackup(ctx, w, in, c.File, c.Force)
	if err != nil {
		return err
	}
	fmt.Fprintln(w.stdout, c.File)
	return describeBackup(w.stdout, h, sum)
}

// signedIn gives somebody who is signed in, within a time.
func (a *access) signedIn(ctx context.Context, url string) (*api.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	return a.client(ctx, url)
}

// checkTarget finds out before the transfer whether the file may be written.
func checkTarget(file string, force bool) error {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return &serve.UsageError{Text: file + " is a directory: give the name of a file"}
	case !force:
		return &serve.UsageError{Text: file + " is there already: give another name, or --force to write over it"}
	}
	return nil
}

// writeBackup writes a backup beside its place, proves it, and gives it its name
// only then.
func writeBackup(ctx context.Context, w *world, in io.Reader, file string, force bool) (h store.Header, sum attendance.Hash, err error) {
	dir := filepath.Dir(file)
	part, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*.part") // mode 0600
	if err != nil {
		return h, sum, err
	}
	defer os.Remove(part.Name()) //nolint:errcheck // it is gone when all went well
	h, sum, err = receiveBackup(ctx, w, in, part)
	if err := errors.Join(err, part.Sync(), part.Close()); err != nil {
		return h, sum, err
	}
	return h, sum, errors.Join(publish(part.Name(), file, force), syncDir(dir))
}

// publish gives a file its name. Without force it replaces nothing, not even what
// came there since the first look.
func publish(part, file string, force bool) error {
	if force {
		return os.Rename(part, file)
	}
	err := os.Link(part, file)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links.
	if err := checkTarget(file, false); err != nil {
		return err
	}
	return os.Rename(part, file)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// receiveBackup copies a backup and proves that it is whole.
func receiveBackup(ctx context.Context, w *world, in io.Reader, out io.Writer) (store.Header, attendance.Hash, error) {
	bar := w.bar("backup")
	counted := &counting{r: io.TeeReader(in, out)}
	h, sum, err := store.Verify(ctx, counted, func(done, size uint64) { bar.Set(counted.n, share(done, size)) })
	if err != nil {
		bar.Stop()
		return h, sum, err
	}
	bar.Set(counted.n, 1)
	bar.Done()
	return h, sum, nil
}

// counting counts what is read through it.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func share(done, size uint64) float64 {
	if size == 0 {
		return -1
	}
	return float64(done) / float64(size)
}

// bar shows on standard error how far something has come.
func (w *world) bar(what string) *progress.Bar {
	return progress.New(w.stderr, logs.IsTerminal(w.stderr), time.Now, what)
}

func describeBackup(out io.Writer, h store.Header, sum attendance.Hash) error {
	_, err := fmt.Fprintf(out, "cluster %s, epoch %d, index %d, term %d, schema %d\nevents up to %d, the last one decided %s\n%s unpacked, SHA-256 %s\n",
		h.Cluster, h.Epoch, h.Index, h.Term, h.Schema, h.Seq, moment(h.Clock), progress.Bytes(int64(h.Size)), sum)
	return err
}

// moment writes a time for people who compare it with their watch.
func moment(m attendance.Millis) string {
	if m == 0 {
		return "never"
	}
	return m.Time().UTC().Format("2006-01-02 15:04:05 UTC")
}
