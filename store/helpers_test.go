package store

import (
	"os"
	"path/filepath"
	"testing"

	"hadir/attendance"
)

// testOptions keep files small and fast: these tests ask what is stored, not
// whether the disk keeps it.
var testOptions = Options{NoSync: true, MmapSize: 1 << 24}

// tempDir prefers memory, where there is some: the property tests open
// thousands of files.
func tempDir(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		dir, err := os.MkdirTemp("/dev/shm", "hadir-test-")
		if err == nil {
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			return dir
		}
	}
	return t.TempDir()
}

func openState(t testing.TB, path string) *State {
	t.Helper()
	s, err := OpenState(path, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newState(t testing.TB) *State {
	t.Helper()
	return openState(t, filepath.Join(tempDir(t), "state.db"))
}

func update(t testing.TB, s *State, f func(*Tx) error) {
	t.Helper()
	if err := s.Update(f); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, s *State, f func(*ReadTx)) {
	t.Helper()
	if err := s.View(func(tx *ReadTx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

const testClock attendance.Millis = 1_770_000_000_000

// accept stores an accepted check-in as the state machine does.
func accept(tx *Tx, user uint64, kind attendance.Kind, at attendance.Millis, node string) (attendance.Event, error) {
	day, minute := tx.Params().Zone.Day(at)
	e, err := tx.Append(attendance.Event{
		Index: tx.Meta().Seq + 10, At: at, Type: attendance.TapAccepted, Node: node,
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user},
		Detail: attendance.Tap{
			UserID: user, Kind: kind, At: at, Claim: at, ProposedAt: at, Day: day, Minute: uint16(minute),
		},
	})
	if err != nil {
		return e, err
	}
	return e, tx.PutRecord(e)
}

// fill appends n events, a transaction for each per.
func fill(t testing.TB, s *State, n, per int) {
	t.Helper()
	for done := 0; done < n; done += per {
		update(t, s, func(tx *Tx) error {
			for i := range min(per, n-done) {
				at := testClock + attendance.Millis(done+i)*1_000
				if _, err := accept(tx, uint64(i%50)+1, attendance.In, at, "n1"); err != nil {
					return err
				}
			}
			tx.SetMeta(func(m *Meta) { m.Applied++; m.Term = 1; m.Cluster = attendance.ClusterID{7} })
			return tx.Checkpoint()
		})
	}
}
