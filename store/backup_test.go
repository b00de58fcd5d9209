package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hadir/attendance"
)

func backup(t testing.TB, s *State) []byte {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var b bytes.Buffer
	if err := snap.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func receiveBytes(t testing.TB, b []byte, dir string) (string, Header, error) {
	t.Helper()
	return Receive(context.Background(), bytes.NewReader(b), dir, testOptions)
}

func stateHash(t testing.TB, s *State) (h attendance.Hash) {
	t.Helper()
	view(t, s, func(tx *ReadTx) {
		var err error
		if h, err = tx.StateHash(); err != nil {
			t.Fatal(err)
		}
	})
	return h
}

func TestABackupIsTheMomentOfItsSnapshot(t *testing.T) {
	s := newState(t)
	fill(t, s, 500, 50)
	want := stateHash(t, s)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	fill(t, s, 500, 50) // after the picture, before it is written
	var b bytes.Buffer
	if err := snap.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	h, err := ReadHeader(bytes.NewReader(b.Bytes()))
	if err != nil || h.Seq != 500 || h.Index != 10 || h.Schema != Schema || h.Cluster != (attendance.ClusterID{7}) {
		t.Errorf("header %+v, %v", h, err)
	}

	other := newState(t)
	path, _, err := receiveBytes(t, b.Bytes(), filepath.Dir(other.Path()))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Replace(path); err != nil {
		t.Fatal(err)
	}
	if stateHash(t, other) != want {
		t.Error("the restored state is not that of the snapshot")
	}
	if err := other.Check(); err != nil {
		t.Error(err)
	}
}

// Readers of the old file finish on it, whatever was swapped in meanwhile.
func TestReplaceDoesNotDisturbReaders(t *testing.T) {
	s, source := newState(t), newState(t)
	fill(t, s, 100, 10)
	fill(t, source, 300, 10)
	path, _, err := receiveBytes(t, backup(t, source), filepath.Dir(s.Path()))
	if err != nil {
		t.Fatal(err)
	}
	old := stateHash(t, s)
	reading, swapped := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.View(func(tx *ReadTx) error {
			close(reading)
			<-swapped
			if h, err := tx.StateHash(); err != nil || h != old {
				t.Errorf("the reader sees another state: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-reading
	if err := s.Replace(path); err != nil {
		t.Fatal(err)
	}
	if stateHash(t, s) != stateHash(t, source) {
		t.Error("new readers do not see the new state")
	}
	fill(t, s, 10, 5) // and it can be written
	close(swapped)
	wg.Wait()
}

// Every single flipped bit, and every cut, is refused before anything is swapped
// in, and leaves no file behind.
func TestADamagedBackupIsRefused(t *testing.T) {
	s := newState(t)
	fill(t, s, 40, 10)
	good := backup(t, s)
	dir := tempDir(t)
	step := 8
	if testing.Short() {
		step = 101
	}
	for bit := 0; bit < len(good)*8; bit += 1 + bit%step {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := receiveBytes(t, bad, dir); err == nil {
			t.Fatalf("bit %d of %d flipped and nobody noticed", bit, len(good)*8)
		}
	}
	for _, n := range []int{0, 1, 7, 8, 12, 40, len(good) / 2, len(good) - 33, len(good) - 32, len(good) - 1} {
		if _, _, err := receiveBytes(t, good[:n], dir); !errors.Is(err, ErrBackup) {
			t.Errorf("cut to %d bytes: %v, want ErrBackup", n, err)
		}
	}
	if _, _, err := receiveBytes(t, append(bytes.Clone(good), 0), dir); !errors.Is(err, ErrBackup) {
		t.Error("a byte after the digest was not noticed")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestABackupThatLiesIsRefused(t *testing.T) {
	s := newState(t)
	fill(t, s, 40, 10)
	// A writer with the right digest but a header of another state.
	lie := func(change func(h *Header)) []byte {
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Release()
		change(&snap.Header)
		var b bytes.Buffer
		if err := snap.Write(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	tests := []struct {
		name   string
		change func(h *Header)
		want   error
	}{
		{"another seq", func(h *Header) { h.Seq++ }, ErrBackup},
		{"another cluster", func(h *Header) { h.Cluster[0]++ }, ErrBackup},
		{"another index", func(h *Header) { h.Index-- }, ErrBackup},
		{"too short", func(h *Header) { h.Size++ }, ErrBackup},
		{"unpacks to more than it says", func(h *Header) { h.Size -= pageSize }, ErrBackup},
		{"from the future", func(h *Header) { h.Schema++ }, ErrFutureSchema},
	}
	dir := tempDir(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := receiveBytes(t, lie(test.change), dir); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestABackupCanBeStopped(t *testing.T) {
	s := newState(t)
	fill(t, s, 40, 10)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if err := snap.Write(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
	if _, _, err := Receive(ctx, bytes.NewReader(backup(t, s)), tempDir(t), testOptions); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive: %v", err)
	}
}

func TestInterruptedReceivesAreCleanedUp(t *testing.T) {
	dir := tempDir(t)
	left, keep := filepath.Join(dir, "state-123.incoming"), filepath.Join(dir, "state.db")
	for _, name := range []string{left, keep} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := CleanIncoming(dir); err != nil {
		t.Fatal(err)
	}
	if there, _ := Exists(left); there {
		t.Error("the leftover is still there")
	}
	if there, _ := Exists(keep); !there {
		t.Error("the state is gone")
	}
}

// FuzzReceive is F3: whatever arrives, there is an error or exactly the state
// that was sent; never a panic, never a file left behind.
func FuzzReceive(f *testing.F) {
	s := newState(f)
	fill(f, s, 3, 3)
	good, want := backup(f, s), stateHash(f, s)
	f.Add(good[:0], 0)
	f.Add(good[:8], 8)
	f.Add([]byte{1}, len(good)-1)
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31), 8)
	f.Add(good, 0)
	dir := tempDir(f)
	f.Fuzz(func(t *testing.T, patch []byte, at int) {
		b := bytes.Clone(good)
		if at < 0 || at > len(b) {
			b = patch
		} else {
			b = append(b[:at], append(bytes.Clone(patch), b[min(len(b), at+len(patch)):]...)...)
		}
		path, _, err := receiveBytes(t, b, dir)
		if err == nil {
			got, err := OpenState(path, testOptions)
			if err != nil {
				t.Fatal(err)
			}
			if stateHash(t, got) != want {
				t.Error("another state was accepted")
			}
			if err := errors.Join(got.Close(), os.Remove(path)); err != nil {
				t.Fatal(err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
	})
}
