package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/store"
)

// JournalStore keeps the door journal; *store.Node is one.
type JournalStore interface {
	// AppendJournal adds rows, synced, and lets go what is not to be kept.
	AppendJournal(rows []store.JournalRow, keep store.JournalKeep) error
	// Journal gives rows below a number, newest first; 0 stands for the end.
	Journal(below uint64, limit int) ([]store.JournalRow, error)
}

// What the journal holds, and how soon it is on the disk. A crash may lose what
// came within the last journalEvery.
const (
	journalRows  = 100_000
	journalDays  = 30
	journalEvery = 500 * time.Millisecond
)

// What of a second is written down one by one; what goes beyond is counted.
const (
	journalPerSource = 100
	journalPerNode   = 1_000
	// While the disk hangs, this many rows wait for it, and then only counts do.
	journalWaiting = 2 * journalPerNode
	// This many are counted apart, and the others by their reason alone.
	journalCounts = 1_000
)

// Journal writes down what this node refuses at its door, failed sign-ins and
// answers from earlier decisions: the attempts that become no event. Noting costs
// a request a few map operations and never waits for the disk. What comes faster
// than a person could read, 100 a second from one source or 1 000 in all, is
// counted in summaries {who, why, count, first, last}. Methods may be called
// concurrently; a nil Journal notes nothing.
type Journal struct {
	store JournalStore
	clock Clock
	log   *slog.Logger

	mu      sync.Mutex
	second  int64 // that the two counts are about
	total   int
	sources map[netip.Prefix]int
	rows    []store.JournalRow
	counts  map[journalCount]*store.JournalRow
	due     bool // a write is under way or will be
	closed  bool

	writing sync.Mutex // held by write, so that rows keep their order
	failing bool       // the last write failed; under writing
}

// journalCount is what is counted apart.
type journalCount struct{ from, who, why string }

// NewJournal gives the journal of a node. Close it before the store.
func NewJournal(to JournalStore, clock Clock, log *slog.Logger) *Journal {
	j := &Journal{
		store: to, clock: clock, log: log, sources: make(map[netip.Prefix]int), counts: make(map[journalCount]*store.JournalRow),
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.schedule() // what became too old while the node was down goes
	return j
}

// network is what counts as one source: for IPv6 a household's 2^64 addresses.
func network(from netip.Addr) netip.Prefix {
	bits := from.BitLen()
	if from.Is6() && !from.Is4In6() {
		bits = 64
	}
	p, err := from.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: such requests are one source
	}
	return p
}

func sourceName(source netip.Prefix) string {
	if !source.IsValid() {
		return ""
	}
	return source.String()
}

// note takes a row; its numbers and times are the journal's to fill in.
func (j *Journal) note(from netip.Addr, row store.JournalRow) {
	if j == nil {
		return
	}
	now := j.clock.Now()
	row.First, row.Last, row.Count = attendance.MillisOf(now), attendance.MillisOf(now), 1
	source := network(from)
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := now.Unix(); s != j.second {
		j.second, j.total = s, 0
		clear(j.sources)
	}
	if j.sources[source] < journalPerSource && j.total < journalPerNode && len(j.rows) < journalWaiting {
		j.sources[source]++
		j.total++
		if from.IsValid() {
			row.From = from.String()
		}
		j.rows = append(j.rows, row)
	} else {
		row.From = sourceName(source)
		j.count(row)
	}
	j.schedule()
}

// count adds a row to the summary that it belongs to.
func (j *Journal) count(row store.JournalRow) {
	key := journalCount{row.From, row.Who, row.Why}
	if j.counts[key] == nil && len(j.counts) >= journalCounts {
		key = journalCount{why: row.Why}
	}
	sum := j.counts[key]
	if sum == nil {
		j.counts[key] = &store.JournalRow{
			First: row.First, Last: row.Last, Count: row.Count, Why: key.why, Status: row.Status, From: key.from, Who: key.who,
		}
		return
	}
	sum.First, sum.Last, sum.Count = min(sum.First, row.First), max(sum.Last, row.Last), sum.Count+row.Count
}

// schedule sees to it that what waits is written.
func (j *Journal) schedule() {
	if !j.due && !j.closed {
		j.due = true
		time.AfterFunc(journalEvery, j.write)
	}
}

// write puts what waits into the store, unless Close has done so.
func (j *Journal) write() {
	j.writing.Lock()
	defer j.writing.Unlock()
	rows, open := j.take()
	if !open {
		return
	}
	err := j.append(rows)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		for _, row := range rows {
			if from, err := netip.ParseAddr(row.From); err == nil {
				row.From = sourceName(network(from))
			}
			j.count(row)
		}
	}
	if j.due = false; len(j.rows)+len(j.counts) > 0 {
		j.schedule()
	}
}

// take gives what waits, summaries last, and forgets it.
func (j *Journal) take() (rows []store.JournalRow, open bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	rows = j.rows
	for _, sum := range j.counts {
		rows = append(rows, *sum)
	}
	slices.SortStableFunc(rows[len(j.rows):], func(a, b store.JournalRow) int { return cmp.Compare(a.Last, b.Last) })
	j.rows = nil
	clear(j.counts)
	return rows, !j.closed
}

func (j *Journal) append(rows []store.JournalRow) error {
	since := j.clock.Now().AddDate(0, 0, -journalDays)
	err := j.store.AppendJournal(rows, store.JournalKeep{Rows: journalRows, Since: attendance.MillisOf(since)})
	if err != nil && !j.failing {
		j.log.Error("the door journal cannot be written; refusals are only counted until it can", "error", err)
	}
	j.failing = err != nil
	return err
}

// Close writes what waits and ends the journal's own writing. The error is the
// store's.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	rows, _ := j.take()
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	return j.append(rows)
}

// page gives rows below a number, newest first, without those that are too old to
// be kept and only not gone yet.
func (j *Journal) page(below uint64, limit int) ([]store.JournalRow, error) {
	if j == nil {
		return nil, nil
	}
	rows, err := j.store.Journal(below, limit)
	since := attendance.MillisOf(j.clock.Now().AddDate(0, 0, -journalDays))
	return slices.DeleteFunc(rows, func(r store.JournalRow) bool { return r.Last < since }), err
}

// journalled are the statuses of answers that are no event and that somebody who
// looks for mischief or for a lost check-in wants to see.
var journalled = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusRequestTimeout: true,
	http.StatusRequestEntityTooLarge: true, http.StatusUnsupportedMediaType: true, http.StatusUnprocessableEntity: true,
	http.StatusTooManyRequests: true,
}

// The words of rows that are about no problem.
const (
	whySignIn   = "sign_in_failed"
	whyReplayed = "replayed"
)

// attemptNote is what the journal wants to know of a call beside its answer.
type attemptNote struct {
	why      code   // of the problem that was answered
	decided  bool   // the answer is an event's: not the journal's business
	replayed string // the idempotency key of a decision that was made before
	signIn   bool   // somebody tried to sign in
	tried    string // as whom
}

// remember notes an answer in the journal if it belongs there.
func (c *call) remember() {
	why := string(c.note.why)
	switch {
	case c.note.replayed != "":
		why = whyReplayed
	case c.note.decided || !journalled[c.w.status]:
		return
	case c.note.signIn && c.w.status == http.StatusUnauthorized:
		why = whySignIn
	}
	row := store.JournalRow{Why: why, Status: uint64(c.w.status), Tried: c.note.tried, Key: c.note.replayed, Request: c.id}
	row.Action = methodLabel(c.r.Method)
	if c.route != nil {
		row.Action += " " + c.route.path
	}
	if c.who != nil {
		row.Who = c.who.principal().String()
	}
	if key, ok := parseKey(c.r.Header.Get("Idempotency-Key")); ok && row.Key == "" {
		row.Key = key
	}
	c.api.Journal.note(c.address(), row)
}

// maxTried is how much of what somebody typed as their address is kept.
const maxTried = 64

// triedAs gives the address of an attempt to sign in as the journal keeps it.
// People type their password into the wrong field, so only what looks like an
// address is kept.
func triedAs(email string) string {
	if !strings.Contains(email, "@") {
		return "(no address)"
	}
	email = attendance.FoldEmail(strings.ToValidUTF8(email, "?"))
	if len(email) > maxTried {
		email = strings.ToValidUTF8(email[:maxTried], "") + "…"
	}
	return email
}
