package httpapi

import (
	"errors"
	"slices"

	"hadir/attendance"
	"hadir/store"
)

// access is the set of those who may use a route.
type access uint8

// Who there is, and the sets that routes name.
const (
	nobody access = 1 << iota // not signed in
	student
	teacher
	admin
	device

	admins   = admin
	staff    = teacher | admin
	signedIn = student | staff
	tappers  = signedIn | device // who may check in, themselves or others
	anyone   = nobody | tappers
)

// kindOf says which of them a visitor is.
func kindOf(who *visitor) access {
	if who == nil {
		return nobody
	}
	switch who.user.Role {
	case attendance.Student:
		return student
	case attendance.Teacher:
		return teacher
	case attendance.Admin:
		return admin
	}
	return 0
}

func (a access) check(who *visitor) error {
	switch kind := kindOf(who); {
	case a&kind != 0:
		return nil
	case kind == nobody:
		return errNoSession
	}
	return forbidden("This needs another role.")
}

// scope is whose data a visitor may see and for whom to act, as one read
// transaction knows it. It is made inside of that transaction.
type scope struct {
	tx     *store.ReadTx
	viewer attendance.User
	groups []uint64 // for which a teacher is responsible
}

// scopeOf looks the visitor up again: the read may be newer than the one that
// let them in.
func scopeOf(tx *store.ReadTx, who *visitor) (*scope, error) {
	u, err := tx.User(who.user.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errNoSession
	case err != nil:
		return nil, err
	case !u.Active:
		return nil, errNoSession
	}
	s := &scope{tx: tx, viewer: u}
	if u.Role == attendance.Teacher {
		s.groups = tx.GroupsOf(u.ID, store.Responsible)
	}
	return s, nil
}

// everybody reports whether nobody is out of sight.
func (s *scope) everybody() bool { return s.viewer.Role == attendance.Admin }

// sees reports whether the person is within the scope.
func (s *scope) sees(user uint64) bool {
	return s.everybody() || user == s.viewer.ID ||
		slices.ContainsFunc(s.groups, func(g uint64) bool { return s.tx.Belongs(g, store.Member, user) })
}

// need gives the refusal for a person out of scope.
func (s *scope) need(user uint64) error {
	if s.sees(user) {
		return nil
	}
	if s.viewer.Role == attendance.Student {
		return forbidden("Students see and act for themselves only.")
	}
	return forbidden("Teachers see and act for the people of their own groups only.")
}

// people gives the ids within the scope after one, ascending, at most limit of
// them. It is not for admins, who see everybody.
func (s *scope) people(after uint64, limit int) []uint64 {
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
