package httpapi

import (
	"fmt"
	"net/http"
	"slices"

	"hadir/attendance"
	"hadir/store"
	"hadir/ui"
)

const tokensPath = "/admin/tokens"

// tokensPage lists devices by id, with a form for a new one.
func tokensPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showTokens(http.StatusOK, ui.Tokens{Form: form}, nil)
}

// choices is how many groups can be picked from; with more of them one uses the API.
const choices = 1_000

// showTokens shows the list around a form in which groups were picked.
func (c *call) showTokens(status int, d ui.Tokens, picked []uint64) error {
	q, err := c.pageQuery("cursor")
	if err != nil {
		return err
	}
	after, how := q.number("cursor", 1, maxID, 0), c.landed(q)
	d.Done = q.text("did")
	if err := q.done(); err != nil {
		return err
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		tokens, next, err := tokenPage(tx, after, defaultLimit)
		if err != nil {
			return err
		}
		zone := site(tx.Params().Zone)
		for _, t := range tokens {
			row := ui.Token{ID: t.ID, Name: t.Name, Revoked: t.Revoked, Created: zone.at(t.CreatedAt)}
			for _, id := range t.Groups {
				switch g, err := tx.Group(id); {
				case err == nil:
					row.Groups = append(row.Groups, g.Name)
				case !isNotFound(err): // it may be gone: the token still names it
					return err
				}
			}
			row.Everybody = len(t.Groups) == 0
			d.Rows = append(d.Rows, row)
		}
		if next != 0 {
			d.Older = address(tokensPath, "cursor", cursorOf(next))
		}
		groups, _, err := s.groupList(groupFilter{}, 0, choices)
		for _, g := range groups {
			d.Groups = append(d.Groups, ui.Choice{ID: g.ID, Name: g.Name, Picked: slices.Contains(picked, g.ID)})
		}
		return err
	})
	if err != nil {
		return err
	}
	if after != 0 {
		d.Newest = tokensPath
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

// createTokenPage creates a device and shows its secret, this once.
func createTokenPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	picked := in.picked()
	name, hasName := in.name()
	in.need("name", hasName)
	if len(picked) > maxTokenGroups {
		in.wrong("pick", "is too many groups")
	}
	err = in.done()
	var out tokenJSON
	if err == nil {
		out, err = c.createToken(in.key, attendance.PutToken{Name: name, Groups: picked})
	}
	if err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showTokens(status, ui.Tokens{Form: form, Open: true, Name: in.says("name")}, picked)
	}
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showTokens(http.StatusCreated, ui.Tokens{Form: form, Made: out.Name, Secret: out.Token, Lost: out.Token == ""}, nil)
}

// revokeTokenPage takes a device its rights.
func revokeTokenPage(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.posted()
	if err != nil {
		return err
	}
	if err := c.revokeToken(in.under(fmt.Sprintf("revoke.%d", id)), id); err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showTokens(status, ui.Tokens{Form: form}, nil)
	}
	return c.did(tokensPath, "revoked")
}
