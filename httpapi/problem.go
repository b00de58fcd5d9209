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
	codeUpgrade         code = "upgrade_required"
	codeHandshake       code = "invalid_handshake"
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
	codeQuorumAtRisk    code = "quorum_at_risk"
	codeBusy            code = "busy"
	codeInvalidBackup   code = "invalid_backup"
	codeNotEmpty        code = "not_empty"
	codeIncomplete      code = "incomplete_cluster"
	codeNoSpace         code = "no_space"
	codeWrongPassword   code = "wrong_password"
	codePartlyDone      code = "partly_done"
	codeOutOfTime       code = "out_of_time"
	codeKeyReused       code = "key_reused"
	codeEmailTaken      code = "email_taken"
	codeLastAdmin       code = "last_admin"
	codeNotATeacher     code = "not_a_teacher"
	codeGroupFull       code = "group_full"
	codeGroupNotEmpty   code = "group_not_empty"
	codeUnknownUser     code = "unknown_user"
	codeUnknownGroup    code = "unknown_group"
	codeUnknownToken    code = "unknown_token"
	codeTokenTaken      code = "token_taken"
	codeResolved        code = "already_resolved"
	codeTooOld          code = "too_old"
	codeInOrder         code = "in_order"
	codeNeedsEmpty      code = "needs_empty"
	codeConfigured      code = "target_configured"
	codeTarget          code = "target_unavailable"
	codeNotDone         code = "not_done"
	codeJobAway         code = "job_unavailable"
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
	codeUpgrade:         {status: http.StatusUpgradeRequired, title: "Connect with a WebSocket"},
	codeHandshake:       {status: http.StatusBadRequest, title: "The WebSocket handshake is not valid"},
	codeRateLimited:     {status: http.StatusTooManyRequests, title: "Too many requests", retry: time.Minute},
	codeInternal:        {status: http.StatusInternalServerError, title: "Something is wrong in this node"},
	codeBehind:          {status: http.StatusServiceUnavailable, title: "This node is behind", retry: time.Second},
	codeNoLeader:        {status: http.StatusServiceUnavailable, title: "No leader", retry: time.Second},
	codeUnknownOutcome:  {status: http.StatusServiceUnavailable, title: "The outcome is not known yet", retry: time.Second},
	codeOverloaded:      {status: http.StatusServiceUnavailable, title: "Too many requests at once", retry: time.Second},
	codeNotReady:        {status: http.StatusServiceUnavailable, title: "This node is not ready yet", retry: 2 * time.Second},
	codeClosing:         {status: http.StatusServiceUnavailable, title: "This node is shutting down", retry: time.Second},
	codeStorage:         {status: http.StatusServiceUnavailable, title: "The storage of this node cannot be used", retry: 5 * time.Second},
	codeQuorumAtRisk:    {status: http.StatusConflict, title: "The cluster could not decide any more"},
	codeTransfer:        {status: http.StatusServiceUnavailable, title: "Leadership was not transferred", retry: time.Second},
	codeDemo:            {status: http.StatusServiceUnavailable, title: "The demo could not do that", retry: time.Second},
	codeBusy:            {status: http.StatusConflict, title: "One at a time"},
	codeInvalidBackup:   {status: http.StatusUnprocessableEntity, title: "The backup cannot be restored"},
	codeNotEmpty:        {status: http.StatusConflict, title: "The cluster is not empty"},
	codeIncomplete:      {status: http.StatusConflict, title: "Not all nodes of the cluster answer"},
	codeNoSpace:         {status: http.StatusInsufficientStorage, title: "Too little space on the disk"},
	codeNotNow:          {status: http.StatusConflict, title: "The node is not in a state for that"},
	codeWrongPassword:   {status: http.StatusForbidden, title: "The current password is wrong"},
	codePartlyDone:      {status: http.StatusServiceUnavailable, title: "Only a part was done", retry: time.Second},
	codeOutOfTime:       {status: http.StatusServiceUnavailable, title: "The time was up", retry: time.Second},
	codeKeyReused:       {status: http.StatusUnprocessableEntity, title: "The idempotency key stands for another request"},
	codeEmailTaken:      {status: http.StatusConflict, title: "The address is taken"},
	codeLastAdmin:       {status: http.StatusConflict, title: "Nobody would be left to administer"},
	codeNotATeacher:     {status: http.StatusUnprocessableEntity, title: "Students are not responsible for groups"},
	codeGroupFull:       {status: http.StatusConflict, title: "The group is full"},
	codeGroupNotEmpty:   {status: http.StatusConflict, title: "The group is not empty"},
	codeUnknownUser:     {status: http.StatusUnprocessableEntity, title: "There is no such person"},
	codeUnknownGroup:    {status: http.StatusUnprocessableEntity, title: "There is no such group"},
	codeUnknownToken:    {status: http.StatusNotFound, title: "There is no such device token"},
	codeTokenTaken:      {status: http.StatusConflict, title: "The secret is taken"},
	codeResolved:        {status: http.StatusConflict, title: "The review is decided"},
	codeTooOld:          {status: http.StatusUnprocessableEntity, title: "Too old to be decided"},
	codeInOrder:         {status: http.StatusConflict, title: "There is nothing to decide"},
	codeNeedsEmpty:      {status: http.StatusConflict, title: "The export target has to be emptied"},
	codeConfigured:      {status: http.StatusConflict, title: "The export target is configured"},
	codeNotDone:         {status: http.StatusConflict, title: "The job is not done"},
	codeJobAway:         {status: http.StatusServiceUnavailable, title: "The job cannot be asked for", retry: 5 * time.Second},
	codeTarget:          {status: http.StatusServiceUnavailable, title: "The export target cannot be asked", retry: 5 * time.Second},
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
	Key      string       `json:"key,omitempty"`    // of the check-in that it is about
	Became   string       `json:"became,omitempty"` // what a review became, by type of event
	Seq      uint64       `json:"seq,omitempty"`    // and that event

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
	case errors.Is(err, store.ErrOutboxFull):
		p = newProblem(codeOverloaded, "Nothing can be decided now, and this node can record no more. "+detailNothing)
	case errors.Is(err, store.ErrOutboxBroken):
		p = newProblem(codeStorage, "Nothing can be decided now, and this node cannot record. Ask another node; this one needs its operator.")
	case errors.Is(err, cluster.ErrNoLeader):
		p = newProblem(codeNoLeader, detailNothing)
	case errors.Is(err, cluster.ErrDiskLow):
		p = newProblem(codeStorage, "The disk of this node is nearly full. Nothing was recorded. Ask another node; this one needs its operator.")
	case errors.Is(err, cluster.ErrUnknownServer):
		p = notFound("The cluster has no node of that id or name.")
	case errors.Is(err, cluster.ErrQuorumAtRisk):
		p = newProblem(codeQuorumAtRisk, "Without that node too few voters would be left that answer. Bring others back first. Nothing was changed.")
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
