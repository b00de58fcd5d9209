package httpapi

import (
	"fmt"
	"net/http"
	"strconv"

	"hadir/attendance"
	"hadir/httpapi/password"
	"hadir/store"
	"hadir/ui"
)

const peoplePath = "/admin/people"

// peoplePage lists people by id, with a form for somebody new.
func peoplePage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showPeople(http.StatusOK, ui.People{Form: form, New: ui.Person{Role: attendance.Student.String()}})
}

// showPeople shows the list around a form.
func (c *call) showPeople(status int, d ui.People) error {
	q, err := c.pageQuery("q", "role", "active", "cursor")
	if err != nil {
		return err
	}
	filter, after, how := q.userFilter(), q.number("cursor", 1, maxID, 0), c.landed(q)
	d.Query, d.Role, d.Active, d.Done = q.text("q"), q.text("role"), q.text("active"), q.text("did")
	if err := q.done(); err != nil {
		return err
	}
	d.Narrowed = !filter.isZero()
	same := []string{"q", d.Query, "role", d.Role, "active", d.Active}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		if !d.Narrowed {
			d.Total = tx.Meta().Users
		}
		users, next, err := s.users(filter, after, defaultLimit)
		if err != nil {
			return err
		}
		for _, u := range users {
			d.Rows = append(d.Rows, uiPerson(u))
		}
		if next != 0 {
			d.Older = address(peoplePath, append(same, "cursor", cursorOf(next))...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if after != 0 {
		d.Newest = address(peoplePath, same...)
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

// createPersonPage creates somebody.
func createPersonPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	b, word, err := in.newUser()
	var u attendance.User
	var replayed bool
	if err == nil {
		u, replayed, err = c.createUser(in.key, b, word)
	}
	if err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showPeople(status, ui.People{Form: form, Open: true, New: in.person()})
	}
	done := "created"
	if replayed && word != "" {
		done = "created_before" // with the password of that time
	}
	return c.did(personPath(u.ID), done)
}

// person gives what a form says of somebody, whatever it is.
func (p *posted) person() ui.Person {
	return ui.Person{Name: p.says("name"), Email: p.says("email"), Role: p.says("role")}
}

func personPath(id uint64) string { return fmt.Sprintf("%s/%d", peoplePath, id) }

// personPage shows somebody and what may be done to them.
func personPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showPerson(http.StatusOK, ui.PersonPage{Form: form})
}

// showPerson shows them around forms, of which one may have been sent.
func (c *call) showPerson(status int, d ui.PersonPage) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	q, err := c.pageQuery()
	if err != nil {
		return err
	}
	how := c.landed(q)
	d.Done = q.text("did")
	if err := q.done(); err != nil {
		return err
	}
	d.Self = id == c.who.user.ID
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		u, err := tx.User(id)
		if err != nil {
			return err
		}
		d.Person, d.HasPassword = uiPerson(u), tx.PasswordHash(id) != ""
		zone := site(tx.Params().Zone)
		d.Created, d.Updated = zone.at(u.CreatedAt), zone.at(u.UpdatedAt)
		groups, err := memberships(tx, id)
		for _, g := range groups {
			d.Groups = append(d.Groups, ui.Membership{ID: g.ID, Name: g.Name, As: g.As})
		}
		return err
	})
	if err != nil {
		return err
	}
	if d.Act != "edit" {
		d.Edit = d.Person
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

// personForm reads a form of somebody's page, has it done, and shows the page
// again when it was not.
func (c *call) personForm(act, done string, do func(in *posted, id uint64) error) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.posted()
	if err != nil {
		return err
	}
	if err := do(in, id); err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showPerson(status, ui.PersonPage{Form: form, Act: act, Edit: in.person()})
	}
	return c.did(personPath(id), done)
}

// editPersonPage changes the name, the address and the role.
func editPersonPage(c *call) error {
	return c.personForm("edit", "changed", func(in *posted, id uint64) error {
		p := userPatch{name: given(in.name()), email: given(in.email()), role: given(in.role())}
		in.need("name", p.name != nil)
		in.need("email", p.email != nil)
		in.need("role", p.role != nil)
		if err := in.done(); err != nil {
			return err
		}
		_, err := c.changeUser(in.under("edit"), id, p)
		return err
	})
}

// activePersonPage lets somebody's rights end, or begin again.
func activePersonPage(c *call) error {
	return c.personForm("active", "changed", func(in *posted, id uint64) error {
		active := in.values.Get("active") == "true"
		if !active && in.values.Get("active") != "false" {
			return invalidField("active", "is neither true nor false")
		}
		if err := c.mayChange(id); err != nil {
			return err
		}
		if active {
			_, err := c.changeUser(in.under("activate"), id, userPatch{active: &active})
			return err
		}
		_, err := c.changeUnder(in.under("deactivate"), attendance.DeactivateUser{UserID: id})
		return err
	})
}

// endSessionsPage signs somebody out everywhere.
func endSessionsPage(c *call) error {
	return c.personForm("sessions", "sessions_ended", func(in *posted, id uint64) error {
		if err := c.mayChange(id); err != nil {
			return err
		}
		_, err := c.changeUnder(in.under("sessions"), attendance.BumpSessionEpoch{UserID: id})
		return err
	})
}

// passwordPage sets somebody's password; for oneself the current one is needed.
// The key is never used twice: a second attempt may have another password in it.
func passwordPage(c *call) error {
	return c.personForm("password", "password_set", func(in *posted, id uint64) error {
		word, hasWord := in.newPassword()
		in.need("password", hasWord)
		current, hasCurrent := in.text("current_password", password.MaxLen)
		self := id == c.who.user.ID
		if self {
			in.need("current_password", hasCurrent)
		}
		if err := in.done(); err != nil {
			return err
		}
		if err := c.mayChange(id); err != nil {
			return err
		}
		if self {
			if err := c.confirm(id, current); err != nil {
				return err
			}
		}
		key, err := newKey(c.api.Clock.Now(), c.api.Rand)
		if err != nil {
			return err
		}
		result, err := c.setPassword(key, id, word)
		if err == nil && self {
			_, _, err = c.staySignedIn(result)
		}
		return err
	})
}

// mostMeant is how many people are offered when a text may mean more than one.
const mostMeant = 20

// meant gives the people whom a text may mean: the one with that number, that
// address or exactly that name, or else all in whose name or address it is. more
// says that there are others.
func (s *scope) meant(text string) (found []attendance.User, more bool, err error) {
	if id, wrong := strconv.ParseUint(text, 10, 63); wrong == nil {
		u, err := s.tx.User(id)
		return onlyOne(u, err)
	}
	if u, err := s.tx.UserByEmail(text); !isNotFound(err) {
		return onlyOne(u, err)
	}
	found, next, err := s.users(userFilter{text: attendance.FoldEmail(text)}, 0, mostMeant)
	if err != nil || next != 0 {
		return found, next != 0, err
	}
	var exactly []attendance.User
	for _, u := range found {
		if attendance.FoldEmail(u.Name) == attendance.FoldEmail(text) {
			exactly = append(exactly, u)
		}
	}
	if len(exactly) > 0 {
		found = exactly
	}
	return found, false, nil
}

// onlyOne gives a single find, or none.
func onlyOne(u attendance.User, err error) ([]attendance.User, bool, error) {
	if isNotFound(err) {
		return nil, false, nil
	}
	return []attendance.User{u}, false, err
}
