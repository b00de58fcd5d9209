package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// reviewJSON is something that waits for a person: a tap without a record, or the
// time that an offline phone claims for one that has a record.
type reviewJSON[E any] struct {
	Seq        uint64          `json:"seq"`
	WaitsFor   string          `json:"waits_for"` // tap or claim
	UserID     uint64          `json:"user_id"`
	Event      E               `json:"event"`
	Attendance *attendanceJSON `json:"attendance,omitempty"` // of a claim
}

type pendingReview = reviewJSON[json.RawMessage]

const (
	waitsForTap   = "tap"
	waitsForClaim = "claim"
)

// getReviews gives the open reviews of the people within the scope, oldest first.
func getReviews(c *call) error {
	q, err := c.query(append([]string{"limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after := q.read(), q.limit(), q.number("cursor", 1, maxID, 0)
	if err := q.done(); err != nil {
		return err
	}
	var items []pendingReview
	var next uint64
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		page, after, err := s.reviews(after, limit)
		for _, r := range page {
			items = append(items, jsonReview(r))
		}
		next = after
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonList(items, cursorOf(next), fresh))
}

// review is what waits: the event, its tap and, for a claim, the record that it
// is about, nil when that was pruned.
type review struct {
	event attendance.Event
	tap   attendance.Tap
	claim bool
	of    *attendance.Record
}

func jsonReview(r review) pendingReview {
	out := pendingReview{Seq: r.event.Seq, WaitsFor: waitsForTap, UserID: r.tap.UserID, Event: jsonEvent(r.event)}
	if r.claim {
		out.WaitsFor = waitsForClaim
	}
	if r.of != nil {
		of := jsonAttendance(*r.of)
		out.Attendance = &of
	}
	return out
}

// reviews gives a page of the open reviews by seq after one, and after which the
// next page begins; 0 at the end.
func (s *scope) reviews(after uint64, limit int) (page []review, next uint64, err error) {
	s.who.asked = true // also where there is nobody to ask about
	for range maxSteps {
		seqs := s.tx.Open(after, store.MaxPage)
		for _, seq := range seqs {
			if len(page) == limit {
				return page, after, nil
			}
			after = seq
			r, seen, err := s.review(seq)
			if err != nil {
				return nil, 0, err
			}
			if seen {
				page = append(page, r)
			}
		}
		if len(seqs) < store.MaxPage {
			return page, 0, nil
		}
	}
	return page, after, nil
}

// review gives one open review; seen is false for one out of scope, or whose event
// was pruned and that nobody can decide any more.
func (s *scope) review(seq uint64) (r review, seen bool, err error) {
	e, err := s.tx.Event(seq)
	if errors.Is(err, store.ErrNotFound) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	tap, isTap := e.Detail.(attendance.Tap)
	if !isTap || !s.sees(tap.UserID) {
		return r, false, nil
	}
	r = review{event: e, tap: tap}
	record := tap.Winner
	if e.Type.MakesRecord() {
		record = seq
	}
	if record == 0 {
		return r, true, nil
	}
	r.claim = true
	switch of, err := s.tx.Record(record); {
	case err == nil:
		r.of = &of
	case !errors.Is(err, store.ErrNotFound): // a winner may be pruned
		return r, false, err
	}
	return r, true, nil
}

// reviewRequest is what a person says to a review.
type reviewRequest struct {
	Decision string `json:"decision"`
	Note     string `json:"note,omitempty"`
}

// resolvedJSON is what became of a review.
type resolvedJSON struct {
	ReviewOf   uint64          `json:"review_of"`
	Became     string          `json:"became"` // type of the event that resolved it
	Seq        uint64          `json:"seq"`    // of that event
	Key        string          `json:"key"`
	Attendance *attendanceJSON `json:"attendance,omitempty"`
	DeltaMS    *int64          `json:"delta_ms,omitempty"`
}

// postReview has a review decided. Accepting a tap runs the same check of its
// neighbours as any tap, so what becomes of it is the answer.
func postReview(c *call) error {
	seq, err := strconv.ParseUint(c.vars("seq"), 10, 63)
	if err != nil || seq == 0 {
		return notFound("A review has the number of its event.")
	}
	in, err := c.object()
	if err != nil {
		return err
	}
	body := attendance.Resolve{Seq: seq}
	switch in.required("decision", 16) {
	case "accept":
		body.Accept = true
	case "reject":
	default:
		if !in.isWrong("decision") {
			in.wrong("decision", "is neither accept nor reject")
		}
	}
	if body.Note, _ = in.text("note", attendance.MaxNote); !in.isWrong("note") {
		if wrong := fault(body); wrong != "" {
			in.wrong("note", wrong)
		}
	}
	if err := in.done(); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	outcome, err := c.resolve(key, body)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonResolved(body, key, outcome))
}

// resolve has an open review decided under a key.
func (c *call) resolve(key string, body attendance.Resolve) (attendance.Outcome, error) {
	if err := c.openReview(body.Seq, key); err != nil {
		return attendance.Outcome{}, err
	}
	result, err := c.propose(c.who, key, body)
	if err != nil {
		return attendance.Outcome{}, notDone(key, err)
	}
	if result.Outcome.Status == attendance.RejectedStatus {
		return attendance.Outcome{}, notDone(key, c.unresolved(body.Seq, result))
	}
	c.keyed(key, result.Outcome.Replayed)
	return result.Outcome, nil
}

// openReview gives a problem for a review that is resolved or none, so that a
// guess becomes no event. A key that is known is asked all the same: its answer
// is the decision it had.
func (c *call) openReview(seq uint64, key string) error {
	return c.look(func(tx *store.ReadTx) error {
		if _, known, err := tx.Key(c.who.principal(), key); err != nil || known {
			return err
		}
		if tx.IsOpen(seq) {
			return nil
		}
		return closedReview(tx, seq)
	})
}

// closedReview gives the problem of a review that is not open.
func closedReview(tx *store.ReadTx, seq uint64) error {
	by, resolved := tx.ResolvedBy(seq)
	if !resolved {
		return notFound("No review has this number.")
	}
	p := newProblem(codeResolved, "Somebody has decided this review already.")
	p.Seq = by
	e, err := tx.Event(by)
	switch {
	case err == nil:
		p.Became = e.Type.String()
	case !errors.Is(err, store.ErrNotFound): // it may be pruned
		return err
	}
	return p
}

// unresolved gives the problem of a decision that did not resolve the review.
func (c *call) unresolved(seq uint64, result cluster.Result) error {
	switch why := result.Outcome.Reason; why {
	case attendance.UnknownReview: // somebody else was faster
		if _, err := c.read(cluster.Read{MinIndex: result.Index}, func(tx *store.ReadTx) error { return closedReview(tx, seq) }); err != nil {
			return err
		}
		return fmt.Errorf("review %d was refused as unknown and is known", seq)
	case attendance.UnknownUser:
		return newProblem(codeUnknownUser, "Nobody has the user id of this tap, so it cannot become a record. It can be rejected.")
	case attendance.TooOld:
		return newProblem(codeTooOld, "Records of that time may be gone, so nobody can tell whether it is a duplicate. It can be rejected.")
	default:
		return refusal(result.Outcome)
	}
}

func jsonResolved(body attendance.Resolve, key string, o attendance.Outcome) resolvedJSON {
	out := resolvedJSON{ReviewOf: body.Seq, Became: resolvedAs(body, o).String(), Seq: o.Seq, Key: key}
	if o.Record != nil {
		record := jsonAttendance(*o.Record)
		out.Attendance = &record
	}
	if o.Status == attendance.DuplicateStatus {
		delta := int64(o.Delta)
		out.DeltaMS = &delta
	}
	return out
}

// resolvedAs gives the type of the event that an outcome of a review stands for.
func resolvedAs(body attendance.Resolve, o attendance.Outcome) attendance.EventType {
	switch {
	case o.Status == attendance.AcceptedStatus:
		return attendance.ReviewAccepted
	case o.Status == attendance.DuplicateStatus:
		return attendance.ReviewDuplicate
	case o.Record == nil:
		return attendance.ReviewRejected
	case body.Accept:
		return attendance.ClaimAccepted
	}
	return attendance.ClaimRejected
}
