package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Bounds of a tap's numbers, in the units of attendance.Location.
const (
	degreePlaces   = 7
	maxLatitude    = 90 * 1e7
	maxLongitude   = 180 * 1e7
	accuracyPlaces = 2
	anyAccuracy    = 1e15
)

// parseCheckIn reads the body of a tap. UserID stays 0 when it names nobody.
func parseCheckIn(in *object) (attendance.CheckIn, error) {
	var b attendance.CheckIn
	if s := in.required("type", 16); s != "" {
		kind, ok := attendance.ParseKind(s)
		if !ok {
			in.wrong("type", "is neither in nor out")
		}
		b.Kind = kind
	} else if !in.isWrong("type") {
		in.wrong("type", "is neither in nor out")
	}
	b.UserID = in.id("user_id")
	b.ClientTime = in.instant("client_time")
	if b.Offline = in.flag("offline"); b.Offline && b.ClientTime == 0 && !in.isWrong("client_time") {
		in.wrong("client_time", "is missing: an offline tap says when it was")
	}
	b.Location = parseLocation(in)
	return b, in.done()
}

func parseLocation(in *object) attendance.Location {
	lat, hasLat := in.scaled("latitude", degreePlaces, -maxLatitude, maxLatitude)
	lon, hasLon := in.scaled("longitude", degreePlaces, -maxLongitude, maxLongitude)
	accuracy, hasAccuracy := in.scaled("accuracy_m", accuracyPlaces, 0, anyAccuracy)
	word, hasError := in.text("location_error", 32)
	why, known := attendance.ParseLocationError(word)
	switch {
	case hasError && (!known || why == attendance.NoLocationError):
		in.wrong("location_error", "is neither denied, unavailable nor timeout")
	case hasLat != hasLon && !in.isWrong("latitude") && !in.isWrong("longitude"):
		in.wrong("latitude", "and longitude come together or not at all")
	case hasError && hasLat:
		in.wrong("location_error", "does not go with a location")
	case hasAccuracy && !hasLat && !in.isWrong("latitude") && !in.isWrong("longitude"):
		in.wrong("accuracy_m", "does not go without a location")
	}
	if !hasLat || !hasLon {
		return attendance.Location{Error: why}
	}
	return attendance.Location{
		Known: true, LatE7: int32(lat), LonE7: int32(lon),
		// A phone that is lost by more than 100 km may check in all the same.
		AccuracyCM: uint32(min(accuracy, attendance.MaxAccuracyCM)),
	}
}

// idempotencyKey takes the client's key or makes one.
func (c *call) idempotencyKey() (string, error) {
	given := c.r.Header.Values("Idempotency-Key")
	if len(given) == 0 {
		return newKey(c.began, c.api.Rand)
	}
	key, ok := parseKey(given[0])
	if !ok || len(given) > 1 {
		return "", newProblem(codeInvalidKey, "Idempotency-Key is one UUID or one ULID.")
	}
	return key, nil
}

// attempt is a tap and what became of it.
type attempt struct {
	key    string
	result cluster.Result
	queued *Queued       // not decided yet
	took   time.Duration // in all, as the client waited
}

// checkIn decides a tap that was received at a moment.
func (c *call) checkIn(received time.Time, key string, b attendance.CheckIn) (attempt, error) {
	if b.UserID == 0 && c.who.device != nil {
		return attempt{}, invalidField("user_id", "is missing: a device says who checks in")
	}
	if b.UserID == 0 {
		b.UserID = c.who.user.ID
	}
	if !c.who.isSelf(b.UserID) {
		if err := c.mayActFor(b.UserID); err != nil {
			return attempt{}, err
		}
	}
	result, queued, err := c.decideOrRecord(received, key, b)
	if err != nil {
		p := *problemOf(err)
		p.Key = key
		c.api.Metrics.checkedIn(string(p.Code), false)
		return attempt{}, &p
	}
	if queued != nil {
		c.api.Metrics.checkedIn(queuedStatus, false)
		return attempt{key: key, queued: queued}, nil
	}
	c.api.Metrics.checkedIn(result.Outcome.Status.String(), result.Outcome.Replayed)
	return attempt{key: key, result: result, took: c.api.Clock.Now().Sub(c.began)}, nil
}

// mayActFor checks that the visitor may check somebody else in, and that there
// is such a person.
func (c *call) mayActFor(user uint64) error {
	look := func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if err := s.need(user); err != nil {
			return err
		}
		_, err = tx.User(user)
		return err
	}
	_, err := c.read(cluster.Read{}, look)
	if errors.Is(err, store.ErrNotFound) {
		// Perhaps somebody so new that this node has not heard of them yet.
		_, err = c.read(cluster.Read{Consistency: cluster.Strong}, look)
	}
	if errors.Is(err, store.ErrNotFound) {
		return invalidField("user_id", "is nobody's")
	}
	return err
}

func postCheckIn(c *call) error {
	in, err := c.object()
	received := c.api.Clock.Now()
	if err != nil {
		return err
	}
	b, err := parseCheckIn(in)
	if err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	done, err := c.checkIn(received, key, b)
	if err != nil {
		return err
	}
	if done.queued != nil {
		return c.answerQueued(key, *done.queued)
	}
	out := done.result.Outcome
	answer := jsonDecision(key, out)
	answer.Sync = &syncJSON{
		HandledBy: c.api.Node.Name(), Leader: done.result.Leader, Term: done.result.Term, Index: done.result.Index,
		Seq: out.Seq, Forwarded: done.result.Forwarded,
		Latency: latencyJSON{Total: millis(done.took), Forward: millis(done.result.Forward), Commit: millis(done.result.Commit)},
	}
	if out.Replayed {
		c.w.Header().Set("Idempotency-Replayed", "true")
	}
	if out.Status == attendance.AcceptedStatus && out.Record != nil {
		c.w.Header().Set("Location", fmt.Sprintf("%s/attendances/%d", apiPrefix, out.Record.ID))
	}
	status, known := decisionStatus[out.Status]
	if !known {
		return fmt.Errorf("a check-in was answered %s", out.Status)
	}
	return c.json(status, answer)
}

// decisionStatus is CONTRACT §4's table.
var decisionStatus = map[attendance.Status]int{
	attendance.AcceptedStatus:  http.StatusCreated,
	attendance.DuplicateStatus: http.StatusConflict,
	attendance.ReviewStatus:    http.StatusAccepted,
	attendance.RejectedStatus:  http.StatusUnprocessableEntity,
}

// getCheckIn tells what became of an attempt, as far as this node knows.
func getCheckIn(c *call) error {
	q, err := c.query(append([]string{"user_id"}, readParams...)...)
	if err != nil {
		return err
	}
	who, how := c.who.principal(), q.read()
	if user := q.number("user_id", 1, maxID, 0); user != 0 {
		who = attendance.Principal{Kind: attendance.UserPrincipal, ID: user}
	}
	if err := q.done(); err != nil {
		return err
	}
	key, ok := parseKey(c.vars("key"))
	if !ok {
		return notFound("An idempotency key is a UUID or a ULID.")
	}
	out, fresh, err := c.attemptOf(who, key, how)
	if err != nil {
		return c.findQueued(who, key, err)
	}
	return c.json(http.StatusOK, checkInStateJSON{jsonDecision(key, out), jsonFresh(fresh)})
}

type checkInStateJSON struct {
	decisionJSON
	freshJSON
}

// attemptOf gives the decision under a key of somebody's, if the visitor may see
// it.
func (c *call) attemptOf(who attendance.Principal, key string, how cluster.Read) (out attendance.Outcome, fresh cluster.Freshness, err error) {
	fresh, err = c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		// Whoever may see a person may see what they did. A device sees what
		// it did for those for whom it still may.
		if who.Kind == attendance.UserPrincipal {
			if err := s.need(who.ID); err != nil {
				return err
			}
		}
		row, known, err := tx.Key(who, key)
		if err != nil {
			return err
		}
		if !known {
			return notFound("This node does not know the key (yet). Another one may.")
		}
		event, err := tx.Event(row.Seq)
		if err != nil {
			return err
		}
		tap, isTap := event.Detail.(attendance.Tap)
		if !isTap {
			return notFound("The key does not belong to a check-in.")
		}
		if who.Kind == attendance.DevicePrincipal {
			if err := s.need(tap.UserID); err != nil {
				return err
			}
		}
		out, err = tx.OutcomeOf(event)
		return err
	})
	return out, fresh, err
}
