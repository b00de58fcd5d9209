package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
	"hadir/ui"
)

// What the pages share on which people change something. A form is sent, and when
// it was done the browser is sent on; when it was not, the same page comes back
// with what was typed, why it was not done, and a key under which it is decided
// once.

const adminPath = "/admin"

// screen sends a page that names its own template.
func (c *call) screen(status int, active string, d ui.Screen) error {
	return c.page(status, func(b *bytes.Buffer) error { return c.api.pages.Screen(b, c.frame(active), d) })
}

// pageQuery reads the query of a page. did and min_index come from the form that
// was done just before.
func (c *call) pageQuery(known ...string) (*query, error) {
	c.keepLang()
	return c.query(append(known, "lang", "did", "min_index")...)
}

// landed reads no less than what this request has done, or the one before that
// has sent the browser here, whichever node did it.
func (c *call) landed(q *query) cluster.Read {
	// The header has a number: c.index wrote it.
	here, _ := strconv.ParseUint(c.w.Header().Get("X-Hadir-Index"), 10, 64)
	return cluster.Read{MinIndex: max(here, q.number("min_index", 0, maxID, 0))}
}

// did sends the browser on after something was done, and has the next page say so.
func (c *call) did(where, word string) error {
	return c.see(address(where, "did", word, "min_index", c.w.Header().Get("X-Hadir-Index")))
}

// address gives a path with parameters in pairs; those without a value are left out.
func address(path string, params ...string) string {
	values := make(url.Values)
	for i := 0; i < len(params); i += 2 {
		if params[i+1] != "" {
			values.Set(params[i], params[i+1])
		}
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// seen runs f on the state with the visitor's scope.
func (c *call) seen(how cluster.Read, f func(*store.ReadTx, *scope) error) (cluster.Freshness, error) {
	return c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		return f(tx, s)
	})
}

// posted is a form that somebody has sent: the same fields as in the body of the
// request that a program would send.
type posted struct {
	*object
	values url.Values
	key    string
}

// posted reads one.
func (c *call) posted() (*posted, error) {
	values, err := c.form()
	if err != nil {
		return nil, err
	}
	return c.asPosted(values)
}

func (c *call) asPosted(values url.Values) (p *posted, err error) {
	p = &posted{object: &object{raw: make(map[string]json.RawMessage)}, values: values}
	if values.Has("key") {
		var ok bool
		if p.key, ok = parseKey(values.Get("key")); !ok {
			return nil, newProblem(codeInvalidKey, "")
		}
	} else if p.key, err = newKey(c.began, c.api.Rand); err != nil {
		return nil, err
	}
	for name := range values {
		text := p.says(name)
		if name == "key" || text == "" {
			continue // a form has all its fields, also those that nobody filled
		}
		if p.raw[name], err = json.Marshal(text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// says gives a field as it is meant: spaces around a name are a slip, those around
// a password may not be.
func (p *posted) says(name string) string {
	text := p.values.Get(name)
	if strings.HasSuffix(name, "password") {
		return text
	}
	return strings.TrimSpace(text)
}

// picked gives the ids of the boxes that were ticked, ascending.
func (p *posted) picked() []uint64 {
	var ids []uint64
	for name := range p.values {
		if text, is := strings.CutPrefix(name, "pick."); is {
			delete(p.raw, name)
			if id, err := strconv.ParseUint(text, 10, 63); err == nil && id > 0 {
				ids = append(ids, id)
			}
		}
	}
	return with(nil, ids)
}

// under gives the key of one of several forms on a page.
func (p *posted) under(act string) string { return p.key + "." + act }

// freshForm gives a form that was not sent yet.
func (c *call) freshForm() (ui.Form, error) {
	key, err := newKey(c.began, c.api.Rand)
	return ui.Form{Key: key}, err
}

// again gives the form after it was not done: with the reason, the fields that are
// wrong, and the same key where it may have been done all the same. What no other
// form would help against comes back as an error.
func (c *call) again(key string, why error) (f ui.Form, status int, err error) {
	p := problemOf(why)
	switch p.Code {
	case codeUnauthenticated, codeForbidden, codeCrossOrigin, codeNotFound, codeMethod, codeInternal:
		return f, 0, why
	}
	c.failed(p, why)
	if p.Status < http.StatusInternalServerError {
		if key, err = newKey(c.api.Clock.Now(), c.api.Rand); err != nil {
			return f, 0, err
		}
	}
	f = ui.Form{Key: key, Trouble: string(p.Code)}
	for _, e := range p.Errors {
		f.Wrong = append(f.Wrong, e.Field)
	}
	return f, p.Status, nil
}

// at gives an instant as the site's clocks show it; zero for none.
func (z site) at(m attendance.Millis) time.Time {
	if m == 0 {
		return time.Time{}
	}
	return z.local(m)
}

func uiPerson(u attendance.User) ui.Person {
	return ui.Person{ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role.String(), Active: u.Active}
}

// hubPage says what there is for those who administer.
func hubPage(c *call) error {
	q, err := c.pageQuery()
	if err != nil {
		return err
	}
	how := c.landed(q)
	if err := q.done(); err != nil {
		return err
	}
	var d ui.Hub
	if _, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		m := tx.Meta()
		waiting, _, err := s.reviews(0, store.MaxPage)
		if err != nil {
			return err
		}
		d.Items = []ui.HubItem{
			{Key: "records", Href: recordsPath, Count: m.Records, Counted: true},
			{Key: "reviews", Href: reviewsPath, Count: uint64(len(waiting)), Counted: true, Urgent: len(waiting) > 0},
			{Key: "people", Href: peoplePath, Count: m.Users, Counted: true},
			{Key: "groups", Href: groupsPath, Count: m.Groups, Counted: true},
			{Key: "import", Href: importPagePath},
			{Key: "audit", Href: auditPath, Count: m.Seq, Counted: true},
			{Key: "journal", Href: journalPath},
			{Key: "params", Href: paramsPath},
			{Key: "tokens", Href: tokensPath},
		}
		if c.api.Desk != nil {
			d.Items = append(d.Items, ui.HubItem{Key: "queue", Href: queuePath})
		}
		if c.api.Exports != nil {
			d.Items = append(d.Items, ui.HubItem{Key: "export", Href: exportPath})
		}
		if c.api.Watcher != nil {
			d.Items = append(d.Items, ui.HubItem{Key: "online", Href: onlinePath})
		}
		return nil
	}); err != nil {
		return err
	}
	return c.screen(http.StatusOK, "admin", d)
}
