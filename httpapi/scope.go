package httpapi

import (
	"errors"
	"fmt"
	"slices"

	"hadir/attendance"
	"hadir/store"
)

// kind is what a visitor is.
type kind uint8

// Who there is.
const (
	nobody kind = iota // not signed in
	student
	teacher
	admin
	device // an API token
	kinds  // how many there are
)

var kindWords = [kinds]string{"nobody", "student", "teacher", "admin", "device"}

// String gives the word of the contract.
func (k kind) String() string { return kindWords[k] }

// kindOf says what a visitor is.
func kindOf(who *visitor) kind {
	if who == nil {
		return nobody
	}
	if who.device != nil {
		return device
	}
	switch who.user.Role {
	case attendance.Student:
		return student
	case attendance.Teacher:
		return teacher
	case attendance.Admin:
		return admin
	}
	return nobody
}

// reach is how far somebody gets on a route.
type reach uint8

const (
	reachNone  reach = iota
	reachOwn         // themselves
	reachGroup       // and the people of the groups for which they are responsible
	reachAll
)

var reachWords = [...]string{"none", "own", "group", "all"}

// String gives the word of the contract.
func (r reach) String() string { return reachWords[r] }

// subject is whose business a route is.
type subject uint8

const (
	aboutNothing subject = iota // nobody's: who may ask at all may ask for all of it
	aboutSelf                   // always that of who asks
	aboutPerson                 // a person's, whom the request names or who asks
	aboutRecord                 // that of the person whose check-in it is
	aboutGroup                  // that of those who are responsible for the group
	aboutPeople                 // a list, of which everybody gets what they reach
)

var subjectWords = [...]string{"nothing", "self", "person", "record", "group", "people"}

// String gives the word of the contract.
func (s subject) String() string { return subjectWords[s] }

// access is how far each kind of visitor gets on a route. The router refuses
// those without any reach; for the others scopeOf makes the scope that their
// reach allows, and a route with a subject whose handler never asks its scope
// answers nothing and proposes nothing.
type access struct {
	reach   [kinds]reach
	subject subject
}

// about gives the same rights on a route with a subject.
func (a access) about(s subject) access {
	a.subject = s
	return a
}

// The rights that routes have.
var (
	admins = access{reach: [kinds]reach{admin: reachAll}}
	staff  = access{reach: [kinds]reach{teacher: reachGroup, admin: reachAll}}
	// Everybody with an account.
	signedIn = access{reach: [kinds]reach{student: reachOwn, teacher: reachGroup, admin: reachAll}}
	// Everybody with an account, and only admins for somebody else.
	themselves = access{reach: [kinds]reach{student: reachOwn, teacher: reachOwn, admin: reachAll}}
	// Who may check in, themselves or others.
	tappers = access{reach: [kinds]reach{student: reachOwn, teacher: reachGroup, admin: reachAll, device: reachAll}}
	anyone  = access{reach: [kinds]reach{nobody: reachOwn, student: reachOwn, teacher: reachGroup, admin: reachAll, device: reachAll}}
)

// public reports whether nobody has to be signed in.
func (a access) public() bool { return a.reach[nobody] != reachNone }

// check gives the refusal for a visitor without any reach.
func (a access) check(who *visitor) error {
	switch kind := kindOf(who); {
	case a.reach[kind] != reachNone:
		return nil
	case kind == nobody:
		return errNoSession
	}
	return forbidden("This needs another role.")
}

// scope is whose data a visitor may see and for whom to act on this route, as
// one read transaction knows it. It is made inside of that transaction.
type scope struct {
	tx     *store.ReadTx
	who    *visitor
	viewer attendance.User
	reach  reach
	groups []uint64 // for which a teacher is responsible, or that a device names
}

// scopeOf looks the visitor up again: the read may be newer than the one that
// let them in.
func scopeOf(tx *store.ReadTx, who *visitor) (*scope, error) {
	if who.device != nil {
		return scopeOfDevice(tx, who)
	}
	u, err := tx.User(who.user.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errNoSession
	case err != nil:
		return nil, err
	case !u.Active:
		return nil, errNoSession
	}
	s := &scope{tx: tx, who: who, viewer: u, reach: who.reach}
	if u.Role != who.user.Role {
		// Their rights have changed while they asked.
		return nil, forbidden("This needs another role.")
	}
	if s.reach == reachGroup {
		s.groups = tx.GroupsOf(u.ID, store.Responsible)
	}
	return s, nil
}

// scopeOfDevice is scopeOf for a device: the people of the groups that its token
// names, or everybody when it never named any. A group that was deleted since
// has no people.
func scopeOfDevice(tx *store.ReadTx, who *visitor) (*scope, error) {
	token, err := tx.Token(who.device.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errNoSession
	case err != nil:
		return nil, err
	case token.Revoked:
		return nil, errNoSession
	}
	s := &scope{tx: tx, who: who, reach: who.reach, groups: token.Groups}
	if len(token.Groups) > 0 {
		s.reach = min(s.reach, reachGroup)
	}
	return s, nil
}

// everybody reports whether nobody is out of sight.
func (s *scope) everybody() bool {
	s.who.asked = true
	return s.reach == reachAll
}

// sees reports whether the person is within the scope.
func (s *scope) sees(user uint64) bool {
	return s.everybody() || (user == s.viewer.ID && s.who.device == nil) ||
		slices.ContainsFunc(s.groups, func(g uint64) bool {
			// At the door of a class its teachers check in too.
			return s.tx.Belongs(g, store.Member, user) || (s.who.device != nil && s.tx.Belongs(g, store.Responsible, user))
		})
}

// leads reports whether the group is one for which the viewer is responsible.
func (s *scope) leads(group uint64) bool { return s.everybody() || slices.Contains(s.groups, group) }

// need gives the refusal for a person out of scope.
func (s *scope) need(user uint64) error {
	if s.sees(user) {
		return nil
	}
	if s.who.device != nil {
		return forbidden("This device acts for the people of its own groups only.")
	}
	if s.reach == reachGroup {
		return forbidden("Teachers see and act for the people of their own groups only.")
	}
	return forbidden("This account sees and acts for itself only.")
}

// people gives the ids within the scope after one, ascending, at most limit of
// them. It is not for those who see everybody.
func (s *scope) people(after uint64, limit int) []uint64 {
	s.who.asked = true
	var ids []uint64
	if s.viewer.ID > after {
		ids = append(ids, s.viewer.ID)
	}
	for _, g := range s.groups {
		ids = append(ids, s.tx.People(g, store.Member, after, limit)...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), limit)]
}

// isSelf reports whether the visitor is that person, whom every reach includes.
func (v *visitor) isSelf(user uint64) bool {
	if v.device != nil || v.user.ID != user {
		return false
	}
	v.asked = true
	return true
}

// errNotAsked is a mistake of ours: a handler that forgot whose data it is.
var errNotAsked = errors.New("the handler did not ask its scope")

// cleared reports whether the handler may act or answer: on a route about
// somebody's data it has asked its scope by then.
func (c *call) cleared() error {
	if c.who == nil || c.who.asked || c.route == nil || c.route.access.subject <= aboutSelf {
		return nil
	}
	return fmt.Errorf("%s %s: %w", c.route.method, c.route.path, errNotAsked)
}
