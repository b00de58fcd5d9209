package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"hadir/store"
	"hadir/ui"
)

const journalPath = "/admin/journal"

// journalPage shows what this node refused at its door. Another node has its own.
func journalPage(c *call) error {
	q, err := c.pageQuery("cursor")
	if err != nil {
		return err
	}
	below, how := q.number("cursor", 1, maxID, 0), c.landed(q)
	if err := q.done(); err != nil {
		return err
	}
	rows, err := c.api.Journal.page(below, defaultLimit)
	if err != nil {
		return err
	}
	status := c.api.Node.Status()
	d := ui.Journal{Node: c.api.Node.Name()}
	for _, n := range status.Nodes {
		if n.Name != d.Node {
			link := ui.Link{Name: n.Name}
			if n.HTTP != "" {
				link.Href = strings.TrimSuffix(n.HTTP, "/") + journalPath
			}
			d.Others = append(d.Others, link)
		}
	}
	if _, err := c.seen(how, func(tx *store.ReadTx, _ *scope) error {
		names, zone := namesOf(tx), site(tx.Params().Zone)
		for _, r := range rows {
			row := ui.JournalRow{
				No: r.No, First: zone.at(r.First), Last: zone.at(r.Last), Count: r.Count, Why: r.Why, Status: r.Status, From: r.From,
				Who: r.Who, Tried: r.Tried, Action: r.Action, Key: r.Key, Request: r.Request,
			}
			if text, is := strings.CutPrefix(r.Who, "user:"); is {
				id, err := strconv.ParseUint(text, 10, 63)
				if err != nil {
					return fmt.Errorf("%w: row %d of the journal is by %q", store.ErrCorrupt, r.No, r.Who)
				}
				if row.Name, err = names(id); err != nil {
					return err
				}
			}
			d.Rows = append(d.Rows, row)
		}
		return nil
	}); err != nil {
		return err
	}
	if next := olderThan(rows, defaultLimit); next != 0 {
		d.Older = address(journalPath, "cursor", cursorOf(next))
	}
	if below != 0 {
		d.Newest = journalPath
	}
	return c.screen(http.StatusOK, "admin", d)
}
