package httpapi

import (
	"bytes"
	"net/http"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
	"hadir/ui"
)

// historyRows is how many records one page of the history shows.
const historyRows = 50

// historyPage lists the visitor's own records, newest first.
func historyPage(c *call) error {
	c.keepLang()
	q, err := c.query("cursor", "lang")
	if err != nil {
		return err
	}
	before, err := store.ParseCursor(q.text("cursor"))
	if err != nil {
		q.wrong("cursor", "is none that this list gave")
	}
	q.text("lang")
	if err := q.done(); err != nil {
		return err
	}
	d := ui.History{First: before.IsZero()}
	fresh, err := c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if err := s.need(s.viewer.ID); err != nil {
			return err
		}
		zone := site(tx.Params().Zone)
		page, next, err := tx.Attendances(store.Query{
			From: attendance.UTCDay(0), To: attendance.UTCDay(attendance.MaxMillis), UserID: s.viewer.ID, Before: before, Limit: historyRows,
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			d.Days = byDay(d.Days, zone.row(r))
		}
		if !next.IsZero() {
			d.Older = next.String()
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Stale = fresh.Stale
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.History(b, c.frame("history"), d) })
}

// byDay adds a row to the last day, or to one of its own.
func byDay(days []ui.Day, row ui.Row) []ui.Day {
	if len(days) == 0 || !sameDay(days[len(days)-1].Rows[0], row) {
		days = append(days, ui.Day{})
	}
	day := &days[len(days)-1]
	day.Rows = append(day.Rows, row)
	return days
}

func sameDay(a, b ui.Row) bool {
	return a.At.Year() == b.At.Year() && a.At.YearDay() == b.At.YearDay()
}
