package httpapi

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/today"
	"hadir/store"
	"hadir/ui"
)

// groupsPage shows today's counts of the groups within the scope.
func groupsPage(c *call) error {
	c.keepLang()
	d, err := c.groupsData()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Groups(b, c.frame("groups"), d) })
}

func groupsPart(c *call) error {
	d, err := c.groupsData()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.GroupsPart(b, c.frame("groups"), d) })
}

func (c *call) groupsData() (d ui.Groups, err error) {
	fresh, err := c.counted(cluster.Read{}, func(tx *store.ReadTx, totals today.Totals) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		d = ui.Groups{Epoch: epochOf(c.api.Node.Status()), Seq: tx.Meta().Seq, Present: totals.People.Present, Arrived: totals.People.Arrived}
		counts, err := s.groupCounts(totals)
		if err != nil {
			return err
		}
		for _, g := range counts {
			d.Rows = append(d.Rows, ui.GroupRow{ID: g.ID, Name: g.Name, Members: int(g.Members), Arrived: g.Arrived, Present: g.Present})
		}
		return nil
	})
	d.Stale = fresh.Stale
	// Worst first: whom to call stands at the top.
	slices.SortStableFunc(d.Rows, func(a, b ui.GroupRow) int {
		return cmp.Or(cmp.Compare(a.Arrived*max(1, b.Members), b.Arrived*max(1, a.Members)), strings.Compare(a.Name, b.Name))
	})
	return d, err
}

// groupPage shows who of a group is there today and who is not yet.
func groupPage(c *call) error {
	c.keepLang()
	d, err := c.groupData()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Group(b, c.frame("groups"), d) })
}

func groupPart(c *call) error {
	d, err := c.groupData()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.GroupPart(b, c.frame("groups"), d) })
}

func (c *call) groupData() (d ui.Group, err error) {
	id, err := c.pathID()
	if err != nil {
		return d, err
	}
	fresh, err := c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if !s.leads(id) {
			return errOtherGroup
		}
		g, err := tx.Group(id)
		if err != nil {
			return err
		}
		d = ui.Group{ID: id, Name: g.Name, Epoch: epochOf(c.api.Node.Status()), Seq: tx.Meta().Seq}
		zone := tx.Params().Zone
		now := attendance.MillisOf(c.began)
		day, _ := zone.Day(now)
		d.Now = site(zone).local(now)
		for _, user := range everyone(tx, id, store.Member) {
			m, err := memberToday(tx, user, day)
			if err != nil {
				return err
			}
			if m.Active {
				d.Members = append(d.Members, m)
			}
		}
		return nil
	})
	d.Stale = fresh.Stale
	// Who is missing first, then the late ones.
	slices.SortStableFunc(d.Members, func(a, b ui.Member) int {
		switch {
		case a.In.IsZero() != b.In.IsZero():
			if a.In.IsZero() {
				return -1
			}
			return 1
		case !a.In.Equal(b.In):
			return b.In.Compare(a.In)
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, m := range d.Members {
		if !m.In.IsZero() {
			d.Arrived++
		}
	}
	return d, err
}

// memberToday gives a person with the first arrival and the last departure of a
// day.
func memberToday(tx *store.ReadTx, user uint64, day attendance.Day) (m ui.Member, err error) {
	u, err := tx.User(user)
	if err != nil {
		return m, err
	}
	m = ui.Member{ID: u.ID, Name: u.Name, Active: u.Active}
	zone := site(tx.Params().Zone)
	records, _, err := tx.Attendances(store.Query{From: day, To: day, UserID: user, Limit: store.MaxPage})
	for _, r := range records { // newest first
		switch at := zone.local(r.FirstSeenAt); r.Kind {
		case attendance.In:
			m.In, m.Node, m.Offline = at, r.Node, r.Offline
		case attendance.Out:
			if m.Out.IsZero() {
				m.Out = at
			}
		}
	}
	return m, err
}
