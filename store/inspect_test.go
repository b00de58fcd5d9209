package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"hadir/attendance"
)

func TestVerifyProvesABackup(t *testing.T) {
	s := newState(t)
	fill(t, s, 50, 10)
	good := backup(t, s)
	var done, size uint64
	h, sum, err := Verify(context.Background(), bytes.NewReader(good), func(d, s uint64) {
		if d < done {
			t.Errorf("progress went back from %d to %d", done, d)
		}
		done, size = d, s
	})
	if err != nil || h.Seq != 50 || sum != attendance.Hash(good[len(good)-32:]) || done != h.Size || size != h.Size {
		t.Errorf("%+v, %s, %d of %d, %v", h, sum, done, size, err)
	}
	decoded, err := DecodeHeader(h.Encode())
	if err != nil || decoded != h {
		t.Errorf("header: %+v, %v", decoded, err)
	}
	for at := 0; at < len(good); at += 97 {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, _, err := Verify(context.Background(), bytes.NewReader(bad), nil); err == nil {
			t.Fatalf("a flipped bit in byte %d was not noticed", at)
		}
		if _, _, err := Verify(context.Background(), bytes.NewReader(good[:at]), nil); !errors.Is(err, ErrBackup) {
			t.Fatalf("cut at byte %d: %v", at, err)
		}
	}
}

// Looking takes no write lock, raises no generation and changes no byte.
func TestLookingChangesNothing(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "node.db")
	n, err := OpenNode(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LookNode(path); !errors.Is(err, ErrLocked) {
		t.Errorf("of a node that runs: %v", err)
	}
	if err := errors.Join(n.SetCluster(attendance.ClusterID{7}), n.SetEpoch(9), n.SetMember(), n.SetSeen("n2-bb", 4), n.SetCursor("x", 5)); err != nil {
		t.Fatal(err)
	}
	if epoch, err := n.Epoch(); err != nil || epoch != 9 {
		t.Errorf("epoch %d, %v", epoch, err)
	}
	incarnation := n.Incarnation()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := LookNode(path)
	if err != nil || info.Incarnation != incarnation || info.Generation != 1 || info.Cluster != (attendance.ClusterID{7}) || info.Epoch != 9 ||
		!info.Member || info.Seen["n2-bb"] != 4 || info.Cursors["x"] != 5 {
		t.Errorf("%+v, %v", info, err)
	}
	release, err := LockNode(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenNode(path, rand.Reader); !errors.Is(err, ErrLocked) {
		t.Errorf("opened although it is held: %v", err)
	}
	if _, err := LookNode(path); err != nil {
		t.Errorf("others may look: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed: %v", err)
	}

	s := newState(t)
	fill(t, s, 20, 5)
	if err := LookState(s.Path(), nil); !errors.Is(err, ErrLocked) {
		t.Errorf("of a state in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := LookState(s.Path(), func(tx *ReadTx) error {
		if tx.Meta().Seq != 20 {
			t.Errorf("%+v", tx.Meta())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := LookState(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, before[:len(before)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LookNode(damaged); err == nil {
		t.Error("half a file was read")
	}
	if err := LookState(path, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("node.db as a state: %v", err)
	}
}
