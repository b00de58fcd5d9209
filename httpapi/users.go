package httpapi

import (
	"net/http"
	"strconv"

	"hadir/attendance"
	"hadir/store"
)

// getUsers lists people by id: all for admins, those of their groups and
// themselves for teachers.
func getUsers(c *call) error {
	q, err := c.query(append([]string{"limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after := q.read(), q.limit(), q.number("cursor", 1, maxID, 0)
	if err := q.done(); err != nil {
		return err
	}
	var users []attendance.User
	more := false
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		users, more, err = s.users(after, limit)
		return err
	})
	if err != nil {
		return err
	}
	items := make([]userJSON, len(users))
	for i, u := range users {
		items[i] = jsonUser(u)
	}
	next := ""
	if more {
		next = strconv.FormatUint(users[len(users)-1].ID, 10)
	}
	return c.json(http.StatusOK, jsonList(items, next, fresh))
}

// users gives the people of the scope by id after one, and whether there are
// more.
func (s *scope) users(after uint64, limit int) (users []attendance.User, more bool, err error) {
	if s.everybody() {
		users, err = s.tx.Users(after, limit)
		if err == nil && len(users) == limit {
			rest, err := s.tx.Users(users[limit-1].ID, 1)
			return users, len(rest) > 0, err
		}
		return users, false, err
	}
	ids := s.people(after, limit+1)
	more = len(ids) > limit
	for _, id := range ids[:min(limit, len(ids))] {
		u, err := s.tx.User(id)
		if err != nil {
			return nil, false, err
		}
		users = append(users, u)
	}
	return users, more, nil
}
