package export

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"hadir/attendance"
	"hadir/attendance/eventjson"
)

// plan is what events, in their order, come to in rows. It is a function of the
// events: many at once give what one after the other gives.
type plan struct {
	logs     [][]any
	records  [][]any
	recordAt map[uint64]int // in records, by id
	seen     map[uint64]sighting
	users    map[uint64][]any
	touched  map[uint64]attendance.Millis // users of whom only updated_at changed
	groups   map[uint64][]any             // nil row: deleted
	members  map[member]bool              // belongs, or not any more
}

type member struct {
	group, user uint64
	role        string
}

func (m member) compare(o member) int {
	return cmp.Or(cmp.Compare(m.group, o.group), cmp.Compare(m.user, o.user), cmp.Compare(m.role, o.role))
}

func (m member) row() []any { return []any{int64(m.group), int64(m.user), m.role} }

// sighting is a first_seen_at that was lowered.
type sighting struct {
	at, updated attendance.Millis
	minutes     int64 // from the record's own minute to that of the sighting
}

// The roles in a group.
const (
	roleMember  = "member"
	roleTeacher = "teacher"
)

func newPlan() *plan {
	return &plan{
		recordAt: make(map[uint64]int), seen: make(map[uint64]sighting), users: make(map[uint64][]any),
		touched: make(map[uint64]attendance.Millis), groups: make(map[uint64][]any), members: make(map[member]bool),
	}
}

func planOf(events []attendance.Event) *plan {
	p := newPlan()
	for _, e := range events {
		p.logs = append(p.logs, logRow(e))
		p.apply(e)
	}
	return p
}

// apply takes in what an event changes beside the log.
func (p *plan) apply(e attendance.Event) {
	switch d := e.Detail.(type) {
	case attendance.Tap:
		if record, ok := e.Record(); ok {
			p.recordAt[e.Seq] = len(p.records)
			p.records = append(p.records, recordRow(record, d))
		}
		if s, ok := sightingOf(e, d); ok {
			p.see(d.Winner, s)
		}
	case attendance.UserChange:
		p.users[d.User.ID] = userRow(d.User)
		delete(p.touched, d.User.ID)
	case attendance.SessionsChange:
		if d.UserID == 0 {
			return
		}
		if row, ok := p.users[d.UserID]; ok {
			row[usersTable.at("updated_at")] = when(e.At)
		} else {
			p.touched[d.UserID] = e.At
		}
	case attendance.GroupChange:
		p.group(e.Type, d)
	}
}

// sightingOf tells whether an event lowered its winner's first_seen_at: it did so
// at its own time, or not at all.
func sightingOf(e attendance.Event, tap attendance.Tap) (sighting, bool) {
	if tap.Winner == 0 || tap.UpdatedAt != e.At {
		return sighting{}, false
	}
	return sightingAt(tap.At-tap.Delta, tap.FirstSeenAt, tap.UpdatedAt), true
}

// sightingAt is a sighting of a record with a decision time. Local time is that of
// the record's own offset, whole minutes from UTC as far as minutes go.
func sightingAt(record, first, updated attendance.Millis) sighting {
	const minute = 60_000
	return sighting{at: first, updated: updated, minutes: floorDiv(int64(first), minute) - floorDiv(int64(record), minute)}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// see lowers first_seen_at. It never rises, so the order of two does not matter.
func (p *plan) see(record uint64, s sighting) {
	if i, ok := p.recordAt[record]; ok {
		s.into(p.records[i])
		return
	}
	if old, ok := p.seen[record]; !ok || s.at < old.at {
		p.seen[record] = s
	}
}

// into changes a row of attendances as the UPDATE of seenSQL does.
func (s sighting) into(row []any) {
	t := attendancesTable
	first := t.at("first_seen_at")
	if now, ok := row[first].(string); !ok || now <= fmt.Sprint(when(s.at)) {
		return
	}
	row[first], row[t.at("updated_at")] = when(s.at), when(s.updated)
	if minute, ok := row[t.at("local_minute")].(int64); ok {
		row[t.at("first_seen_minute")] = minute + s.minutes
	}
}

const seenSQL = `UPDATE attendances SET first_seen_at = ?, first_seen_minute = local_minute + ?, updated_at = ? ` +
	`WHERE id = ? AND first_seen_at > ?`

func (p *plan) group(typ attendance.EventType, d attendance.GroupChange) {
	if typ == attendance.GroupDeleted {
		p.groups[d.Group.ID] = nil
		maps.DeleteFunc(p.members, func(m member, _ bool) bool { return m.group == d.Group.ID })
		return
	}
	p.groups[d.Group.ID] = groupRow(d.Group)
	for _, change := range []struct {
		ids     []uint64
		role    string
		belongs bool
	}{
		{d.RemovedMembers, roleMember, false}, {d.RemovedTeachers, roleTeacher, false},
		{d.AddedMembers, roleMember, true}, {d.AddedTeachers, roleTeacher, true},
	} {
		for _, user := range change.ids {
			p.members[member{d.Group.ID, user, change.role}] = change.belongs
		}
	}
}

// write executes the plan. Rows go in the order of foreign keys, and of ids, so
// that two writers cannot wait for each other in a circle.
func (w *writer) write(ctx context.Context, tx *sql.Tx, p *plan) error {
	if err := w.put(ctx, tx, logsTable, p.logs, ""); err != nil {
		return err
	}
	if err := w.writePeople(ctx, tx, p); err != nil {
		return err
	}
	if err := w.put(ctx, tx, attendancesTable, p.records, ""); err != nil {
		return err
	}
	if len(p.seen) == 0 {
		return nil
	}
	lower, err := tx.PrepareContext(ctx, seenSQL)
	if err != nil {
		return err
	}
	defer lower.Close()
	for _, record := range slices.Sorted(maps.Keys(p.seen)) {
		s := p.seen[record]
		if _, err := lower.ExecContext(ctx, when(s.at), s.minutes, when(s.updated), int64(record), when(s.at)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writePeople(ctx context.Context, tx *sql.Tx, p *plan) error {
	if err := w.upsert(ctx, tx, usersTable, inOrder(p.users)); err != nil {
		return err
	}
	for _, user := range slices.Sorted(maps.Keys(p.touched)) {
		if _, err := tx.ExecContext(ctx, `UPDATE users SET updated_at = ? WHERE id = ?`, when(p.touched[user]), int64(user)); err != nil {
			return err
		}
	}
	for _, group := range slices.Sorted(maps.Keys(p.groups)) {
		if p.groups[group] != nil {
			continue
		}
		for _, del := range []string{`DELETE FROM user_group_members WHERE group_id = ?`, `DELETE FROM user_groups WHERE id = ?`} {
			if _, err := tx.ExecContext(ctx, del, int64(group)); err != nil {
				return err
			}
		}
	}
	if err := w.upsert(ctx, tx, groupsTable, inOrder(p.groups)); err != nil {
		return err
	}
	var come [][]any
	for _, m := range slices.SortedFunc(maps.Keys(p.members), member.compare) {
		if p.members[m] {
			come = append(come, m.row())
			continue
		}
		const leave = `DELETE FROM user_group_members WHERE group_id = ? AND user_id = ? AND role = ?`
		if _, err := tx.ExecContext(ctx, leave, m.row()...); err != nil {
			return err
		}
	}
	return w.upsert(ctx, tx, membersTable, come)
}

// inOrder gives the rows that there are, by id.
func inOrder(rows map[uint64][]any) (out [][]any) {
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if rows[id] != nil {
			out = append(out, rows[id])
		}
	}
	return out
}

func logRow(e attendance.Event) []any {
	tap, isTap := e.Detail.(attendance.Tap)
	var kind, reason, local, proposed any
	if isTap {
		kind, reason, local, proposed = tap.Kind.String(), optional(tap.Reason.String()), day(tap.Day), when(tap.ProposedAt)
	}
	if refusal, ok := e.Detail.(attendance.Refusal); ok {
		reason = optional(refusal.Reason.String())
	}
	return []any{
		int64(e.Seq), id(eventjson.AttendanceID(e)), e.Type.String(), id(eventjson.UserID(e)), kind, reason, local, e.Node,
		e.Principal.String(), optional(e.Key), int64(e.Index), proposed, string(eventjson.AppendData(nil, e)), when(e.At),
	}
}

// recordRow gives the row of a record; tap is of the event that made it.
func recordRow(r attendance.Record, tap attendance.Tap) []any {
	var latitude, longitude, accuracy any
	if r.Location.Known {
		latitude, longitude = decimal(int64(r.Location.LatE7), 7), decimal(int64(r.Location.LonE7), 7)
		accuracy = decimal(int64(r.Location.AccuracyCM), 2)
	}
	s := sightingAt(r.At, r.FirstSeenAt, r.UpdatedAt)
	return []any{
		int64(r.ID), int64(r.UserID), r.Kind.String(), when(r.At), when(r.FirstSeenAt), day(tap.Day), int64(tap.Minute),
		int64(tap.Minute) + s.minutes, latitude, longitude, accuracy, optional(r.Location.Error.String()), r.Node, bit(r.Offline),
		whenSet(r.ClaimedAt), bit(r.ClaimTrust), int64(r.ID), when(r.CreatedAt), when(r.UpdatedAt),
	}
}

func userRow(u attendance.User) []any {
	return []any{int64(u.ID), u.Name, u.Email, u.Role.String(), bit(u.Active), when(u.CreatedAt), when(u.UpdatedAt)}
}

func groupRow(g attendance.Group) []any {
	return []any{int64(g.ID), g.Name, g.Kind.String(), when(g.CreatedAt), when(g.UpdatedAt)}
}

// decimal gives n in units of 10^-places, with all places and no detour through
// floats.
func decimal(n int64, places int) string {
	sign := ""
	if n < 0 {
		n, sign = -n, "-"
	}
	s := fmt.Sprintf("%0*d", places+1, n)
	return sign + s[:len(s)-places] + "." + s[len(s)-places:]
}
