package httpapi

import (
	"bytes"
	"net/http"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/today"
	"hadir/store"
	"hadir/ui"
)

// dashboardPage is the site's day, live. The counts are everybody's, the rows and
// groups those of the scope.
func dashboardPage(c *call) error {
	c.keepLang()
	var d ui.Dashboard
	fresh, err := c.counted(cluster.Read{}, func(tx *store.ReadTx, totals today.Totals) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		zone := site(tx.Params().Zone)
		d = ui.Dashboard{
			Epoch: epochOf(c.api.Node.Status()), Seq: tx.Meta().Seq, Now: zone.local(attendance.MillisOf(c.began)),
			Arrived: totals.People.Arrived, Present: totals.People.Present, Left: totals.People.Left,
		}
		day := tx.Stats(totals.Day)
		d.Duplicates = int(day.Types[attendance.TapDuplicate])
		d.Reviews = int(day.Types[attendance.TapReview])
		for minute, n := range day.Minutes[attendance.In] {
			d.Minutes = append(d.Minutes, [2]int{minute, int(n)})
		}
		page, _, err := listing{Query: store.Query{From: totals.Day, To: totals.Day, Limit: todayRows}}.run(tx, s)
		if err != nil {
			return err
		}
		for _, r := range page {
			row := zone.row(r)
			u, err := tx.User(r.UserID)
			if err != nil {
				return err
			}
			row.Name = u.Name
			d.Rows = append(d.Rows, row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Stale = fresh.Stale
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Dashboard(b, c.frame("dashboard"), d) })
}
