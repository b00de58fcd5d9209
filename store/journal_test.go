package store

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"hadir/attendance"
)

func openNode(t testing.TB, path string) *Node {
	t.Helper()
	n, err := OpenNode(path, strings.NewReader("12345678"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func journalNumbers(t testing.TB, n *Node, below uint64, limit int) []uint64 {
	t.Helper()
	rows, err := n.Journal(below, limit)
	if err != nil {
		t.Fatal(err)
	}
	numbers := []uint64{}
	for _, r := range rows {
		numbers = append(numbers, r.No)
	}
	return numbers
}

func TestJournal(t *testing.T) {
	path := filepath.Join(tempDir(t), "node.db")
	n, err := OpenNode(path, strings.NewReader("12345678"))
	if err != nil {
		t.Fatal(err)
	}
	keep := JournalKeep{Rows: 100}
	if got := journalNumbers(t, n, 0, 10); len(got) != 0 {
		t.Errorf("a new journal has %v", got)
	}
	row := JournalRow{
		First: testClock, Last: testClock + 900, Count: 3, Why: "rate_limited", Status: 429, From: "203.0.113.7", Who: "user:7",
		Tried: "ani@sekolah.test", Action: "POST /api/v1/session", Key: "0193", Request: "r-1",
	}
	for range 3 {
		if err := n.AppendJournal([]JournalRow{row, {First: 1, Last: 1, Count: 1}}, keep); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := n.Journal(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	row.No = 5
	if diff := cmp.Diff(row, rows[1]); diff != "" {
		t.Errorf("a row came back otherwise:\n%s", diff)
	}
	for _, c := range []struct {
		below uint64
		limit int
		want  []uint64
	}{{0, 10, []uint64{6, 5, 4, 3, 2, 1}}, {0, 2, []uint64{6, 5}}, {5, 2, []uint64{4, 3}}, {3, 10, []uint64{2, 1}}, {1, 10, []uint64{}}, {1 << 63, 1, []uint64{6}}} {
		if diff := cmp.Diff(c.want, journalNumbers(t, n, c.below, c.limit)); diff != "" {
			t.Errorf("below %d, %d rows: %s", c.below, c.limit, diff)
		}
	}
	// All rows gone and the file opened again: no number is used twice.
	if err := n.AppendJournal(nil, JournalKeep{}); err != nil {
		t.Fatal(err)
	}
	if got := journalNumbers(t, n, 0, 10); len(got) != 0 {
		t.Errorf("all should be gone, there are %v", got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, path)
	if err := n.AppendJournal([]JournalRow{row}, keep); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{7}, journalNumbers(t, n, 0, 10)); diff != "" {
		t.Errorf("after opening again: %s", diff)
	}
	// A damaged row is said, not skipped.
	if err := n.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketJournal).Put(keySeq(7), []byte{1}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Journal(0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
}

// Whatever is appended and let go, the journal holds exactly the newest rows that
// were to be kept at each append.
func TestJournalKeeps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := openNode(t, filepath.Join(tempDir(t), "node.db"))
		type line struct {
			no uint64
			at attendance.Millis
		}
		var model []line
		now, next := testClock, uint64(1)
		for range rapid.IntRange(1, 6).Draw(rt, "appends") {
			var rows []JournalRow
			for range rapid.IntRange(0, 8).Draw(rt, "rows") {
				now += attendance.Millis(rapid.IntRange(0, 2).Draw(rt, "later"))
				rows = append(rows, JournalRow{First: now, Last: now, Count: 1})
				model = append(model, line{next, now})
				next++
			}
			keep := JournalKeep{Rows: rapid.IntRange(0, 12).Draw(rt, "keep"), Since: now - attendance.Millis(rapid.IntRange(0, 5).Draw(rt, "since"))}
			if err := n.AppendJournal(rows, keep); err != nil {
				rt.Fatal(err)
			}
			for len(model) > 0 && (model[0].no+uint64(keep.Rows) < next || model[0].at < keep.Since) {
				model = model[1:]
			}
			want := []uint64{}
			for _, l := range slices.Backward(model) {
				want = append(want, l.no)
			}
			if diff := cmp.Diff(want, journalNumbers(t, n, 0, MaxPage)); diff != "" {
				rt.Fatal(diff)
			}
		}
	})
}

// One append lets go a bounded number, so that a smaller cap stalls nobody.
func TestJournalTrimIsBounded(t *testing.T) {
	n := openNode(t, filepath.Join(tempDir(t), "node.db"))
	if err := n.AppendJournal(make([]JournalRow, journalTrim+500), JournalKeep{Rows: 10_000}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{journalTrim + 1, journalTrim + 491} {
		if err := n.AppendJournal(nil, JournalKeep{Rows: 10}); err != nil {
			t.Fatal(err)
		}
		if got := journalNumbers(t, n, want+1, 1); len(got) != 1 || got[0] != want {
			t.Errorf("oldest row is not %d: %v", want, got)
		}
		if got := journalNumbers(t, n, want, 1); len(got) != 0 {
			t.Errorf("row %v should be gone", got)
		}
	}
}
