package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hadir/attendance"
	"hadir/store"
)

// groupJSON is a group with all its people: a page of them is cut short rather
// than a list inside of one.
type groupJSON struct {
	ID          uint64   `json:"id"`
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Members     []uint64 `json:"members"`
	Teachers    []uint64 `json:"teachers"`
	MemberCount uint64   `json:"member_count"`
	CreatedAt   stamp    `json:"created_at"`
	UpdatedAt   stamp    `json:"updated_at"`
}

type groupStateJSON struct {
	groupJSON
	freshJSON
}

func jsonGroup(tx *store.ReadTx, g attendance.Group) groupJSON {
	return groupJSON{
		ID: g.ID, Name: g.Name, Kind: g.Kind.String(), MemberCount: g.Members, CreatedAt: stamp(g.CreatedAt), UpdatedAt: stamp(g.UpdatedAt),
		Members: everyone(tx, g.ID, store.Member), Teachers: everyone(tx, g.ID, store.Responsible),
	}
}

// everyone gives all who belong to a group in one way; there are at most
// attendance.MaxGroupMembers. It is never nil.
func everyone(tx *store.ReadTx, group uint64, part store.Part) []uint64 {
	all, after := []uint64{}, uint64(0)
	for {
		page := tx.People(group, part, after, store.MaxPage)
		all = append(all, page...)
		if len(page) < store.MaxPage {
			return all
		}
		after = page[len(page)-1]
	}
}

// maxListed is how many people the groups of one page may have in all; one group
// always fits.
const maxListed = 20_000

// groupFilter says which groups a list is about; its zero value keeps all.
type groupFilter struct {
	text string // part of a name, folded
	kind attendance.GroupKind
}

func (f groupFilter) keeps(g attendance.Group) bool {
	return (f.kind == 0 || g.Kind == f.kind) && (f.text == "" || strings.Contains(attendance.FoldEmail(g.Name), f.text))
}

func (q *query) groupFilter() groupFilter {
	f := groupFilter{text: attendance.FoldEmail(q.text("q"))}
	if s := q.text("kind"); s != "" {
		kind, ok := attendance.ParseGroupKind(s)
		if !ok {
			q.wrong("kind", "is neither class nor department")
		}
		f.kind = kind
	}
	return f
}

// getGroups lists groups by id: all for admins, those for which they are
// responsible for teachers. next_cursor alone says whether there are more.
func getGroups(c *call) error {
	q, err := c.query(append([]string{"q", "kind", "limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after, filter := q.read(), q.limit(), q.number("cursor", 1, maxID, 0), q.groupFilter()
	if err := q.done(); err != nil {
		return err
	}
	var items []groupJSON
	var next uint64
	var total *uint64
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if s.everybody() && filter == (groupFilter{}) {
			n := tx.Meta().Groups
			total = &n
		}
		groups, after, err := s.groupList(filter, after, limit)
		if err != nil {
			return err
		}
		next = after
		listed := uint64(0)
		for i, g := range groups {
			if listed += g.Members + g.Teachers; i > 0 && listed > maxListed {
				next = groups[i-1].ID
				break
			}
			items = append(items, jsonGroup(tx, g))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, peopleJSON[groupJSON]{jsonList(items, cursorOf(next), fresh), total})
}

// groupList gives the groups of the scope by id after one, and after which the
// list goes on; 0 at its end.
func (s *scope) groupList(f groupFilter, after uint64, limit int) (groups []attendance.Group, next uint64, err error) {
	return filtered(s.groupPage, f.keeps, func(g attendance.Group) uint64 { return g.ID }, after, limit)
}

// groupPage gives a full page of the groups of the scope.
func (s *scope) groupPage(after uint64) (page []attendance.Group, err error) {
	if s.everybody() {
		return s.tx.Groups(after, store.MaxPage)
	}
	first, there := slices.BinarySearch(s.groups, after)
	if there {
		first++
	}
	for _, id := range s.groups[first:min(len(s.groups), first+store.MaxPage)] {
		g, err := s.tx.Group(id)
		if err != nil {
			return nil, err
		}
		page = append(page, g)
	}
	return page, nil
}

func getGroup(c *call) error {
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
	var out groupJSON
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if !s.leads(id) {
			return errOtherGroup
		}
		g, err := tx.Group(id)
		if err != nil {
			return err
		}
		out = jsonGroup(tx, g)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, groupStateJSON{out, jsonFresh(fresh)})
}

// edit is a change of who belongs to a group in one way: the whole list, or who
// comes and who goes.
type edit struct {
	whole       *[]uint64
	add, remove []uint64
}

// edit reads one. The whole list does not go with the parts.
func (o *object) edit(field string, most int) (e edit) {
	whole, hasWhole := o.ids(field, most)
	add, hasAdd := o.ids("add_"+field, most)
	remove, hasRemove := o.ids("remove_"+field, most)
	e.add, e.remove = add, remove
	if hasWhole {
		e.whole = &whole
	}
	switch {
	case hasWhole && (hasAdd || hasRemove):
		o.wrong(field, "is the whole list and does not go with add_"+field+" or remove_"+field)
	case slices.ContainsFunc(add, func(id uint64) bool { return slices.Contains(remove, id) }):
		o.wrong("add_"+field, "and remove_"+field+" have an id in common")
	}
	return e
}

func (e edit) isZero() bool { return e.whole == nil && e.add == nil && e.remove == nil }

// diff gives who comes and who goes, where these are there now. All ascend.
func (e edit) diff(now []uint64) (add, remove []uint64) {
	if e.whole != nil {
		return minus(*e.whole, now), minus(now, *e.whole)
	}
	return minus(e.add, now), minus(e.remove, minus(e.remove, now))
}

// allows reports whether a change that was made could have been this one.
func (e edit) allows(added, removed []uint64) bool {
	if e.whole != nil {
		return len(minus(added, *e.whole)) == 0 && len(minus(removed, *e.whole)) == len(removed)
	}
	return len(minus(added, e.add)) == 0 && len(minus(removed, e.remove)) == 0
}

// minus gives ids that are not in others; both ascend.
func minus(ids, others []uint64) (rest []uint64) {
	for _, id := range ids {
		for len(others) > 0 && others[0] < id {
			others = others[1:]
		}
		if len(others) == 0 || others[0] != id {
			rest = append(rest, id)
		}
	}
	return rest
}

// groupPatch is what somebody changes of a group; the rest stays as it is.
type groupPatch struct {
	name              *string
	kind              *attendance.GroupKind
	members, teachers edit
}

// groupPatch reads one, also for a new group.
func (o *object) groupPatch() groupPatch {
	p := groupPatch{
		name: given(o.name()), members: o.edit("members", attendance.MaxGroupMembers),
		teachers: o.edit("teachers", attendance.MaxGroupTeachers),
	}
	if s, has := o.text("kind", 16); has {
		kind, ok := attendance.ParseGroupKind(s)
		if !ok {
			o.wrong("kind", "is neither class nor department")
		}
		p.kind = &kind
	}
	return p
}

func (p groupPatch) isZero() bool {
	return p.name == nil && p.kind == nil && p.members.isZero() && p.teachers.isZero()
}

// plan gives the command that makes the change to a group as it is, which may be
// too large to be one, and the group as it will be, or says what is wrong.
func (p groupPatch) plan(tx *store.ReadTx, g attendance.Group) (b attendance.PutGroup, will groupJSON, err error) {
	b = attendance.PutGroup{GroupID: g.ID, Name: g.Name, Kind: g.Kind}
	set(&b.Name, p.name)
	set(&b.Kind, p.kind)
	will = jsonGroup(tx, g)
	b.AddMembers, b.RemoveMembers = p.members.diff(will.Members)
	b.AddTeachers, b.RemoveTeachers = p.teachers.diff(will.Teachers)
	if err := errors.Join(checkPeople(tx, "members", b.AddMembers, false), checkPeople(tx, "teachers", b.AddTeachers, true)); err != nil {
		return b, will, err
	}
	will.Name, will.Kind = b.Name, b.Kind.String()
	will.Members = with(minus(will.Members, b.RemoveMembers), b.AddMembers)
	will.Teachers = with(minus(will.Teachers, b.RemoveTeachers), b.AddTeachers)
	will.MemberCount = uint64(len(will.Members))
	if len(will.Members) > attendance.MaxGroupMembers || len(will.Teachers) > attendance.MaxGroupTeachers {
		return b, will, refusal(attendance.Outcome{Status: attendance.RejectedStatus, Reason: attendance.GroupFull})
	}
	return b, will, nil
}

// with gives two sets as one; it is never nil.
func with(ids, others []uint64) []uint64 {
	all := append(append([]uint64{}, ids...), others...)
	slices.Sort(all)
	return slices.Compact(all)
}

// checkPeople finds those who cannot be in a group in that way.
func checkPeople(tx *store.ReadTx, field string, ids []uint64, teachers bool) error {
	var wrong []fieldError
	for _, id := range ids {
		u, err := tx.User(id)
		switch {
		case isNotFound(err):
			wrong = append(wrong, fieldError{field, fmt.Sprintf("names %d, who is nobody", id)})
		case err != nil:
			return err
		case teachers && u.Role == attendance.Student:
			wrong = append(wrong, fieldError{field, fmt.Sprintf("names %d, who is a student", id)})
		}
	}
	if wrong != nil {
		return invalidBody(wrong[:min(len(wrong), maxFieldErrors)]...)
	}
	return nil
}

// maxCommandIDs is how many people one command may name: as many of the longest
// ids and a name fit into attendance.MaxCommandBytes.
const maxCommandIDs = 350

// split cuts a command into some that are small enough, those who go first, so
// that no part of it fills a group that the whole does not.
func split(b attendance.PutGroup) (parts []attendance.PutGroup) {
	for {
		part := attendance.PutGroup{GroupID: b.GroupID, Name: b.Name, Kind: b.Kind}
		room := maxCommandIDs
		for _, list := range []struct{ from, to *[]uint64 }{
			{&b.RemoveMembers, &part.RemoveMembers}, {&b.RemoveTeachers, &part.RemoveTeachers},
			{&b.AddMembers, &part.AddMembers}, {&b.AddTeachers, &part.AddTeachers},
		} {
			n := min(room, len(*list.from))
			if n > 0 {
				*list.to, *list.from = (*list.from)[:n], (*list.from)[n:]
			}
			room -= n
		}
		parts = append(parts, part)
		if room > 0 || len(b.AddMembers)+len(b.AddTeachers)+len(b.RemoveMembers)+len(b.RemoveTeachers) == 0 {
			return parts
		}
	}
}

// postGroup creates a group with its people.
func postGroup(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	for _, field := range []string{"add_members", "remove_members", "add_teachers", "remove_teachers"} {
		if _, there := in.raw[field]; there {
			in.wrong(field, "is for a group that there is already")
		}
	}
	p := in.groupPatch()
	in.need("name", p.name != nil)
	in.need("kind", p.kind != nil)
	if err := in.done(); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	will, err := c.createGroup(key, p)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", fmt.Sprintf("%s/groups/%d", apiPrefix, will.ID))
	return c.json(http.StatusCreated, will)
}

// createGroup has a group with its people made under a key.
func (c *call) createGroup(key string, p groupPatch) (will groupJSON, err error) {
	var b attendance.PutGroup
	if err := c.api.newest(c.r.Context(), func(tx *store.ReadTx) (err error) {
		b, will, err = p.plan(tx, attendance.Group{})
		return err
	}); err != nil {
		return will, notDone(key, err)
	}
	create := key
	if large := len(split(b)) > 1; large {
		// It is made empty first, under a key that follows from the request's, so
		// that the same request sent again goes on with the same group.
		create += ".group"
		b = attendance.PutGroup{Name: b.Name, Kind: b.Kind}
	}
	result, err := c.step(key, create, b)
	if err != nil {
		return will, err
	}
	will.ID, will.CreatedAt, will.UpdatedAt = result.Outcome.ID, stamp(result.Outcome.DecideAt), stamp(result.Outcome.DecideAt)
	if create == key {
		c.keyed(key, result.Outcome.Replayed)
	} else if will, err = c.changeGroup(key, will.ID, p); err != nil {
		return will, partly(err)
	}
	return will, nil
}

func patchGroup(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.object()
	if err != nil {
		return err
	}
	p := in.groupPatch()
	if err := in.done(); err != nil {
		return err
	}
	if p.isZero() {
		return invalidField("", "names nothing to change")
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	will, err := c.changeGroup(key, id, p)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, will)
}

// changeGroup changes some of a group and gives it as it is then. People come
// and go one by one whatever else happens; of two names at the same moment the
// later one holds.
//
// The last part of a large change has the request's key: while that is not
// decided, the same request goes on from how the group is by then.
func (c *call) changeGroup(key string, id uint64, p groupPatch) (will groupJSON, err error) {
	var b attendance.PutGroup
	replayed := false
	err = c.api.newest(c.r.Context(), func(tx *store.ReadTx) error {
		g, err := tx.Group(id)
		if err != nil {
			return err
		}
		before, known, err := decidedGroup(tx, c.who, key)
		switch {
		case err != nil:
			return err
		case !known:
			b, will, err = p.plan(tx, g)
			return err
		case before.Group.ID != id || !p.allows(before):
			return refusal(attendance.Outcome{Status: attendance.RejectedStatus, Reason: attendance.KeyReused})
		}
		will, replayed = jsonGroup(tx, g), true
		return nil
	})
	switch {
	case isNotFound(err):
		return will, err
	case err != nil:
		return will, notDone(key, err)
	case replayed:
		c.keyed(key, true)
		return will, nil
	}
	at, err := c.putGroup(key, split(b))
	if err != nil {
		return will, err
	}
	will.UpdatedAt = stamp(at)
	c.keyed(key, false)
	return will, nil
}

// decidedGroup gives the change of a group that was decided under a key.
func decidedGroup(tx *store.ReadTx, who *visitor, key string) (change attendance.GroupChange, known bool, err error) {
	row, known, err := tx.Key(who.principal(), key)
	if err != nil || !known {
		return change, false, err
	}
	e, err := tx.Event(row.Seq)
	if err != nil {
		return change, false, err
	}
	change, _ = e.Detail.(attendance.GroupChange) // or of no group, which nothing allows
	return change, true, nil
}

// allows reports whether a change that was made could have been this one.
func (p groupPatch) allows(c attendance.GroupChange) bool {
	return (p.name == nil || *p.name == c.Group.Name) && (p.kind == nil || *p.kind == c.Group.Kind) &&
		p.members.allows(c.AddedMembers, c.RemovedMembers) && p.teachers.allows(c.AddedTeachers, c.RemovedTeachers)
}

// putGroup has the parts of a change decided one after another, the last one
// under the request's key, and says when that was.
func (c *call) putGroup(key string, parts []attendance.PutGroup) (at attendance.Millis, err error) {
	for i, part := range parts {
		under := key
		if i < len(parts)-1 {
			if under, err = newKey(c.api.Clock.Now(), c.api.Rand); err != nil {
				return 0, err
			}
		}
		result, err := c.step(key, under, part)
		switch {
		case err != nil && i > 0:
			return 0, partly(err)
		case err != nil:
			return 0, err
		}
		at = result.Outcome.DecideAt
	}
	return at, nil
}

// partly says that what failed had begun: then it is no "nothing was recorded".
func partly(err error) error {
	p := problemOf(err)
	if p.Status < http.StatusInternalServerError {
		return err
	}
	out := newProblem(codePartlyDone, "Some of the people were changed and the others were not. Send the same request again, "+
		"under the same idempotency key: it goes on where it stopped.")
	out.Key, out.cause = p.Key, err
	return out
}

// deleteGroup removes a group; its people stay.
func deleteGroup(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	if err := c.removeGroup(key, id); err != nil {
		return err
	}
	return c.empty()
}

// removeGroup has a group removed under a key. One with too many people for a
// single command is emptied first.
func (c *call) removeGroup(key string, id uint64) error {
	var empty []attendance.PutGroup
	err := c.api.newest(c.r.Context(), func(tx *store.ReadTx) error {
		g, err := tx.Group(id)
		if isNotFound(err) {
			if before, known, err := decidedGroup(tx, c.who, key); err != nil || (known && before.Group.ID == id) {
				return err
			}
		}
		if err != nil || g.Members+g.Teachers <= attendance.MaxDeletedMembers {
			return err
		}
		nobody := edit{whole: new([]uint64)}
		b, _, err := groupPatch{members: nobody, teachers: nobody}.plan(tx, g)
		empty = split(b)
		return err
	})
	if isNotFound(err) {
		return err
	}
	if err != nil {
		return notDone(key, err)
	}
	for i, part := range empty {
		under, err := newKey(c.api.Clock.Now(), c.api.Rand)
		if err != nil {
			return err
		}
		if _, err := c.step(key, under, part); err != nil {
			if i > 0 {
				return partly(err)
			}
			return err
		}
	}
	if _, err := c.changeUnder(key, attendance.DeleteGroup{GroupID: id}); err != nil {
		if len(empty) > 0 {
			return partly(err)
		}
		return err
	}
	return nil
}
