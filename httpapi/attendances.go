package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"hadir/attendance"
	"hadir/store"
)

func (c *call) vars(name string) string { return mux.Vars(c.r)[name] }

// pathID gives the id in the path. What is no id names nothing.
func (c *call) pathID() (uint64, error) {
	id, err := strconv.ParseUint(c.vars("id"), 10, 63)
	if err != nil || id == 0 {
		return 0, notFound("An id is a positive integer.")
	}
	return id, nil
}

// maxSteps bounds how many pages of the store one request looks through when a
// filter that the store does not know leaves little of each.
const maxSteps = 25

// listing is a question to the attendances, with what the store cannot filter.
type listing struct {
	store.Query
	name string // part of a person's name, folded; "" for all
}

// run gives a page of what the scope may see.
func (l listing) run(tx *store.ReadTx, s *scope) (page []attendance.Record, next store.Cursor, err error) {
	if l.UserID == 0 && s.reach == reachOwn {
		l.UserID = s.viewer.ID
	}
	if l.UserID != 0 {
		if err := s.need(l.UserID); err != nil {
			return nil, store.Cursor{}, err
		}
	}
	if l.name == "" && (l.UserID != 0 || s.everybody()) {
		return tx.Attendances(l.Query)
	}
	limit, wanted := l.Limit, make(map[uint64]bool)
	l.Limit = store.MaxPage
	for range maxSteps {
		rows, after, err := tx.Attendances(l.Query)
		if err != nil {
			return nil, store.Cursor{}, err
		}
		for i, r := range rows {
			keep, known := wanted[r.UserID]
			if !known {
				if keep, err = l.wants(tx, s, r.UserID); err != nil {
					return nil, store.Cursor{}, err
				}
				wanted[r.UserID] = keep
			}
			if !keep {
				continue
			}
			page = append(page, r)
			if len(page) < limit {
				continue
			}
			if i == len(rows)-1 {
				return page, after, nil
			}
			cursor, err := l.cursorAt(tx, r)
			return page, cursor, err
		}
		if after.IsZero() {
			return page, after, nil
		}
		l.Before = after
	}
	return page, l.Before, nil
}

func (l listing) wants(tx *store.ReadTx, s *scope, user uint64) (bool, error) {
	if !s.sees(user) {
		return false, nil
	}
	if l.name == "" {
		return true, nil
	}
	u, err := tx.User(user)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return strings.Contains(attendance.FoldEmail(u.Name), l.name), err
}

// cursorAt gives the place of a record within the order of the query: the store
// only gives that of the last one in its page.
func (l listing) cursorAt(tx *store.ReadTx, r attendance.Record) (store.Cursor, error) {
	if l.UserID != 0 {
		return store.Cursor{Day: attendance.UTCDay(r.At), At: r.At, Seq: r.ID}, nil
	}
	e, err := tx.Event(r.ID)
	if err != nil {
		return store.Cursor{}, err
	}
	tap, _ := e.Detail.(attendance.Tap)
	return store.Cursor{Day: tap.Day, At: r.At, Seq: r.ID}, nil
}

func getAttendances(c *call) error {
	q, err := c.query(append([]string{"date", "from", "to", "user_id", "type", "node_id", "q", "format", "limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	l, how, whole := q.listing(), q.read(), c.wantsCSV(q)
	for _, name := range []string{"limit", "cursor"} {
		if whole && q.text(name) != "" {
			q.wrong(name, "does not go with CSV, which is the whole list")
		}
	}
	if err := q.done(); err != nil {
		return err
	}
	c.w.Header().Set("Vary", "Accept")
	if whole {
		return c.sendCSV(l, how)
	}
	if l.heavy(c.who) {
		page, fresh, err := c.heavyPage(l, how)
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, jsonList(page.Items, page.Next, fresh))
	}
	var page []attendance.Record
	var next store.Cursor
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		page, next, err = l.run(tx, s)
		return err
	})
	if err != nil {
		return err
	}
	items := make([]attendanceJSON, len(page))
	for i, r := range page {
		items[i] = jsonAttendance(r)
	}
	cursor := ""
	if !next.IsZero() {
		cursor = next.String()
	}
	return c.json(http.StatusOK, jsonList(items, cursor, fresh))
}

// Days that no record is outside of.
var firstDay, lastDay = attendance.UTCDay(0), attendance.UTCDay(attendance.MaxMillis)

// listing reads the filters of the list.
func (q *query) listing() listing {
	l := listing{Query: store.Query{
		From: firstDay, To: lastDay, UserID: q.number("user_id", 1, maxID, 0),
		Node: q.text("node_id"), Limit: q.limit(),
	}, name: attendance.FoldEmail(q.text("q"))}
	from, hasFrom := q.day("from")
	to, hasTo := q.day("to")
	if hasFrom {
		l.From = from
	}
	if hasTo {
		l.To = to
	}
	if date, given := q.day("date"); given {
		if l.From, l.To = date, date; hasFrom || hasTo {
			q.wrong("date", "does not go with from or to")
		}
	}
	if l.From > l.To {
		q.wrong("from", "is after to")
	}
	if s := q.text("type"); s != "" {
		kind, ok := attendance.ParseKind(s)
		if !ok {
			q.wrong("type", "is neither in nor out")
		}
		l.Kind = kind
	}
	var err error
	if l.Before, err = store.ParseCursor(q.text("cursor")); err != nil {
		q.wrong("cursor", "is none that this list gave")
	}
	return l
}

func getAttendance(c *call) error {
	q, err := c.query(readParams...)
	if err != nil {
		return err
	}
	how := q.read()
	if err := q.done(); err != nil {
		return err
	}
	id, err := c.pathID()
	if err != nil {
		return err
	}
	var record attendance.Record
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		record, err = visibleRecord(tx, c.who, id)
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, attendanceStateJSON{jsonAttendance(record), jsonFresh(fresh)})
}

type attendanceStateJSON struct {
	attendanceJSON
	freshJSON
}

func visibleRecord(tx *store.ReadTx, who *visitor, id uint64) (attendance.Record, error) {
	s, err := scopeOf(tx, who)
	if err != nil {
		return attendance.Record{}, err
	}
	record, err := tx.Record(id)
	if err != nil {
		return attendance.Record{}, err
	}
	return record, s.need(record.UserID)
}

// getAttendanceLogs gives the event that made a record and the later ones about
// it, oldest first.
func getAttendanceLogs(c *call) error {
	q, err := c.query(append([]string{"limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after := q.read(), q.limit(), q.number("cursor", 1, maxID, 0)
	if err := q.done(); err != nil {
		return err
	}
	id, err := c.pathID()
	if err != nil {
		return err
	}
	var items []json.RawMessage
	var last uint64
	more := false
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		if _, err := visibleRecord(tx, c.who, id); err != nil {
			return err
		}
		seqs := tx.Trail(id, after, limit+1)
		if after < id {
			seqs = append([]uint64{id}, seqs...)
		}
		if more = len(seqs) > limit; more {
			seqs = seqs[:limit]
		}
		for _, seq := range seqs {
			e, err := tx.Event(seq)
			if err != nil {
				return err
			}
			items, last = append(items, jsonEvent(e)), seq
		}
		return nil
	})
	if err != nil {
		return err
	}
	next := ""
	if more {
		next = strconv.FormatUint(last, 10)
	}
	return c.json(http.StatusOK, jsonList(items, next, fresh))
}
