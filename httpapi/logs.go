package httpapi

import (
	"encoding/json"
	"net/http"

	"hadir/attendance"
	"hadir/attendance/eventjson"
	"hadir/store"
)

// maxEvents bounds how many events one request looks through when its filters
// leave few of them.
const maxEvents = 5_000

// eventQuery selects events by seq: upwards after one, or downwards before one.
type eventQuery struct {
	after, before uint64 // before is 0 on the way up
	user          uint64 // whom the event is about; 0 for all
	kind          attendance.EventType
	node          string
	limit         int
}

func (q *query) events() eventQuery {
	e := eventQuery{
		after: q.number("after", 0, maxID, 0), before: q.number("before", 1, maxID, 0), user: q.number("user_id", 1, maxID, 0),
		node: q.text("node_id"), limit: q.limit(),
	}
	if q.text("after") != "" && q.text("before") != "" {
		q.wrong("before", "does not go with after")
	}
	if s := q.text("event_type"); s != "" {
		kind, ok := attendance.ParseEventType(s)
		if !ok {
			q.wrong("event_type", "is no type of event")
		}
		e.kind = kind
	}
	return e
}

func (q eventQuery) keeps(e attendance.Event) bool {
	return (q.kind == 0 || e.Type == q.kind) && (q.node == "" || e.Node == q.node) && (q.user == 0 || eventjson.UserID(e) == q.user)
}

// run gives a page and where the next one begins, 0 at the end. A page may be
// short, even empty, and have a next one.
func (q eventQuery) run(tx *store.ReadTx) (page []attendance.Event, next uint64, err error) {
	m := tx.Meta()
	step, at := uint64(1), max(q.after+1, m.FirstSeq)
	if q.before != 0 {
		step, at = ^uint64(0), min(q.before-1, m.Seq) // one down
	}
	for looked := 0; at >= m.FirstSeq && at <= m.Seq && at != 0; at += step {
		if looked == maxEvents || len(page) == q.limit {
			return page, at - step, nil
		}
		looked++
		e, err := tx.Event(at)
		if err != nil {
			return nil, 0, err
		}
		if q.keeps(e) {
			page = append(page, e)
		}
	}
	return page, 0, nil
}

// getLogs gives everything that was decided, by seq. next_cursor is the seq to go
// on from, in the same parameter.
func getLogs(c *call) error {
	q, err := c.query(append([]string{"after", "before", "user_id", "event_type", "node_id", "limit"}, readParams...)...)
	if err != nil {
		return err
	}
	events, how := q.events(), q.read()
	if err := q.done(); err != nil {
		return err
	}
	items := []json.RawMessage{}
	var next uint64
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		page, after, err := events.run(tx)
		for _, e := range page {
			items = append(items, jsonEvent(e))
		}
		next = after
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonList(items, cursorOf(next), fresh))
}
