package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// Bounds of a page. maxExamined keeps one request from reading a whole busy day
// to find three rows; maxDays keeps a person's ten empty years cheap.
const (
	MaxPage     = 200
	maxExamined = 5_000
	maxDays     = 800
	maxDay      = 10_000_000 // days around it do not wrap
)

// Query selects attendances, newest first: by decision time, then by id.
type Query struct {
	From, To attendance.Day  // local days, both included
	UserID   uint64          // 0 for everybody
	Kind     attendance.Kind // 0 for both
	Node     string          // "" for all
	Before   Cursor          // from the last page; zero for the first
	Limit    int             // 1 … MaxPage
}

// Cursor is a place in the order of a Query. It stays valid while records come
// and go.
type Cursor struct {
	Day attendance.Day // of the partition: local, or UTC where a user was asked for
	At  attendance.Millis
	Seq uint64
}

// IsZero reports whether the cursor is the start.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String gives the cursor as text for ParseCursor.
func (c Cursor) String() string { return fmt.Sprintf("%d.%d.%d", c.Day, c.At, c.Seq) }

// ErrCursor says that a text is no cursor.
var ErrCursor = errors.New("cursor is malformed")

// ParseCursor is the inverse of String; "" gives the start.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	part := strings.Split(s, ".")
	if len(part) != 3 {
		return Cursor{}, ErrCursor
	}
	day, err1 := strconv.ParseInt(part[0], 10, 32)
	at, err2 := strconv.ParseInt(part[1], 10, 64)
	seq, err3 := strconv.ParseUint(part[2], 10, 64)
	c := Cursor{Day: attendance.Day(day), At: attendance.Millis(at), Seq: seq}
	// Exactly the text that String gives: "+1" or "01" are somebody's guesses.
	if errors.Join(err1, err2, err3) != nil || c.String() != s || c.IsZero() || at < 0 || at > int64(attendance.MaxMillis) {
		return Cursor{}, ErrCursor
	}
	return c, nil
}

// Attendances gives one page and the cursor of the next; zero at the end. A page
// may be short, even empty, and still have a next one: the search for rare rows
// is cut into bounded steps.
func (r *ReadTx) Attendances(q Query) (page []attendance.Record, next Cursor, err error) {
	q.Limit = max(1, min(q.Limit, MaxPage))
	q.From, q.To = max(q.From, -maxDay), min(q.To, maxDay)
	p := pager{tx: r, q: q}
	if q.UserID != 0 {
		next, err = p.ofUser()
	} else {
		next, err = p.ofAll()
	}
	if err != nil {
		return nil, Cursor{}, err
	}
	return p.page, next, nil
}

type pager struct {
	tx   *ReadTx
	q    Query
	page []attendance.Record
}

// read gives the event that an index names.
func (p *pager) read(seq uint64) (attendance.Event, error) {
	e, err := p.tx.Event(seq)
	if err != nil {
		return e, fmt.Errorf("%w: an index names attendance %d: %w", ErrCorrupt, seq, err)
	}
	return e, nil
}

func (p *pager) take(e attendance.Event) error {
	record, err := p.tx.recordOf(e)
	if err != nil {
		return fmt.Errorf("%w: an index names it: %w", ErrCorrupt, err)
	}
	p.page = append(p.page, record)
	return nil
}

// ofAll walks the day list backwards.
func (p *pager) ofAll() (Cursor, error) {
	c := p.tx.tx.Bucket(bucketDays).Cursor()
	bound := keyDay(p.q.To+1, -1<<62, 0) // before everything of the day after
	if b := p.q.Before; !b.IsZero() {
		if key := keyDay(b.Day, b.At, b.Seq); bytes.Compare(key, bound) < 0 {
			bound = key
		}
	}
	last := Cursor{}
	examined := 0
	for k, v := before(c, bound); k != nil; k, v = c.Prev() {
		day := dayOf(k)
		if day < p.q.From {
			return Cursor{}, nil
		}
		if len(p.page) == p.q.Limit || examined == maxExamined {
			return last, nil
		}
		examined++
		at, seq := millisOf(k[4:]), seqOf(k[12:])
		last = Cursor{Day: day, At: at, Seq: seq}
		row, err := decodeDayRow(v)
		if err != nil {
			return Cursor{}, err
		}
		if (p.q.Kind != 0 && row.kind != p.q.Kind) || (p.q.Node != "" && string(row.node) != p.q.Node) {
			continue
		}
		e, err := p.read(seq)
		if err != nil {
			return Cursor{}, err
		}
		if err := p.take(e); err != nil {
			return Cursor{}, err
		}
	}
	return Cursor{}, nil
}

// ofUser walks the user's rows of the rule's index, UTC day by UTC day. A local
// day overlaps up to three UTC days, so the walk is wider than the question and
// the record's own local day decides.
func (p *pager) ofUser() (Cursor, error) {
	c := p.tx.tx.Bucket(bucketTimes).Cursor()
	first, start := p.q.From-1, p.q.To+1
	// Nobody was accepted before the first partition or after the last one.
	if k, _ := c.First(); k == nil {
		return Cursor{}, nil
	} else {
		first = max(first, dayOf(k))
	}
	if k, _ := c.Last(); k != nil {
		start = min(start, dayOf(k))
	}
	if b := p.q.Before; !b.IsZero() {
		start = min(start, b.Day)
	}
	last := Cursor{}
	examined := 0
	for day, days := start, 0; day >= first; day, days = day-1, days+1 {
		if days == maxDays {
			return Cursor{Day: day, At: attendance.MaxMillis, Seq: 1<<64 - 1}, nil
		}
		for _, row := range userDay(c, day, p.q.UserID) {
			at := Cursor{Day: day, At: row.At, Seq: row.Seq}
			if b := p.q.Before; !b.IsZero() && !older(at, b) {
				continue
			}
			if len(p.page) == p.q.Limit || examined == maxExamined {
				return last, nil
			}
			examined++
			last = at
			if p.q.Kind != 0 && row.kind != p.q.Kind {
				continue
			}
			e, err := p.read(row.Seq)
			if err != nil {
				return Cursor{}, err
			}
			tap, ok := e.Detail.(attendance.Tap)
			if !ok || tap.Day < p.q.From || tap.Day > p.q.To || (p.q.Node != "" && e.ReceivedBy() != p.q.Node) {
				continue
			}
			if err := p.take(e); err != nil {
				return Cursor{}, err
			}
		}
	}
	return Cursor{}, nil
}

func older(a, b Cursor) bool {
	return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) < 0
}

type userTime struct {
	attendance.Accepted
	kind attendance.Kind
}

// userDay gives a user's accepted times of one UTC day, newest first. They are
// few: at most one each window and type.
func userDay(c *bbolt.Cursor, day attendance.Day, user uint64) []userTime {
	prefix := keyTime(day, user, 0, 0)[:userPrefixLen]
	var rows []userTime
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == timeKeyLen; k, v = c.Next() {
		seq, _ := binary.Uvarint(v)
		rows = append(rows, userTime{
			Accepted: attendance.Accepted{At: millisOf(k[timePrefixLen:]), Seq: seq}, kind: attendance.Kind(k[userPrefixLen]),
		})
	}
	slices.SortFunc(rows, func(a, b userTime) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Seq, a.Seq))
	})
	return rows
}

// before gives the last row below bound.
func before(c *bbolt.Cursor, bound []byte) (k, v []byte) {
	if k, _ = c.Seek(bound); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// dayRow is the value of a day entry: what the filters need without reading the
// event.
type dayRow struct {
	kind attendance.Kind
	user uint64
	node []byte // database memory
}

func encodeDayRow(kind attendance.Kind, user uint64, node string) []byte {
	b := make([]byte, 0, 8+len(node))
	b = append(b, byte(kind))
	b = binary.AppendUvarint(b, user)
	return append(b, node...)
}

func decodeDayRow(v []byte) (dayRow, error) {
	if len(v) < 2 {
		return dayRow{}, fmt.Errorf("%w: day entry is too short", ErrCorrupt)
	}
	user, n := binary.Uvarint(v[1:])
	if n <= 0 {
		return dayRow{}, fmt.Errorf("%w: day entry has no user", ErrCorrupt)
	}
	return dayRow{kind: attendance.Kind(v[0]), user: user, node: v[1+n:]}, nil
}
