package httpapi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"hadir/attendance"
	"hadir/attendance/eventjson"
	"hadir/store"
	"hadir/ui"
)

const auditPath = "/admin/audit"

// tones say at a glance what an event is; the others are plain.
var tones = map[attendance.EventType]string{
	attendance.TapAccepted: "good", attendance.ReviewAccepted: "good", attendance.ClaimAccepted: "good",
	attendance.TapDuplicate: "same", attendance.ReviewDuplicate: "same", attendance.TapReview: "warn",
	attendance.TapRejected: "bad", attendance.ReviewRejected: "bad", attendance.ClaimRejected: "bad", attendance.ActRefused: "bad",
}

// auditPage shows what was decided, newest first: every attempt and every act.
func auditPage(c *call) error {
	q, err := c.pageQuery("who", "event_type", "node_id", "before", "at")
	if err != nil {
		return err
	}
	events, how, who := q.events(), c.landed(q), strings.TrimSpace(q.text("who"))
	d := ui.Audit{At: q.number("at", 1, maxID-1, 0), Person: who, Type: q.text("event_type"), Node: q.text("node_id"), Types: eventNames, Nodes: c.nodeNames(q.text("node_id"))}
	if err := q.done(); err != nil {
		form, status, err := c.again("", err)
		if err != nil {
			return err
		}
		d.Form = form
		return c.screen(status, "admin", d)
	}
	same := []string{"who", who, "event_type", d.Type, "node_id", d.Node}
	if d.At != 0 {
		events.before = d.At + 1
	}
	if events.before != 0 {
		d.Newest = address(auditPath, same...)
	} else {
		events.before = maxID
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		m := tx.Meta()
		d.Seq, d.Chain = m.Seq, hex.EncodeToString(m.Chain[:])
		if who != "" {
			found, more, err := s.meant(who)
			if err != nil {
				return err
			}
			if len(found) != 1 || more {
				d.Form = ui.Form{Trouble: "who_is_meant"}
				for _, u := range found {
					d.People = append(d.People, ui.Link{
						Name: u.Name + " · " + u.Email,
						Href: address(auditPath, "who", strconv.FormatUint(u.ID, 10), "event_type", d.Type, "node_id", d.Node),
					})
				}
				return nil
			}
			events.user = found[0].ID
		}
		page, next, err := events.run(tx)
		if err != nil {
			return err
		}
		names, zone := namesOf(tx), site(tx.Params().Zone)
		for _, e := range page {
			row, err := auditRow(e, names)
			if err != nil {
				return err
			}
			row.At = zone.at(e.At)
			d.Rows = append(d.Rows, row)
		}
		if next != 0 {
			d.Older, d.Sparse = address(auditPath, append(same, "before", cursorOf(next))...), len(page) < events.limit
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Stale = fresh.Stale
	return c.screen(http.StatusOK, "admin", d)
}

func auditRow(e attendance.Event, names func(uint64) (string, error)) (row ui.Event, err error) {
	row = ui.Event{
		Seq: e.Seq, Type: e.Type.String(), Tone: tones[e.Type], Node: e.Node, User: eventjson.UserID(e), Principal: e.Principal.String(),
	}
	if row.Tone == "" {
		row.Tone = "plain"
	}
	if row.Person, err = names(row.User); err != nil {
		return row, err
	}
	if e.Principal.Kind == attendance.UserPrincipal {
		if row.Asked, err = names(e.Principal.ID); err != nil {
			return row, err
		}
	}
	var raw bytes.Buffer
	if err := json.Indent(&raw, jsonEvent(e), "", "  "); err != nil {
		return row, fmt.Errorf("event %d: %w", e.Seq, err)
	}
	row.Raw = raw.String()
	return row, nil
}
