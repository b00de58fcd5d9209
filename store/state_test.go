package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

func TestANewStateIsReopenedAsItWas(t *testing.T) {
	path := filepath.Join(tempDir(t), "state.db")
	s := openState(t, path)
	fill(t, s, 2_345, 100)
	var before Meta
	var hash attendance.Hash
	view(t, s, func(tx *ReadTx) { before = tx.Meta(); hash, _ = tx.StateHash() })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.View(func(*ReadTx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View after Close: %v, want ErrClosed", err)
	}
	s = openState(t, path)
	view(t, s, func(tx *ReadTx) {
		if tx.Meta() != before {
			t.Errorf("meta is %+v, was %+v", tx.Meta(), before)
		}
		if got, _ := tx.StateHash(); got != hash {
			t.Error("the state hash changed")
		}
		if _, ok := tx.ChainAt(2_000); !ok {
			t.Error("the permanent checkpoint 2000 is missing")
		}
		if got, ok := tx.ChainAt(before.Seq); !ok || got != before.Chain {
			t.Error("the checkpoint at the last entry is missing or wrong")
		}
	})
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	s := newState(t)
	_, err := OpenState(s.Path(), testOptions)
	if !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestAnErrorLeavesNothingBehind(t *testing.T) {
	s := newState(t)
	fill(t, s, 10, 10)
	var before attendance.Hash
	view(t, s, func(tx *ReadTx) { before, _ = tx.StateHash() })
	boom := errors.New("boom")
	err := s.Update(func(tx *Tx) error {
		if _, err := accept(tx, 9, attendance.Out, testClock, "n2"); err != nil {
			return err
		}
		tx.SetMeta(func(m *Meta) { m.Applied = 99 })
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	view(t, s, func(tx *ReadTx) {
		if after, _ := tx.StateHash(); after != before {
			t.Error("a failed transaction changed the state")
		}
	})
}

// Each case damages a good file. None may open, and none may crash the process:
// the person gets one line that says what to do.
func TestDamagedFilesAreRefused(t *testing.T) {
	good := filepath.Join(tempDir(t), "good.db")
	s := openState(t, good)
	fill(t, s, 3_456, 64)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(tx *bbolt.Tx) error) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(f), db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(size int64) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
		want   error
	}{
		{"both meta pages zeroed", func(t *testing.T, path string) {
			t.Helper()
			overwrite(t, path, 0, make([]byte, 2*pageSize))
		}, ErrCorrupt},
		{"text instead of a database", func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 5_000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
		{"cut after the meta pages", truncate(2 * pageSize), ErrCorrupt},
		{"cut in the middle", truncate(int64(len(content) / 2 / pageSize * pageSize)), ErrCorrupt},
		{"all pages but the metas zeroed", func(t *testing.T, path string) {
			t.Helper()
			overwrite(t, path, 2*pageSize, make([]byte, len(content)-2*pageSize))
		}, ErrCorrupt},
		{"another program's file", func(t *testing.T, path string) {
			t.Helper()
			edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketMeta) })(t, path)
		}, ErrCorrupt},
		{"a bucket is missing", edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketKeys) }), ErrCorrupt},
		{"schema from the future", edit(func(tx *bbolt.Tx) error {
			w := attendance.NewWriter(nil)
			w.Uint(Schema + 1)
			return tx.Bucket(bucketMeta).Put(rowSchema, w.Data())
		}), ErrFutureSchema},
		{"meta row is garbage", edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketMeta).Put(rowState, []byte{1, 2, 3})
		}), ErrCorrupt},
		{"parameters are garbage", edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketMeta).Put(rowParams, []byte{9})
		}), ErrCorrupt},
		{"the last event is missing", edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketEvents).Delete(keySeq(3_456))
		}), ErrCorrupt},
		{"a late event is missing", edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketEvents).Delete(keySeq(3_100))
		}), ErrCorrupt},
		{"one bit of a late event flipped", edit(func(tx *bbolt.Tx) error {
			b := bytes.Clone(tx.Bucket(bucketEvents).Get(keySeq(3_200)))
			b[len(b)-1] ^= 1
			return tx.Bucket(bucketEvents).Put(keySeq(3_200), b)
		}), ErrCorrupt},
		{"the checkpoint is missing", edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketChain).Delete(keySeq(3_000))
		}), ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(tempDir(t), "state.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			test.damage(t, path)
			s, err := OpenState(path, testOptions)
			if !errors.Is(err, test.want) {
				if s != nil {
					_ = s.Close()
				}
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
				t.Errorf("not one line that names the file: %q", err)
			}
		})
	}
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNodeFile(t *testing.T) {
	path := filepath.Join(tempDir(t), "node.db")
	open := func(rand io.Reader) *Node {
		t.Helper()
		n, err := OpenNode(path, rand)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := open(strings.NewReader("12345678"))
	if got, want := n.Incarnation(), "3132333435363738"; got != want {
		t.Errorf("incarnation %s, want %s", got, want)
	}
	if n.Generation() != 1 {
		t.Errorf("generation %d, want 1", n.Generation())
	}
	if err := n.SetCursor("mysql", 42); err != nil {
		t.Fatal(err)
	}
	if err := n.SetCursor("", 1); err == nil {
		t.Error("a cursor without a name was stored")
	}
	if _, err := OpenNode(path, strings.NewReader("")); !errors.Is(err, ErrLocked) {
		t.Errorf("second opening: %v, want ErrLocked", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	// The incarnation stays without drawing again; the generation goes up.
	n = open(strings.NewReader(""))
	if n.Incarnation() != "3132333435363738" || n.Generation() != 2 {
		t.Errorf("after reopening: %s, generation %d", n.Incarnation(), n.Generation())
	}
	if v, err := n.Cursor("mysql"); err != nil || v != 42 {
		t.Errorf("cursor %d, %v", v, err)
	}
	if v, err := n.Cursor("other"); err != nil || v != 0 {
		t.Errorf("cursor that was never set: %d, %v", v, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := OpenNode(filepath.Join(tempDir(t), "node.db"), strings.NewReader("short")); err == nil {
		t.Error("a node without an incarnation was created")
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3*pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenNode(path, strings.NewReader("12345678")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v, want ErrCorrupt", err)
	}
}
