package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"hadir/attendance"
	"hadir/store"
	"hadir/ui"
)

const groupsPath = "/admin/groups"

// adminGroupsPage lists groups by id, with a form for a new one.
func adminGroupsPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showGroups(http.StatusOK, ui.GroupList{Form: form, Kind: attendance.Class.String()})
}

// showGroups shows the list around a form.
func (c *call) showGroups(status int, d ui.GroupList) error {
	q, err := c.pageQuery("q", "kind", "cursor")
	if err != nil {
		return err
	}
	filter, after, how := q.groupFilter(), q.number("cursor", 1, maxID, 0), c.landed(q)
	d.Query, d.Only, d.Done = q.text("q"), q.text("kind"), q.text("did")
	if err := q.done(); err != nil {
		return err
	}
	d.Narrowed = filter != groupFilter{}
	same := []string{"q", d.Query, "kind", d.Only}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		if !d.Narrowed {
			d.Total = tx.Meta().Groups
		}
		groups, next, err := s.groupList(filter, after, defaultLimit)
		for _, g := range groups {
			d.Rows = append(d.Rows, uiGroup(g))
		}
		if next != 0 {
			d.Older = address(groupsPath, append(same, "cursor", cursorOf(next))...)
		}
		return err
	})
	if err != nil {
		return err
	}
	if after != 0 {
		d.Newest = address(groupsPath, same...)
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

func uiGroup(g attendance.Group) ui.AdminGroup {
	return ui.AdminGroup{ID: g.ID, Name: g.Name, Kind: g.Kind.String(), Members: g.Members, Teachers: g.Teachers}
}

func groupPath(id uint64) string { return fmt.Sprintf("%s/%d", groupsPath, id) }

// createGroupPage creates a group without people.
func createGroupPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	var will groupJSON
	p, err := in.nameAndKind()
	if err == nil {
		will, err = c.createGroup(in.key, p)
	}
	if err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showGroups(status, ui.GroupList{Form: form, Open: true, Name: in.says("name"), Kind: in.says("kind")})
	}
	return c.did(groupPath(will.ID), "created")
}

// nameAndKind reads the fields that every group has.
func (p *posted) nameAndKind() (groupPatch, error) {
	g := p.groupPatch()
	p.need("name", g.name != nil)
	p.need("kind", g.kind != nil)
	return g, p.done()
}

// adminGroupPage shows a group and what may be done to it.
func adminGroupPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showGroup(http.StatusOK, ui.GroupPage{Form: form, As: membershipMember})
}

// How somebody belongs to a group.
const (
	membershipMember  = "member"
	membershipTeacher = "teacher"
)

// showGroup shows it around forms, of which one may have been sent.
func (c *call) showGroup(status int, d ui.GroupPage) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	q, err := c.pageQuery("cursor")
	if err != nil {
		return err
	}
	after, how := q.number("cursor", 1, maxID, 0), c.landed(q)
	d.Done = q.text("did")
	if err := q.done(); err != nil {
		return err
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, _ *scope) error {
		g, err := tx.Group(id)
		if err != nil {
			return err
		}
		d.Group = uiGroup(g)
		members := tx.People(id, store.Member, after, store.MaxPage)
		if d.Members, err = peopleRows(tx, members); err != nil {
			return err
		}
		if n := len(members); n == store.MaxPage && len(tx.People(id, store.Member, members[n-1], 1)) > 0 {
			d.Older = address(groupPath(id), "cursor", cursorOf(members[n-1]))
		}
		d.Teachers, err = peopleRows(tx, everyone(tx, id, store.Responsible))
		return err
	})
	if err != nil {
		return err
	}
	if after != 0 {
		d.Newest = groupPath(id)
	}
	if d.Act != "edit" {
		d.Edit = d.Group
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

func peopleRows(tx *store.ReadTx, ids []uint64) (rows []ui.Person, err error) {
	for _, id := range ids {
		u, err := tx.User(id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, uiPerson(u))
	}
	return rows, nil
}

// groupForm reads a form of a group's page and has it done.
func (c *call) groupForm(act string, do func(in *posted, id uint64) (shown *ui.GroupPage, err error)) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.posted()
	if err != nil {
		return err
	}
	shown, err := do(in, id)
	switch {
	case err != nil:
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showGroup(status, ui.GroupPage{
			Form: form, Act: act, Edit: ui.AdminGroup{Name: in.says("name"), Kind: in.says("kind")}, Who: in.says("who"), As: in.says("as"),
		})
	case shown != nil:
		return c.showGroup(http.StatusUnprocessableEntity, *shown)
	case act == "delete":
		return c.did(groupsPath, "deleted")
	}
	return c.did(groupPath(id), "changed")
}

// editGroupPage changes the name and the kind.
func editGroupPage(c *call) error {
	return c.groupForm("edit", func(in *posted, id uint64) (*ui.GroupPage, error) {
		p, err := in.nameAndKind()
		if err != nil {
			return nil, err
		}
		_, err = c.changeGroup(in.under("edit"), id, p)
		return nil, err
	})
}

// deleteGroupPage removes a group; its people stay.
func deleteGroupPage(c *call) error {
	return c.groupForm("delete", func(in *posted, id uint64) (*ui.GroupPage, error) {
		return nil, c.removeGroup(in.under("delete"), id)
	})
}

// leavePage takes people out of a group.
func leavePage(c *call) error {
	return c.groupForm("remove", func(in *posted, id uint64) (*ui.GroupPage, error) {
		ids := in.picked()
		if len(ids) == 0 {
			return nil, invalidField("pick", "names nobody")
		}
		p, err := in.as(edit{remove: ids})
		if err != nil {
			return nil, err
		}
		_, err = c.changeGroup(in.under("remove"), id, p)
		return nil, err
	})
}

// as gives the change of a group's members or of its teachers.
func (p *posted) as(e edit) (groupPatch, error) {
	switch p.says("as") {
	case membershipMember:
		return groupPatch{members: e}, nil
	case membershipTeacher:
		return groupPatch{teachers: e}, nil
	}
	return groupPatch{}, invalidField("as", "is neither member nor teacher")
}

// maxLines is how many people one form may name.
const maxLines = 200

// joinPage brings people into a group: those who are ticked, and those of whom
// each line of a text names one. Where a line may mean nobody or several people,
// nothing is changed and the form asks.
func joinPage(c *call) error {
	return c.groupForm("add", func(in *posted, id uint64) (*ui.GroupPage, error) {
		picked, lines := in.picked(), linesOf(in.says("who"))
		if len(lines) > maxLines {
			return nil, invalidField("who", fmt.Sprintf("has more than %d lines", maxLines))
		}
		var ids []uint64
		var sure []string // addresses of those who are meant without doubt
		var matches []ui.Match
		if err := c.look(func(tx *store.ReadTx) error {
			s, err := scopeOf(tx, c.who)
			if err != nil {
				return err
			}
			ids, sure, matches = picked, nil, nil
			for _, id := range picked {
				u, err := tx.User(id)
				if err != nil {
					return err
				}
				sure = append(sure, u.Email)
			}
			for _, line := range lines {
				found, more, err := s.meant(line)
				if err != nil {
					return err
				}
				if len(found) == 1 && !more {
					ids = with(ids, []uint64{found[0].ID})
					sure = append(sure, found[0].Email)
					continue
				}
				m := ui.Match{Line: line, More: more}
				for _, u := range found {
					m.People = append(m.People, uiPerson(u))
				}
				matches = append(matches, m)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if len(matches) == 0 {
			if len(ids) == 0 {
				return nil, invalidField("who", "names nobody")
			}
			p, err := in.as(edit{add: ids})
			if err != nil {
				return nil, err
			}
			_, err = c.changeGroup(in.under("add"), id, p)
			return nil, err
		}
		form, err := c.freshForm()
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			if len(m.People) == 0 {
				sure = append(sure, m.Line) // to be corrected
			}
		}
		c.note.why = codeUnknownUser
		form.Trouble = "unclear"
		return &ui.GroupPage{Form: form, Act: "add", Who: strings.Join(sure, "\n"), As: in.says("as"), Matches: matches}, nil
	})
}

// linesOf gives the lines that say something.
func linesOf(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
