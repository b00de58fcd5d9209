package httpapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/password"
	"hadir/store"
)

const cookieName = "hadir_session"

// errNoSession is the answer to nobody.
var errNoSession = newProblem(codeUnauthenticated, "Sign in at POST /api/v1/session.")

// errWrongPassword does not say what of it is wrong.
var errWrongPassword = newProblem(codeUnauthenticated, "Address or password is wrong.")

// visitor is who is signed in: a person, or a device, which is no person and has
// no session.
type visitor struct {
	user    attendance.User
	session session
	token   string            // of the session
	device  *attendance.Token // nil for a person
	reach   reach             // on the route
	asked   bool              // whether the handler has asked how far that is
}

// principal is under whom the visitor's commands stand.
func (v *visitor) principal() attendance.Principal {
	if v.device != nil {
		return attendance.Principal{Kind: attendance.DevicePrincipal, ID: v.device.ID}
	}
	return attendance.Principal{Kind: attendance.UserPrincipal, ID: v.user.ID}
}

// credentials gives the token of the request: the bearer's, or else the
// cookie's.
func (c *call) credentials() (token string, bearer, given bool) {
	if header, ok := c.r.Header["Authorization"]; ok {
		scheme, token, _ := strings.Cut(header[0], " ")
		if len(header) != 1 || !strings.EqualFold(scheme, "Bearer") {
			return "", true, true // given, and not valid
		}
		return strings.TrimSpace(token), true, true
	}
	if cookie, err := c.r.Cookie(cookieName); err == nil && cookie.Value != "" {
		return cookie.Value, false, true
	}
	return "", false, false
}

// authenticate finds out who asks; nil when nobody does. Everything is read
// locally: signing in and staying in needs no leader.
func (c *call) authenticate() (*visitor, error) {
	if name, given := c.ticket(); given {
		token, ok := c.api.push.tickets.redeem(c.began, name)
		if !ok {
			return nil, errTicket
		}
		return c.visitor(token)
	}
	token, bearer, given := c.credentials()
	switch {
	case !given:
		return nil, nil
	case bearer && isDeviceToken(token):
		return c.authenticateDevice(token)
	}
	return c.visitor(token)
}

// visitor gives whose session the token is of.
func (c *call) visitor(token string) (who *visitor, err error) {
	_, err = c.api.Node.Read(c.r.Context(), cluster.Read{}, func(tx *store.ReadTx) error {
		who, err = visitorOf(tx, token, attendance.MillisOf(c.began))
		return err
	})
	return who, err
}

// visitorOf is visitor within a read.
func visitorOf(tx *store.ReadTx, token string, now attendance.Millis) (*visitor, error) {
	secret, err := tx.Secret(secretName)
	if err != nil {
		return nil, orNotReady(err)
	}
	s, err := openToken(token, secret.Value, secret.Previous)
	if err != nil || now >= s.until || s.global < tx.Meta().SessionEpoch {
		return nil, errNoSession
	}
	user, err := tx.User(s.user)
	switch {
	case errors.Is(err, store.ErrNotFound):
		// Users are never deleted, and the signature is good: it is this node
		// that has not heard of the user yet.
		return nil, cluster.ErrBehind
	case err != nil:
		return nil, err
	case !user.Active || s.epoch < user.SessionEpoch:
		return nil, errNoSession
	}
	return &visitor{user: user, session: s, token: token}, nil
}

// orNotReady says that a new cluster has not set itself up yet.
func orNotReady(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return newProblem(codeNotReady, "The cluster is being set up. Try again in a moment.")
	}
	return err
}

// signIn checks an address and a password and gives the token. Whether the
// address is unknown or the password wrong shows neither in the answer nor in
// its time.
func (c *call) signIn(email, word string) (token string, who *visitor, err error) {
	from := c.address()
	c.note.signIn, c.note.tried = true, triedAs(email)
	refused := func() error {
		wait := c.api.limits.wait(c.api.Clock.Now(), from, email)
		if wait == 0 {
			return nil
		}
		c.api.Metrics.signIn("limited")
		p := newProblem(codeRateLimited, "Wait before the next attempt.")
		p.retry = wait
		return p
	}
	if err := refused(); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), 2*c.api.Budget)
	defer cancel()
	err = c.api.gate.Do(ctx, func() error {
		// Again, because many may have failed while this one waited.
		if err := refused(); err != nil {
			return err
		}
		token, who, err = c.check(ctx, email, word)
		return err
	})
	switch {
	case errors.Is(err, errWrongPassword):
		c.api.limits.failed(c.api.Clock.Now(), from, email)
		c.api.Metrics.signIn("failed")
		c.api.Log.Info("sign-in failed", "request", c.id, "from", from)
	case errors.Is(err, password.ErrBusy):
		c.api.Metrics.signIn("overloaded")
	case err == nil:
		c.api.Metrics.signIn("ok")
	}
	return token, who, err
}

// check is what the gate lets few do at a time.
func (c *call) check(ctx context.Context, email, word string) (string, *visitor, error) {
	var user attendance.User
	var secret attendance.Secret
	var global uint64
	hash := ""
	_, err := c.api.Node.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) (err error) {
		if secret, err = tx.Secret(secretName); err != nil {
			return orNotReady(err)
		}
		global = tx.Meta().SessionEpoch
		if user, err = tx.UserByEmail(email); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		}
		if user.Active {
			hash = tx.PasswordHash(user.ID)
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	known := hash != ""
	if !known {
		hash = c.api.noUser
	}
	right, err := password.Verify(hash, word)
	if err != nil {
		return "", nil, fmt.Errorf("user %d: %w", user.ID, err)
	}
	if !known || !right {
		return "", nil, errWrongPassword
	}
	return c.issue(user, secret, global)
}

// issue signs a session of a user as one read has seen them.
func (c *call) issue(user attendance.User, secret attendance.Secret, global uint64) (token string, who *visitor, err error) {
	var nonce [8]byte
	if _, err := io.ReadFull(c.api.Rand, nonce[:]); err != nil {
		return "", nil, fmt.Errorf("session nonce: %w", err)
	}
	now := c.api.Clock.Now()
	s := session{
		user: user.ID, epoch: user.SessionEpoch, global: global, issued: attendance.MillisOf(now),
		until: attendance.MillisOf(now.Add(sessionLife)), nonce: binary.BigEndian.Uint64(nonce[:]),
	}
	return s.sign(secret.Value), &visitor{user: user, session: s}, nil
}

// setCookie keeps the token in the browser, out of reach of scripts and of posts
// from other sites.
func (c *call) setCookie(token string, until attendance.Millis) {
	http.SetCookie(c.w, &http.Cookie{
		Name: cookieName, Value: token, Path: "/", Expires: until.Time(), HttpOnly: true, Secure: c.secure(),
		SameSite: http.SameSiteLaxMode,
	})
}

func (c *call) dropCookie() {
	http.SetCookie(c.w, &http.Cookie{
		Name: cookieName, Path: "/", Expires: time.Unix(1, 0), MaxAge: -1, HttpOnly: true, Secure: c.secure(),
		SameSite: http.SameSiteLaxMode,
	})
}

type sessionJSON struct {
	Token     string   `json:"token,omitempty"`
	ExpiresAt stamp    `json:"expires_at"`
	User      userJSON `json:"user"`
}

// maxEmail is generous: what is longer than an address can be is simply wrong.
const maxEmail = 512

func postSession(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	email, word := in.required("email", maxEmail), in.required("password", password.MaxLen)
	if err := in.done(); err != nil {
		return err
	}
	token, who, err := c.signIn(email, word)
	if err != nil {
		return err
	}
	c.setCookie(token, who.session.until)
	return c.json(http.StatusOK, sessionJSON{Token: token, ExpiresAt: stamp(who.session.until), User: jsonUser(who.user)})
}

func getSession(c *call) error {
	return c.json(http.StatusOK, sessionJSON{ExpiresAt: stamp(c.who.session.until), User: jsonUser(c.who.user)})
}

// deleteSession forgets the cookie; everywhere=true ends every session of the
// user, which takes a decision.
func deleteSession(c *call) error {
	q, err := c.query("everywhere")
	if err != nil {
		return err
	}
	everywhere := q.flag("everywhere")
	if err := q.done(); err != nil {
		return err
	}
	if everywhere {
		if err := c.change(attendance.BumpSessionEpoch{UserID: c.who.user.ID}); err != nil {
			return err
		}
	}
	c.dropCookie()
	return c.empty()
}

// deleteSessions ends the sessions of everybody. The parameter is there so that
// nobody does it by leaving something out of another address.
func deleteSessions(c *call) error {
	q, err := c.query("everybody")
	if err != nil {
		return err
	}
	if !q.flag("everybody") {
		q.wrong("everybody", "is not true: this signs everybody out, on every device")
	}
	if err := q.done(); err != nil {
		return err
	}
	if err := c.change(attendance.BumpSessionEpoch{}); err != nil {
		return err
	}
	return c.empty()
}
