package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/store"
)

// stillClock stands still until it is moved.
type stillClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *stillClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *stillClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// heldStore keeps rows in memory. It fails while err is there, and waits for hold.
type heldStore struct {
	mu   sync.Mutex
	rows []store.JournalRow
	keep store.JournalKeep
	err  error
	hold chan struct{}
}

func (s *heldStore) AppendJournal(rows []store.JournalRow, keep store.JournalKeep) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		<-s.hold
	}
	if s.err != nil {
		return s.err
	}
	s.rows, s.keep = append(s.rows, rows...), keep
	return nil
}

func (s *heldStore) Journal(uint64, int) ([]store.JournalRow, error) {
	return nil, errors.New("is not asked")
}

func newTestJournal() (*Journal, *heldStore, *stillClock) {
	clock := &stillClock{now: time.UnixMilli(1_770_000_000_000)}
	to := &heldStore{}
	return NewJournal(to, clock, slog.New(slog.DiscardHandler)), to, clock
}

// sum counts what rows stand for.
func sum(rows []store.JournalRow) (n uint64) {
	for _, r := range rows {
		n += r.Count
	}
	return n
}

var school = netip.MustParseAddr("203.0.113.7")

// Above 100 a second from one source, and 1 000 in all, only counts are kept, and
// together they are exactly what was noted.
func TestJournalIsCapped(t *testing.T) {
	j, to, clock := newTestJournal()
	for range 350 {
		j.note(school, store.JournalRow{Why: "rate_limited", Who: "user:7", Status: 429})
		clock.advance(time.Millisecond)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if len(to.rows) != journalPerSource+1 || sum(to.rows) != 350 {
		t.Fatalf("%d rows stand for %d", len(to.rows), sum(to.rows))
	}
	last := to.rows[journalPerSource]
	if last.Count != 250 || last.From != "203.0.113.7/32" || last.Who != "user:7" || last.Why != "rate_limited" || last.Last-last.First != 249 {
		t.Errorf("summary: %+v", last)
	}
	if one := to.rows[0]; one.Count != 1 || one.From != "203.0.113.7" || one.First != one.Last {
		t.Errorf("row: %+v", one)
	}
	if want := clock.Now().AddDate(0, 0, -journalDays).UnixMilli(); to.keep.Rows != journalRows || int64(to.keep.Since) != want {
		t.Errorf("kept are %+v", to.keep)
	}

	j, to, clock = newTestJournal()
	const sources, each = 5_000, 4
	for i := range sources * each {
		j.note(netip.AddrFrom4([4]byte{10, 0, byte(i % sources >> 8), byte(i % sources)}), store.JournalRow{Why: "unauthenticated"})
	}
	clock.advance(time.Second)
	j.note(school, store.JournalRow{Why: "unauthenticated"})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if sum(to.rows) != sources*each+1 {
		t.Errorf("the rows stand for %d", sum(to.rows))
	}
	if n := len(to.rows); n > journalPerNode+1+journalCounts+1 {
		t.Errorf("%d rows for one second", n)
	}
	if i := slices.IndexFunc(to.rows, func(r store.JournalRow) bool { return r.From == "" }); i < 0 || to.rows[i].Count < 1_000 {
		t.Error("the many are not counted together")
	}
	if fresh := to.rows[journalPerNode]; fresh.From != school.String() || fresh.Count != 1 {
		t.Errorf("the next second begins with %+v", fresh)
	}
}

// The addresses of one IPv6 network are one source.
func TestJournalSources(t *testing.T) {
	j, to, _ := newTestJournal()
	for i := range 2 * journalPerSource {
		j.note(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), store.JournalRow{Why: "x"})
	}
	j.note(netip.Addr{}, store.JournalRow{Why: "y"})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(to.rows); n != journalPerSource+2 || to.rows[n-1].From != "2001:db8::/64" || to.rows[n-1].Count != journalPerSource {
		t.Errorf("%d rows, the last %+v", n, to.rows[n-1])
	}
}

// A disk that hangs holds up no request, and costs no more memory than counts do;
// one that fails loses details, not counts.
func TestJournalWithoutADisk(t *testing.T) {
	j, to, clock := newTestJournal()
	// It fails from the beginning: on a busy machine the journal's own timer writes
	// between any two lines of this test.
	release := make(chan struct{})
	to.mu.Lock()
	to.hold, to.err = release, errors.New("no space left on device")
	to.mu.Unlock()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		j.write()
	}()
	for range 10 * journalWaiting {
		j.note(school, store.JournalRow{Why: "x"})
		clock.advance(20 * time.Millisecond)
	}
	j.mu.Lock()
	waiting, counted := len(j.rows), len(j.counts)
	j.mu.Unlock()
	if waiting > journalWaiting || counted != 1 {
		t.Errorf("%d rows and %d counts wait", waiting, counted)
	}
	close(release)
	<-writing
	j.write()
	j.writing.Lock() // the timer's write holds what waits in its hands
	if j.mu.Lock(); len(j.rows) != 0 || len(j.counts) != 1 || !j.due {
		t.Errorf("after an error %d rows and %d counts wait", len(j.rows), len(j.counts))
	}
	j.mu.Unlock()
	j.writing.Unlock()
	to.mu.Lock()
	to.err = nil
	to.mu.Unlock()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if sum(to.rows) != 10*journalWaiting {
		t.Errorf("the rows stand for %d", sum(to.rows))
	}
}

// The journal writes by itself, soon, and not after its end.
func TestJournalWrites(t *testing.T) {
	j, to, _ := newTestJournal()
	j.note(school, store.JournalRow{Why: "x"})
	deadline := time.Now().Add(20 * time.Second)
	for written := 0; written == 0; {
		to.mu.Lock()
		written = len(to.rows)
		to.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("nothing is written")
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a condition is awaited
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j.note(school, store.JournalRow{Why: "late"})
	if j.mu.Lock(); j.due {
		t.Error("it would write after its end")
	}
	j.mu.Unlock()
	j.write() // a timer that fires late
	if len(to.rows) != 1 {
		t.Errorf("written after the end: %+v", to.rows[1:])
	}
	var none *Journal
	none.note(school, store.JournalRow{})
	if rows, err := none.page(0, 1); rows != nil || err != nil || none.Close() != nil {
		t.Error("a journal that is not there is not empty")
	}
}

func TestTriedAs(t *testing.T) {
	for in, want := range map[string]string{
		"Ani@Sekolah.test": "ani@sekolah.test", "hunter2": "(no address)", "": "(no address)", "a@\xff": "a@?",
		strings.Repeat("é", 60) + "@x": strings.Repeat("é", 32) + "…", strings.Repeat("a", 63) + "é@x": strings.Repeat("a", 63) + "…",
	} {
		if got := triedAs(in); got != want {
			t.Errorf("%q is kept as %q, want %q", in, got, want)
		}
	}
}
