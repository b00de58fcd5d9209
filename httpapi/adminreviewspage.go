package httpapi

import (
	"net/http"
	"strconv"

	"hadir/attendance"
	"hadir/store"
	"hadir/ui"
)

const reviewsPath = "/reviews"

// reviewsPage lists what waits for a person, oldest first, within the scope.
// Admins decide.
func reviewsPage(c *call) error { return c.showReviews(http.StatusOK, ui.Reviews{}) }

// showReviews shows the list; of its forms one may have been sent.
func (c *call) showReviews(status int, d ui.Reviews) error {
	q, err := c.pageQuery("cursor")
	if err != nil {
		return err
	}
	after, how := q.number("cursor", 1, maxID, 0), c.landed(q)
	d.Tabs, d.Done, d.Decide = c.tabs("reviews"), q.text("did"), kindOf(c.who) == admin
	if err := q.done(); err != nil {
		return err
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, s *scope) error {
		page, next, err := s.reviews(after, defaultLimit)
		if err != nil {
			return err
		}
		names, zone := namesOf(tx), site(tx.Params().Zone)
		for _, r := range page {
			row := zone.review(r)
			if row.Name, err = names(r.tap.UserID); err != nil {
				return err
			}
			d.Rows = append(d.Rows, row)
		}
		if next != 0 {
			d.Older = address(reviewsPath, "cursor", cursorOf(next))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range d.Rows {
		if d.Rows[i].Seq == d.At {
			d.Rows[i].Key = d.Form.Key
		} else if d.Rows[i].Key, err = newKey(c.began, c.api.Rand); err != nil {
			return err
		}
	}
	if after != 0 {
		d.Newest = reviewsPath
	}
	d.Stale = fresh.Stale
	return c.screen(status, c.staffItem(), d)
}

func (z site) review(r review) ui.Review {
	row := ui.Review{
		Seq: r.event.Seq, For: waitsForTap, User: r.tap.UserID, Kind: r.tap.Kind.String(), Node: r.event.ReceivedBy(),
		Reason: r.tap.Reason.String(), Received: z.at(r.tap.Claim), Trusted: r.tap.ClaimTrust,
	}
	if r.claim {
		row.For = waitsForClaim
	}
	if r.tap.Offline {
		row.Claimed = z.at(r.tap.ClientTime)
	}
	if r.of != nil {
		row.Record = z.at(r.of.At)
	}
	return row
}

// decidePage decides a review.
func decidePage(c *call) error {
	seq, err := strconv.ParseUint(c.vars("seq"), 10, 63)
	if err != nil || seq == 0 {
		return notFound("A review has the number of its event.")
	}
	in, err := c.posted()
	if err != nil {
		return err
	}
	body := attendance.Resolve{Seq: seq, Accept: in.says("decision") == "accept", Note: in.says("note")}
	var o attendance.Outcome
	switch {
	case !body.Accept && in.says("decision") != "reject":
		err = invalidField("decision", "is neither accept nor reject")
	case fault(body) != "":
		err = invalidField("note", fault(body))
	default:
		o, err = c.resolve(in.key, body)
	}
	if err != nil {
		form, status, err := c.again(in.key, err)
		if err != nil {
			return err
		}
		return c.showReviews(status, ui.Reviews{Form: form, At: seq, Note: body.Note})
	}
	return c.did(reviewsPath, resolvedAs(body, o).String())
}
