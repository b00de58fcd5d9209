package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copyFiles copies the files of a stopped node from one directory to another,
// synced, if there is room for them and for a snapshot of the state.
func copyFiles(ctx context.Context, from, to string) error {
	size := uint64(0)
	var names []string
	for _, name := range recoverFiles {
		err := filepath.WalkDir(filepath.Join(from, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			switch {
			case info.Mode().IsRegular():
				size += uint64(info.Size())
			case !d.IsDir():
				return fmt.Errorf("%s is neither a file nor a directory", path)
			}
			names = append(names, rel)
			return nil
		})
		if err != nil && (name != "snapshots" || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	if err := needSpace(func() (uint64, error) { return freeSpace(from) }, 2*size); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := copyOne(ctx, filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyOne copies a file, or makes a directory.
func copyOne(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	if info.IsDir() {
		return errors.Join(os.Mkdir(to, 0o700), in.Close())
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, &contextReader{ctx, in})
	return errors.Join(err, out.Sync(), out.Close(), in.Close())
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// syncTree makes the names in a directory, and in those below it, durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
