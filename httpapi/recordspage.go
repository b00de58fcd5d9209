package httpapi

import (
	"net/http"

	"hadir/store"
	"hadir/ui"
)

const recordsPath = "/records"

// recordsPage lists the attendances within the scope, newest first.
func recordsPage(c *call) error {
	q, err := c.pageQuery("date", "from", "to", "user_id", "type", "node_id", "q", "cursor")
	if err != nil {
		return err
	}
	l, how := q.listing(), c.landed(q)
	d := ui.Records{Filter: ui.RecordFilter{
		Date: q.text("date"), From: q.text("from"), To: q.text("to"), Name: q.text("q"), Kind: q.text("type"), Node: q.text("node_id"),
		User: l.UserID, Nodes: c.nodeNames(q.text("node_id")),
	}, Tabs: c.tabs("records")}
	if err := q.done(); err != nil {
		form, status, err := c.again("", err)
		if err != nil {
			return err
		}
		d.Form = form
		return c.screen(status, c.staffItem(), d)
	}
	filter := []string{
		"date", d.Filter.Date, "from", d.Filter.From, "to", d.Filter.To, "user_id", q.text("user_id"), "type", d.Filter.Kind,
		"node_id", d.Filter.Node, "q", d.Filter.Name,
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		page, next, err := l.run(tx, s)
		if err != nil {
			return err
		}
		names := namesOf(tx)
		if l.UserID != 0 {
			if d.Person, err = names(l.UserID); err != nil {
				return err
			}
		}
		for _, r := range page {
			row := site(tx.Params().Zone).row(r)
			row.User, row.Offline = r.UserID, r.Offline
			if row.Name, err = names(r.UserID); err != nil {
				return err
			}
			d.Days = byDay(d.Days, row)
		}
		if !next.IsZero() {
			d.Older, d.Sparse = address(recordsPath, append(filter, "cursor", next.String())...), len(page) < l.Limit
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !l.Before.IsZero() {
		d.Newest = address(recordsPath, filter...)
	}
	d.CSV, d.Stale = address(apiPrefix+"/attendances", append(filter, "format", "csv")...), fresh.Stale
	return c.screen(http.StatusOK, c.staffItem(), d)
}

// tabs lead to the other lists for teachers and admins.
func (c *call) tabs(current string) ui.Tabs {
	t := ui.Tabs{Admin: kindOf(c.who) == admin, Current: current, Items: []ui.NavItem{
		{Key: "records", Href: recordsPath}, {Key: "reviews", Href: reviewsPath},
	}}
	if c.api.Watcher != nil {
		t.Items = append(t.Items, ui.NavItem{Key: "online", Href: onlinePath})
	}
	return t
}

// staffItem is the item of the navigation that lists for teachers and admins
// belong to.
func (c *call) staffItem() string {
	if kindOf(c.who) == admin {
		return "admin"
	}
	return "records"
}

// nodeNames gives the members, and the one that was asked for.
func (c *call) nodeNames(also string) (names []string) {
	known := also == ""
	for _, n := range c.api.Node.Status().Nodes {
		names = append(names, n.Name)
		known = known || n.Name == also
	}
	if !known {
		names = append(names, also) // it may have left
	}
	return names
}

// namesOf gives a function that knows people's names, each looked up once; "" for
// nobody.
func namesOf(tx *store.ReadTx) func(uint64) (string, error) {
	names := make(map[uint64]string)
	return func(id uint64) (string, error) {
		name, known := names[id]
		if known {
			return name, nil
		}
		u, err := tx.User(id)
		if err != nil && !isNotFound(err) {
			return "", err
		}
		names[id] = u.Name
		return u.Name, nil
	}
}
