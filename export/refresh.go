package export

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"hadir/attendance"
	"hadir/store"
)

// refresh is what parked events are about, as the state has it: user, group or
// record as they are now, not as they were then, because later events have changed
// them since. The batch that writes it ends with the newest event of that state.
type refresh struct {
	items []refreshed
}

// refreshed is one parked event with what it is about.
type refreshed struct {
	seq    uint64
	gone   bool // pruned: there is nothing to write any more
	event  attendance.Event
	user   *attendance.User
	group  *groupState
	record *recordState
}

// groupState and recordState hold the people that their rows refer to: their own
// events may be parked, too.
type groupState struct {
	attendance.Group
	deleted           bool
	members, teachers []uint64
	people            []attendance.User
}

type recordState struct {
	attendance.Record
	tap  attendance.Tap // of the event that made it
	user attendance.User
}

func readRefresh(tx *store.ReadTx, seqs []uint64) (*refresh, error) {
	r := &refresh{}
	for _, seq := range slices.Sorted(slices.Values(seqs)) {
		item, err := readItem(tx, seq)
		if err != nil {
			return nil, err
		}
		r.items = append(r.items, item)
	}
	return r, nil
}

func readItem(tx *store.ReadTx, seq uint64) (refreshed, error) {
	item := refreshed{seq: seq}
	e, err := tx.Event(seq)
	if errors.Is(err, store.ErrNotFound) {
		item.gone = true
		return item, nil
	}
	if err != nil {
		return item, err
	}
	item.event = e
	switch d := e.Detail.(type) {
	case attendance.Tap:
		record := d.Winner
		if e.Type.MakesRecord() {
			record = e.Seq
		}
		if record != 0 {
			item.record, err = readRecord(tx, record)
		}
	case attendance.UserChange:
		item.user, err = readUser(tx, d.User.ID)
	case attendance.SessionsChange:
		if d.UserID != 0 {
			item.user, err = readUser(tx, d.UserID)
		}
	case attendance.GroupChange:
		item.group, err = readGroup(tx, d.Group.ID)
	}
	return item, err
}

func readUser(tx *store.ReadTx, id uint64) (*attendance.User, error) {
	u, err := tx.User(id)
	return &u, err
}

func readGroup(tx *store.ReadTx, id uint64) (*groupState, error) {
	g, err := tx.Group(id)
	if errors.Is(err, store.ErrNotFound) {
		return &groupState{Group: attendance.Group{ID: id}, deleted: true}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &groupState{Group: g, members: everyone(tx, id, store.Member), teachers: everyone(tx, id, store.Responsible)}
	for _, id := range slices.Concat(s.members, s.teachers) {
		u, err := tx.User(id)
		if err != nil {
			return nil, err
		}
		s.people = append(s.people, u)
	}
	return s, nil
}

// everyone gives all people of a group, page by page.
func everyone(tx *store.ReadTx, group uint64, part store.Part) (all []uint64) {
	after := uint64(0)
	for {
		page := tx.People(group, part, after, store.MaxPage)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1]
	}
}

// readRecord gives a record; nil when its event was pruned.
func readRecord(tx *store.ReadTx, id uint64) (*recordState, error) {
	e, err := tx.Event(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	record, err := tx.Record(id)
	if err != nil {
		return nil, err
	}
	tap, _ := e.Detail.(attendance.Tap)
	user, err := tx.User(record.UserID)
	return &recordState{record, tap, user}, err
}

var errPruned = errors.New("the event was pruned: what it said is gone")

// retry writes parked events and takes them off the list; one that is refused
// again stays there.
func (w *writer) retry(ctx context.Context, tx *sql.Tx, r *refresh) (done int, err error) {
	for _, item := range r.items {
		cause := errPruned
		if !item.gone {
			if cause, err = w.attempt(ctx, tx, func() error { return w.unpark(ctx, tx, item) }); err != nil {
				return done, err
			}
		}
		if cause == nil {
			done++
			continue
		}
		const still = `UPDATE export_failures SET reason = ?, attempts = attempts + 1, retry = 0 WHERE seq = ?`
		if _, err := tx.ExecContext(ctx, still, reasonText(cause), int64(item.seq)); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (w *writer) unpark(ctx context.Context, tx *sql.Tx, item refreshed) error {
	res, err := tx.ExecContext(ctx, `DELETE FROM export_failures WHERE seq = ?`, int64(item.seq))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err // somebody has settled it
	}
	if err := w.put(ctx, tx, logsTable, [][]any{logRow(item.event)}, ""); err != nil {
		return err
	}
	p := newPlan()
	switch {
	case item.user != nil:
		p.users[item.user.ID] = userRow(*item.user)
	case item.group != nil:
		return w.putGroup(ctx, tx, item.group)
	case item.record != nil:
		return w.putRecord(ctx, tx, item)
	}
	return w.writePeople(ctx, tx, p)
}

// putGroup makes a group and its people what they are.
func (w *writer) putGroup(ctx context.Context, tx *sql.Tx, g *groupState) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM user_group_members WHERE group_id = ?`, int64(g.ID)); err != nil {
		return err
	}
	p := newPlan()
	p.groups[g.ID] = nil
	if !g.deleted {
		p.groups[g.ID] = groupRow(g.Group)
		for _, u := range g.people {
			p.users[u.ID] = userRow(u)
		}
		for _, user := range g.members {
			p.members[member{g.ID, user, roleMember}] = true
		}
		for _, user := range g.teachers {
			p.members[member{g.ID, user, roleTeacher}] = true
		}
	}
	return w.writePeople(ctx, tx, p)
}

// putRecord writes the record that the event made, or what it lowered. A record
// whose own event is parked has no row yet: it comes with that one.
func (w *writer) putRecord(ctx context.Context, tx *sql.Tx, item refreshed) error {
	r := item.record
	if item.event.Type.MakesRecord() {
		if err := w.upsert(ctx, tx, usersTable, [][]any{userRow(r.user)}); err != nil {
			return err
		}
		return w.upsert(ctx, tx, attendancesTable, [][]any{recordRow(r.Record, r.tap)})
	}
	s := sightingAt(r.At, r.FirstSeenAt, r.UpdatedAt)
	_, err := tx.ExecContext(ctx, seenSQL, when(s.at), s.minutes, when(s.updated), int64(r.ID), when(s.at))
	return err
}
