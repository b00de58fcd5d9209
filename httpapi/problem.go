package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hadir/cluster"
	"hadir/httpapi/password"
	"hadir/store"
)

// Code is the stable word of a problem.
type code string

// The codes. Additions are welcome, renames are not.
const (
	codeInvalidBody     code = "invalid_body"
	codeInvalidQuery    code = "invalid_query"
	codeInvalidKey      code = "invalid_key"
	codeUnauthenticated code = "unauthenticated"
	codeForbidden       code = "forbidden"
	codeCrossOrigin     code = "cross_origin"
	codeNotFound        code = "not_found"
	codeMethod          code = "method_not_allowed"
	codeTimeout         code = "body_timeout"
	codeNotLeader       code = "not_leader"
	codeTooLarge        code = "too_large"
	codeUnsupportedType code = "unsupported_type"
	codeRateLimited     code = "rate_limited"
	codeInternal        code = "internal"
	codeBehind          code = "behind"
	codeNoLeader        code = "no_leader"
	codeUnknownOutcome  code = "unknown_outcome"
	codeOverloaded      code = "overloaded"
	codeNotReady        code = "not_ready"
	codeClosing         code = "closing"
	codeStorage         code = "storage_unavailable"
	codeDemo            code = "demo_failed"
	codeNotNow          code = "not_now"
	codeTransfer        code = "transfer_failed"
)

// meaning is what a code stands for in every answer.
type meaning struct {
	status int
	title  string
	retry  time.Duration // for Retry-After; 0 for none
}

// The one table of codes and statuses.
var meanings = map[code]meaning{
	codeInvalidBody:     {status: http.StatusBadRequest, title: "The request body is not valid"},
	codeInvalidQuery:    {status: http.StatusBadRequest, title: "The query is not valid"},
	codeInvalidKey:      {status: http.StatusBadRequest, title: "The idempotency key is not valid"},
	codeUnauthenticated: {status: http.StatusUnauthorized, title: "Sign in first"},
	codeForbidden:       {status: http.StatusForbidden, title: "Not allowed for this account"},
	codeCrossOrigin:     {status: http.StatusForbidden, title: "Requests from other sites are not accepted"},
	codeNotFound:        {status: http.StatusNotFound, title: "Not found"},
	codeMethod:          {status: http.StatusMethodNotAllowed, title: "Method not allowed"},
	codeTimeout:         {status: http.StatusRequestTimeout, title: "The request body took too long"},
	codeNotLeader:       {status: http.StatusConflict, title: "Not the leader"},
	codeTooLarge:        {status: http.StatusRequestEntityTooLarge, title: "The request body is too large"},
	codeUnsupportedType: {status: http.StatusUnsupportedMediaType, title: "The content type is not supported"},
	codeRateLimited:     {status: http.StatusTooManyRequests, title: "Too many failed attempts", retry: time.Minute},
	codeInternal:        {status: http.StatusInternalServerError, title: "Something is wrong in this node"},
	codeBehind:          {status: http.StatusServiceUnavailable, title: "This node is behind", retry: time.Second},
	codeNoLeader:        {status: http.StatusServiceUnavailable, title: "No leader", retry: time.Second},
	codeUnknownOutcome:  {status: http.StatusServiceUnavailable, title: "The outcome is not known yet", retry: time.Second},
	codeOverloaded:      {status: http.StatusServiceUnavailable, title: "Too many requests at once", retry: time.Second},
	codeNotReady:        {status: http.StatusServiceUnavailable, title: "This node is not ready yet", retry: 2 * time.Second},
	codeClosing:         {status: http.StatusServiceUnavailable, title: "This node is shutting down", retry: time.Second},
	codeStorage:         {status: http.StatusServiceUnavailable, title: "The storage cannot be read", retry: 5 * time.Second},
	codeTransfer:        {status: http.StatusServiceUnavailable, title: "Leadership was not transferred", retry: time.Second},
	codeDemo:            {status: http.StatusServiceUnavailable, title: "The demo could not do that", retry: time.Second},
	codeNotNow:          {status: http.StatusConflict, title: "The node is not in a state for that"},
}

// fieldError says what is wrong with one field; Field is "" for the whole.
type fieldError struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// problem is an error with its answer (RFC 9457).
type problem struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"`
	Code     code         `json:"code"`
	Errors   []fieldError `json:"errors,omitempty"`
	Key      string       `json:"key,omitempty"` // of the check-in that it is about

	retry time.Duration
	allow string // of a 405
	cause error  // for the log
}

// Error implements error.
func (p *problem) Error() string { return string(p.Code) + ": " + p.Detail }

// Unwrap gives what lies behind it.
func (p *problem) Unwrap() error { return p.cause }

// newProblem gives the problem with a code.
func newProblem(c code, detail string) *problem {
	m := meanings[c]
	return &problem{Type: "urn:hadir:problem:" + string(c), Title: m.title, Status: m.status, Detail: detail, Code: c, retry: m.retry}
}

func invalidBody(errs ...fieldError) *problem {
	p := newProblem(codeInvalidBody, "Correct the fields that errors names.")
	p.Errors = errs
	return p
}

func invalidField(field, reason string) *problem { return invalidBody(fieldError{field, reason}) }

func notFound(what string) *problem { return newProblem(codeNotFound, what) }

func forbidden(why string) *problem { return newProblem(codeForbidden, why) }

// The details that say what is certain.
const (
	detailNothing = "Nothing was recorded. Try again in a moment, under the same idempotency key."
	detailUnknown = "It may have been decided, or be decided yet. Send the same request again under the same idempotency " +
		"key: it is decided once, and you get that decision."
	detailBehind = "This node has not caught up as far as was asked. Try again, or ask another node."
)

// problemOf is the one place where an error becomes an answer.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, cluster.ErrUnknown):
		p = newProblem(codeUnknownOutcome, detailUnknown)
	case errors.Is(err, cluster.ErrNoLeader):
		p = newProblem(codeNoLeader, detailNothing)
	case errors.Is(err, cluster.ErrOverloaded):
		p = newProblem(codeOverloaded, detailNothing)
	case errors.Is(err, cluster.ErrClosing):
		p = newProblem(codeClosing, detailNothing)
	case errors.Is(err, cluster.ErrNotMember):
		p = newProblem(codeNotReady, "It has not been admitted to a cluster yet. Nothing was recorded.")
	case errors.Is(err, cluster.ErrBehind):
		p = newProblem(codeBehind, detailBehind)
	case errors.Is(err, cluster.ErrInvalid):
		p = invalidField("", err.Error())
	case errors.Is(err, cluster.ErrNotLeader):
		p = newProblem(codeNotLeader, "Another node leads by now. Look at the cluster and ask again.")
	case errors.Is(err, password.ErrBusy):
		p = newProblem(codeOverloaded, "Too many people sign in at this moment. Try again in a moment.")
	case errors.Is(err, store.ErrNotFound):
		p = notFound("There is no such thing here.")
	case errors.Is(err, store.ErrClosed):
		p = newProblem(codeClosing, "")
	case errors.Is(err, store.ErrCorrupt):
		p = newProblem(codeStorage, "Ask another node. This one needs its operator.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// A caller for whom time matters has told what is certain before this.
		p = newProblem(codeOverloaded, "It took too long. Try again in a moment.")
	default:
		p = newProblem(codeInternal, "The request id says where to look in the log.")
	}
	p.cause = err
	return p
}
