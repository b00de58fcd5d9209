package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"hadir/cmd/hadir/internal/progress"
	"hadir/store"
)

// restoreCmd restores a backup.
type restoreCmd struct {
	access
	File string `arg:"" help:"The backup."`
	URL  string `help:"Address of a node of the empty cluster." default:"http://127.0.0.1:8080"`
}

// Run implements the command.
func (c *restoreCmd) Run(w *world) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, _ := w.untilSignal()
	info, err := checkBackup(ctx, w, f)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	client, err := c.signedIn(ctx, c.URL)
	if err != nil {
		return err
	}
	bar := w.bar("sending")
	done, err := client.Restore(ctx, &sending{r: f, size: info.Size(), bar: bar, stderr: w.stderr}, info.Size())
	if err != nil {
		bar.Stop()
		return err
	}
	fmt.Fprintf(w.stdout, "restored: events up to %d, epoch %s\n", done.Seq, done.Epoch)
	if len(done.Waiting) > 0 {
		fmt.Fprintf(w.stdout, "%s: not there yet, and without a vote until then: see hadir cluster status\n", strings.Join(done.Waiting, ", "))
	}
	_, err = fmt.Fprintln(w.stdout, "All sessions have ended: sign in again, with the passwords of the backup.")
	return err
}

// checkBackup proves that a backup is whole and returns to its beginning.
func checkBackup(ctx context.Context, w *world, f *os.File) (os.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file: a backup is read twice")
	}
	bar := w.bar("checking")
	counted := &counting{r: f}
	h, sum, err := store.Verify(ctx, counted, func(uint64, uint64) { bar.Set(counted.n, share(uint64(counted.n), uint64(info.Size()))) })
	if err != nil {
		bar.Stop()
		return nil, err
	}
	bar.Done()
	if err := describeBackup(w.stderr, h, sum); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return info, err
}

// sending shows how much of a file was read.
type sending struct {
	r       io.Reader
	n, size int64
	bar     *progress.Bar
	stderr  io.Writer
	whole   bool
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.bar.Set(s.n, share(uint64(s.n), uint64(s.size)))
	if s.n >= s.size && !s.whole {
		s.whole = true
		s.bar.Done()
		fmt.Fprintln(s.stderr, "restoring …")
	}
	return n, err
}
