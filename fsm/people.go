package fsm

import (
	"errors"

	"hadir/attendance"
	"hadir/store"
)

// user gives a user; ok is false when there is none.
func (a *act) user(id uint64) (u attendance.User, ok bool, err error) { return found(a.User(id)) }

// found turns ErrNotFound into ok = false.
func found[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, store.ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

func (a *act) putUser(b attendance.PutUser) (attendance.Outcome, error) {
	now := a.Meta().Clock
	typ := attendance.UserUpdated
	old := attendance.User{CreatedAt: now}
	if b.UserID == 0 {
		typ = attendance.UserCreated
	} else {
		u, ok, err := a.user(b.UserID)
		if err != nil {
			return attendance.Outcome{}, err
		}
		if !ok {
			return a.refuse(attendance.UnknownUser, b.UserID)
		}
		old = u
	}
	if holder, taken, err := found(a.UserByEmail(b.Email)); err != nil {
		return attendance.Outcome{}, err
	} else if taken && holder.ID != b.UserID {
		return a.refuse(attendance.EmailTaken, b.UserID)
	}
	u := old
	u.Name, u.Email, u.Role, u.Active, u.UpdatedAt = b.Name, b.Email, b.Role, b.Active, now
	if a.losesLastAdmin(old, u) {
		return a.refuse(attendance.LastAdmin, b.UserID)
	}
	if u.Role == attendance.Student && old.ID != 0 && len(a.GroupsOf(old.ID, store.Responsible)) > 0 {
		return a.refuse(attendance.NotATeacher, b.UserID) // responsible for a group: take that away first
	}
	if endsSessions(old, u, b.PasswordHash) {
		u.SessionEpoch++
	}
	if b.UserID == 0 {
		a.SetMeta(func(m *store.Meta) {
			u.ID = m.NextUser
			m.NextUser++
			m.Users++
		})
	}
	if err := a.saveUser(u, old); err != nil {
		return attendance.Outcome{}, err
	}
	if b.PasswordHash != "" {
		if err := a.PutPasswordHash(u.ID, b.PasswordHash); err != nil {
			return attendance.Outcome{}, err
		}
	}
	return a.decide(typ, attendance.UserChange{User: u})
}

// endsSessions reports whether a change voids the sessions of a user who was
// there before: a new password, or the end of the account.
func endsSessions(old, u attendance.User, passwordHash string) bool {
	return old.ID != 0 && (passwordHash != "" || (old.Active && !u.Active))
}

func isAdmin(u attendance.User) bool { return u.ID != 0 && u.Active && u.Role == attendance.Admin }

// losesLastAdmin reports whether nobody would be left to administer.
func (a *act) losesLastAdmin(old, u attendance.User) bool {
	return isAdmin(old) && !isAdmin(u) && a.Meta().Admins == 1
}

// saveUser stores a user and keeps the number of administrators.
func (a *act) saveUser(u, old attendance.User) error {
	a.SetMeta(func(m *store.Meta) {
		if isAdmin(old) {
			m.Admins--
		}
		if isAdmin(u) {
			m.Admins++
		}
	})
	return a.PutUser(u, old)
}

func (a *act) deactivateUser(b attendance.DeactivateUser) (attendance.Outcome, error) {
	old, ok, err := a.user(b.UserID)
	switch {
	case err != nil:
		return attendance.Outcome{}, err
	case !ok:
		return a.refuse(attendance.UnknownUser, b.UserID)
	}
	u := old
	u.Active, u.UpdatedAt = false, a.Meta().Clock
	if a.losesLastAdmin(old, u) {
		return a.refuse(attendance.LastAdmin, b.UserID)
	}
	if endsSessions(old, u, "") {
		u.SessionEpoch++
	}
	if err := a.saveUser(u, old); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(attendance.UserDeactivated, attendance.UserChange{User: u})
}

func (a *act) setPassword(b attendance.SetPassword) (attendance.Outcome, error) {
	u, ok, err := a.user(b.UserID)
	switch {
	case err != nil:
		return attendance.Outcome{}, err
	case !ok:
		return a.refuse(attendance.UnknownUser, b.UserID)
	}
	if err := a.PutPasswordHash(b.UserID, b.PasswordHash); err != nil {
		return attendance.Outcome{}, err
	}
	return a.endSessions(attendance.PasswordSet, u)
}

func (a *act) bumpSessionEpoch(b attendance.BumpSessionEpoch) (attendance.Outcome, error) {
	if b.UserID == 0 {
		var epoch uint64
		a.SetMeta(func(m *store.Meta) {
			m.SessionEpoch++
			epoch = m.SessionEpoch
		})
		return a.decide(attendance.SessionsEnded, attendance.SessionsChange{Epoch: epoch})
	}
	u, ok, err := a.user(b.UserID)
	switch {
	case err != nil:
		return attendance.Outcome{}, err
	case !ok:
		return a.refuse(attendance.UnknownUser, b.UserID)
	}
	return a.endSessions(attendance.SessionsEnded, u)
}

// endSessions voids the sessions of a user.
func (a *act) endSessions(typ attendance.EventType, old attendance.User) (attendance.Outcome, error) {
	u := old
	u.SessionEpoch++
	u.UpdatedAt = a.Meta().Clock
	if err := a.PutUser(u, old); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(typ, attendance.SessionsChange{UserID: u.ID, Epoch: u.SessionEpoch})
}

func (a *act) putGroup(b attendance.PutGroup) (attendance.Outcome, error) {
	now := a.Meta().Clock
	typ := attendance.GroupUpdated
	g := attendance.Group{CreatedAt: now}
	if b.GroupID == 0 {
		typ = attendance.GroupCreated
	} else {
		old, ok, err := found(a.Group(b.GroupID))
		if err != nil {
			return attendance.Outcome{}, err
		}
		if !ok {
			return a.refuse(attendance.UnknownGroup, b.GroupID)
		}
		g = old
	}
	// Everything is checked before anything is written: a refusal leaves no trace
	// but its event.
	for _, id := range b.AddMembers {
		if _, ok, err := a.user(id); err != nil {
			return attendance.Outcome{}, err
		} else if !ok {
			return a.refuse(attendance.UnknownUser, id)
		}
	}
	for _, id := range b.AddTeachers {
		u, ok, err := a.user(id)
		switch {
		case err != nil:
			return attendance.Outcome{}, err
		case !ok:
			return a.refuse(attendance.UnknownUser, id)
		case u.Role == attendance.Student:
			return a.refuse(attendance.NotATeacher, id)
		}
	}
	change := attendance.GroupChange{
		RemovedMembers:  a.filter(b.GroupID, store.Member, b.RemoveMembers, true),
		RemovedTeachers: a.filter(b.GroupID, store.Responsible, b.RemoveTeachers, true),
		AddedMembers:    without(a.filter(b.GroupID, store.Member, b.AddMembers, false), b.RemoveMembers),
		AddedTeachers:   without(a.filter(b.GroupID, store.Responsible, b.AddTeachers, false), b.RemoveTeachers),
	}
	g.Members += uint64(len(change.AddedMembers)) - uint64(len(change.RemovedMembers))
	g.Teachers += uint64(len(change.AddedTeachers)) - uint64(len(change.RemovedTeachers))
	if g.Members > attendance.MaxGroupMembers || g.Teachers > attendance.MaxGroupTeachers {
		return a.refuse(attendance.GroupFull, b.GroupID)
	}
	g.Name, g.Kind, g.UpdatedAt = b.Name, b.Kind, now
	if b.GroupID == 0 {
		a.SetMeta(func(m *store.Meta) {
			g.ID = m.NextGroup
			m.NextGroup++
			m.Groups++
		})
	}
	change.Group = g
	if err := a.saveGroup(change); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(typ, change)
}

// filter gives the ids that belong to the group (or do not), in order.
func (a *act) filter(group uint64, part store.Part, ids []uint64, belong bool) []uint64 {
	var out []uint64
	for _, id := range ids {
		if a.Belongs(group, part, id) == belong {
			out = append(out, id)
		}
	}
	return out
}

// without gives ids that are not in gone; both ascend.
func without(ids, gone []uint64) []uint64 {
	var out []uint64
	for _, id := range ids {
		for len(gone) > 0 && gone[0] < id {
			gone = gone[1:]
		}
		if len(gone) == 0 || gone[0] != id {
			out = append(out, id)
		}
	}
	return out
}

func (a *act) saveGroup(c attendance.GroupChange) error {
	if err := a.PutGroup(c.Group); err != nil {
		return err
	}
	for _, step := range []struct {
		part store.Part
		ids  []uint64
		do   func(uint64, store.Part, uint64) error
	}{
		{store.Member, c.RemovedMembers, a.Leave},
		{store.Responsible, c.RemovedTeachers, a.Leave},
		{store.Member, c.AddedMembers, a.Join},
		{store.Responsible, c.AddedTeachers, a.Join},
	} {
		for _, id := range step.ids {
			if err := step.do(c.Group.ID, step.part, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *act) deleteGroup(b attendance.DeleteGroup) (attendance.Outcome, error) {
	g, ok, err := found(a.Group(b.GroupID))
	switch {
	case err != nil:
		return attendance.Outcome{}, err
	case !ok:
		return a.refuse(attendance.UnknownGroup, b.GroupID)
	case g.Members+g.Teachers > attendance.MaxDeletedMembers:
		return a.refuse(attendance.GroupNotEmpty, b.GroupID)
	}
	if err := a.DeleteGroup(g.ID); err != nil {
		return attendance.Outcome{}, err
	}
	a.SetMeta(func(m *store.Meta) { m.Groups-- })
	return a.decide(attendance.GroupDeleted, attendance.GroupChange{Group: g})
}

func (a *act) putToken(b attendance.PutToken) (attendance.Outcome, error) {
	now := a.Meta().Clock
	typ := attendance.TokenUpdated
	var old attendance.Token
	token := attendance.Token{CreatedAt: now}
	if b.TokenID == 0 {
		typ = attendance.TokenCreated
	} else {
		t, ok, err := found(a.Token(b.TokenID))
		if err != nil {
			return attendance.Outcome{}, err
		}
		if !ok || t.Revoked {
			return a.refuse(attendance.UnknownToken, b.TokenID)
		}
		old, token = t, t
	}
	for _, id := range b.Groups {
		if _, ok, err := found(a.Group(id)); err != nil {
			return attendance.Outcome{}, err
		} else if !ok {
			return a.refuse(attendance.UnknownGroup, id)
		}
	}
	if len(b.Hash) > 0 {
		token.Hash = [32]byte(b.Hash)
		if holder, taken, err := found(a.TokenByHash(token.Hash)); err != nil {
			return attendance.Outcome{}, err
		} else if taken && holder.ID != b.TokenID {
			return a.refuse(attendance.TokenTaken, b.TokenID)
		}
	}
	token.Name, token.Groups, token.UpdatedAt = b.Name, b.Groups, now
	if b.TokenID == 0 {
		a.SetMeta(func(m *store.Meta) {
			token.ID = m.NextToken
			m.NextToken++
		})
	}
	return a.saveToken(typ, token, old)
}

func (a *act) revokeToken(b attendance.RevokeToken) (attendance.Outcome, error) {
	old, ok, err := found(a.Token(b.TokenID))
	switch {
	case err != nil:
		return attendance.Outcome{}, err
	case !ok:
		return a.refuse(attendance.UnknownToken, b.TokenID)
	}
	token := old
	token.Revoked, token.UpdatedAt = true, a.Meta().Clock
	return a.saveToken(attendance.TokenRevoked, token, old)
}

func (a *act) saveToken(typ attendance.EventType, token, old attendance.Token) (attendance.Outcome, error) {
	if err := a.PutToken(token, old); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(typ, attendance.TokenChange{
		ID: token.ID, Name: token.Name, Groups: token.Groups, Revoked: token.Revoked,
	})
}
