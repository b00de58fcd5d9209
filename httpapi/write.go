package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Admin acts. They are decided like check-ins: through the log, under an
// idempotency key, by whoever leads. Without a quorum they are refused and say so.

// detailNoQuorum is what an admin needs to know; detailNothing is for taps.
const detailNoQuorum = "Too few nodes reach each other to decide, or they are just electing a leader. Nothing was changed. " +
	"Signing in and reading still work. Send the same request again, under the same idempotency key, once there is a leader."

// change has an act decided under the request's idempotency key. A refusal is an
// error.
func (c *call) change(body attendance.Body) error {
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	_, err = c.changeUnder(key, body)
	return err
}

// changeUnder is change under a key that the request has been read for.
func (c *call) changeUnder(key string, body attendance.Body) (cluster.Result, error) {
	result, err := c.step(key, key, body)
	if err == nil {
		c.keyed(key, result.Outcome.Replayed)
	}
	return result, err
}

// step has a part of what was asked for under a key decided under its own.
func (c *call) step(key, own string, body attendance.Body) (cluster.Result, error) {
	result, err := c.propose(c.who, own, body)
	if err == nil {
		err = refusal(result.Outcome)
	}
	if err != nil {
		return cluster.Result{}, notDone(key, err)
	}
	return result, nil
}

// keyed says under which key a request was decided, and whether it was before.
func (c *call) keyed(key string, replayed bool) {
	c.w.Header().Set("Idempotency-Key", key)
	if replayed {
		c.w.Header().Set("Idempotency-Replayed", "true")
	}
}

// notDone gives the problem of an act that was not done, or is not known to be.
func notDone(key string, err error) *problem {
	p := *problemOf(err)
	p.Key = key
	if p.Code == codeNoLeader {
		p.Detail = detailNoQuorum
	}
	return &p
}

// refusal gives the problem of an act that was decided not to be done; nil for
// all others.
func refusal(o attendance.Outcome) error {
	if o.Status != attendance.RejectedStatus {
		return nil
	}
	says, known := refusals[o.Reason]
	if !known {
		return fmt.Errorf("an act was refused as %s", o.Reason)
	}
	p := newProblem(code(o.Reason.String()), says.detail)
	if says.field != "" {
		p.Errors = []fieldError{{says.field, says.reason}}
	}
	return p
}

// refused is what a refusal says, in a whole sentence and, where one field is
// the cause, about that.
type refused struct{ detail, field, reason string }

// Each of these reasons is the code of a problem, too.
var refusals = map[attendance.Reason]refused{
	attendance.EmailTaken: {
		"Another person has this address, perhaps one who was deactivated. Change or reactivate them instead.", "email", "is another person's",
	},
	attendance.NotATeacher: {
		"A student cannot be responsible for a group. Change the role, or take the responsibility away first.", "role",
		"does not go with being responsible for a group",
	},
	attendance.LastAdmin: {detail: "This is the last active administrator. Make somebody else one first."},
	attendance.GroupFull: {
		detail: fmt.Sprintf("A group has at most %d members and %d teachers.", attendance.MaxGroupMembers, attendance.MaxGroupTeachers),
	},
	attendance.GroupNotEmpty: {detail: "Somebody was added meanwhile. Try again."},
	attendance.UnknownUser:   {detail: "Look at the list of people."},
	attendance.UnknownGroup:  {detail: "Look at the list of groups."},
	attendance.UnknownToken:  {detail: "Look at the list of tokens."},
	attendance.TokenTaken:    {detail: "Try again: another secret will be drawn."},
	attendance.KeyReused:     {detail: "Use a new key for a new change."},
}

// look runs f on what this node knows and, when it finds nothing, again on all
// that was decided: it may be about somebody so new that this node has not heard
// of them yet.
func (c *call) look(f func(*store.ReadTx) error) error {
	_, err := c.read(cluster.Read{}, f)
	if isNotFound(err) {
		_, err = c.read(cluster.Read{Consistency: cluster.Strong}, f)
	}
	return err
}

// empty is the answer without a body.
func (c *call) empty() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// fault says what the state machine would not take of a command, less the first
// word, which names the field; "" for nothing.
func fault(body attendance.Body) string {
	err := attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n", Body: body,
	}.Check()
	if err == nil {
		return ""
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the name of the operation
	}
	return err.Error()
}
