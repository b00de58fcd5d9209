package httpapi

import (
	"bytes"
	"net/http"

	"hadir/cluster"
	"hadir/store"
	"hadir/ui"
)

const onlinePath = "/online"

// onlinePage shows who of the scope is connected to any node.
func onlinePage(c *call) error {
	if _, err := c.pageQuery(); err != nil {
		return err
	}
	d, err := c.onlineData()
	if err != nil {
		return err
	}
	return c.screen(http.StatusOK, c.staffItem(), d)
}

func onlinePart(c *call) error {
	d, err := c.onlineData()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.OnlinePart(b, c.frame(""), d) })
}

func (c *call) onlineData() (d ui.Online, err error) {
	items, next, fresh, err := c.present(cluster.Read{}, 0, store.MaxPage)
	for _, p := range items {
		d.Rows = append(d.Rows, ui.OnlinePerson{ID: p.UserID, Name: p.Name, Nodes: p.Nodes, Times: p.Connections})
		d.Connections += p.Connections
	}
	d.More, d.Stale, d.Tabs = next != 0, fresh.Stale, c.tabs("online")
	return d, err
}
