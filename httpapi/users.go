package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/password"
	"hadir/store"
)

// userFilter says which people a list is about; its zero value keeps all.
type userFilter struct {
	text   string          // part of a name or an address, folded
	role   attendance.Role // 0 for all
	active *bool
	group  uint64 // 0 for all
}

func (f userFilter) isZero() bool { return f == userFilter{} }

func (f userFilter) keeps(u attendance.User) bool {
	return (f.role == 0 || u.Role == f.role) && (f.active == nil || u.Active == *f.active) &&
		(f.text == "" || strings.Contains(attendance.FoldEmail(u.Name), f.text) || strings.Contains(attendance.FoldEmail(u.Email), f.text))
}

// userFilter reads the filters of the list.
func (q *query) userFilter() userFilter {
	f := userFilter{text: attendance.FoldEmail(q.text("q")), group: q.number("group", 1, maxID, 0)}
	if s := q.text("role"); s != "" {
		role, ok := attendance.ParseRole(s)
		if !ok {
			q.wrong("role", "is neither student, teacher nor admin")
		}
		f.role = role
	}
	if q.text("active") != "" {
		active := q.flag("active")
		f.active = &active
	}
	return f
}

// peopleJSON is a page of a list with how many there are in all, where nothing
// narrows it.
type peopleJSON[T any] struct {
	listJSON[T]
	Total *uint64 `json:"total,omitempty"`
}

// getUsers lists people by id: all for admins, those of their groups and
// themselves for teachers. A page of a filtered list may be shorter than its
// limit; next_cursor alone says whether there is more.
func getUsers(c *call) error {
	q, err := c.query(append([]string{"q", "role", "active", "group", "limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after, filter := q.read(), q.limit(), q.number("cursor", 1, maxID, 0), q.userFilter()
	if err := q.done(); err != nil {
		return err
	}
	var users []attendance.User
	var next uint64
	var total *uint64
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if s.everybody() && filter.isZero() {
			n := tx.Meta().Users
			total = &n
		}
		users, next, err = s.users(filter, after, limit)
		return err
	})
	if err != nil {
		return err
	}
	items := make([]userJSON, len(users))
	for i, u := range users {
		items[i] = jsonUser(u)
	}
	return c.json(http.StatusOK, peopleJSON[userJSON]{jsonList(items, cursorOf(next), fresh), total})
}

// cursorOf writes the id after which a list goes on; 0 for its end.
func cursorOf(id uint64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(id, 10)
}

// users gives the people of the scope by id after one, and after whom the list
// goes on; 0 at its end.
func (s *scope) users(f userFilter, after uint64, limit int) (users []attendance.User, next uint64, err error) {
	if f.group != 0 && !s.leads(f.group) {
		return nil, 0, errOtherGroup
	}
	page := func(after uint64) ([]attendance.User, error) { return s.userPage(f.group, after) }
	return filtered(page, f.keeps, func(u attendance.User) uint64 { return u.ID }, after, limit)
}

// filtered gives what a filter keeps of full pages in the order of ids, and after
// which id the list goes on; 0 at its end. It looks at no more than maxSteps pages,
// and the list may then go on after fewer than limit.
func filtered[T any](page func(after uint64) ([]T, error), keeps func(T) bool, id func(T) uint64, after uint64, limit int) (kept []T, next uint64, err error) {
	for range maxSteps {
		all, err := page(after)
		if err != nil {
			return nil, 0, err
		}
		for _, one := range all {
			if !keeps(one) {
				continue
			}
			if len(kept) == limit {
				return kept, id(kept[limit-1]), nil
			}
			kept = append(kept, one)
		}
		if len(all) < store.MaxPage {
			return kept, 0, nil
		}
		after = id(all[len(all)-1])
	}
	return kept, after, nil
}

var errOtherGroup = forbidden("Teachers see their own groups only.")

// userPage gives a full page of the scope's people, or of those of a group.
func (s *scope) userPage(group, after uint64) ([]attendance.User, error) {
	var ids []uint64
	switch {
	case group != 0:
		ids = peopleOf(s.tx, group, after, store.MaxPage)
	case s.everybody():
		return s.tx.Users(after, store.MaxPage)
	default:
		ids = s.people(after, store.MaxPage)
	}
	users := make([]attendance.User, len(ids))
	for i, id := range ids {
		var err error
		if users[i], err = s.tx.User(id); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// peopleOf gives who belongs to a group in any way.
func peopleOf(tx *store.ReadTx, group, after uint64, limit int) []uint64 {
	ids := append(tx.People(group, store.Member, after, limit), tx.People(group, store.Responsible, after, limit)...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), limit)]
}

// membershipJSON is how somebody belongs to a group.
type membershipJSON struct {
	ID   uint64 `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"`
	As   string `json:"as"` // member or teacher
}

type userDetailJSON struct {
	userJSON
	Groups      []membershipJSON `json:"groups"`
	HasPassword *bool            `json:"has_password,omitempty"` // for admins: without one nobody signs in
	freshJSON
}

func getUser(c *call) error {
	q, err := c.query(readParams...)
	if err != nil {
		return err
	}
	how := q.read()
	if err := q.done(); err != nil {
		return err
	}
	id, err := c.pathID()
	if err != nil {
		return err
	}
	d := userDetailJSON{Groups: []membershipJSON{}}
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if err := s.need(id); err != nil {
			return err
		}
		u, err := tx.User(id)
		if err != nil {
			return err
		}
		d.userJSON = jsonUser(u)
		if s.everybody() {
			has := tx.PasswordHash(id) != ""
			d.HasPassword = &has
		}
		d.Groups, err = memberships(tx, id)
		return err
	})
	if err != nil {
		return err
	}
	d.freshJSON = jsonFresh(fresh)
	return c.json(http.StatusOK, d)
}

func memberships(tx *store.ReadTx, user uint64) ([]membershipJSON, error) {
	out := []membershipJSON{}
	for _, as := range []struct {
		part store.Part
		word string
	}{{store.Member, "member"}, {store.Responsible, "teacher"}} {
		for _, id := range tx.GroupsOf(user, as.part) {
			g, err := tx.Group(id)
			if err != nil {
				return nil, err
			}
			out = append(out, membershipJSON{ID: id, Name: g.Name, Kind: g.Kind.String(), As: as.word})
		}
	}
	return out, nil
}

// name, email and role take what the state machine would take too.
func (o *object) name() (string, bool) {
	s, given := o.text("name", attendance.MaxName)
	if given {
		o.refuse("name", nameFault(s))
	}
	return s, given
}

func (o *object) email() (string, bool) {
	s, given := o.text("email", attendance.MaxEmail)
	if given {
		o.refuse("email", emailFault(s))
	}
	return s, given
}

func (o *object) role() (attendance.Role, bool) {
	s, given := o.text("role", 16)
	role, ok := attendance.ParseRole(s)
	if given && !ok {
		o.wrong("role", "is neither student, teacher nor admin")
	}
	return role, given
}

// refuse notes what is wrong with a field, if anything is.
func (o *object) refuse(field, reason string) {
	if reason != "" {
		o.wrong(field, reason)
	}
}

// need notes that a field is missing.
func (o *object) need(field string, given bool) {
	if !given && !o.isWrong(field) {
		o.wrong(field, "is missing")
	}
}

func nameFault(s string) string {
	return strings.TrimPrefix(fault(attendance.PutUser{Name: s, Email: "a@b", Role: attendance.Student}), "name ")
}

func emailFault(s string) string {
	return strings.TrimPrefix(fault(attendance.PutUser{Name: "x", Email: s, Role: attendance.Student}), "email ")
}

// minPassword is the least length of a new password, in bytes.
const minPassword = 8

// newPassword takes a password that is to be set.
func (o *object) newPassword() (string, bool) {
	s, given := o.text("password", password.MaxLen)
	if given {
		o.refuse("password", passwordFault(s))
	}
	return s, given
}

func passwordFault(s string) string {
	if len(s) < minPassword {
		return fmt.Sprintf("is shorter than %d bytes", minPassword)
	}
	return ""
}

// hash gives the hash of a new password, when it is its turn.
func (a *API) hash(ctx context.Context, word string) (hash string, err error) {
	err = a.gate.Do(ctx, func() error {
		hash, err = a.PasswordCost.Hash(a.Rand, word)
		return err
	})
	return hash, err
}

// postUser creates somebody. Without a password they cannot sign in until they
// get one.
func postUser(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	b, word, err := in.newUser()
	if err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	u, _, err := c.createUser(key, b, word)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", fmt.Sprintf("%s/users/%d", apiPrefix, u.ID))
	return c.json(http.StatusCreated, jsonUser(u))
}

// newUser reads somebody new and their password; "" for none.
func (o *object) newUser() (b attendance.PutUser, word string, err error) {
	b.Active = true
	var given bool
	b.Name, given = o.name()
	o.need("name", given)
	b.Email, given = o.email()
	o.need("email", given)
	b.Role, given = o.role()
	o.need("role", given)
	if active := o.choice("active"); active != nil {
		b.Active = *active
	}
	word, _ = o.newPassword()
	return b, word, o.done()
}

// createUser has somebody created under a key. replayed says that they were
// before, with the password of that time.
func (c *call) createUser(key string, b attendance.PutUser, word string) (u attendance.User, replayed bool, err error) {
	if word != "" {
		ctx, cancel := context.WithTimeout(c.r.Context(), 2*c.api.Budget)
		defer cancel()
		if b.PasswordHash, err = c.api.hash(ctx, word); err != nil {
			return u, false, err
		}
	}
	result, err := c.changeUnder(key, b)
	if err != nil {
		return u, false, err
	}
	at := result.Outcome.DecideAt
	return attendance.User{
		ID: result.Outcome.ID, Name: b.Name, Email: b.Email, Role: b.Role, Active: b.Active, CreatedAt: at, UpdatedAt: at,
	}, result.Outcome.Replayed, nil
}

// userPatch is the fields that somebody changes; the others stay as they are.
type userPatch struct {
	name, email  *string
	role         *attendance.Role
	active       *bool
	passwordHash string // "" leaves it as it is
}

// on gives the command that makes the change to a user as they are.
func (p userPatch) on(u attendance.User) attendance.PutUser {
	b := attendance.PutUser{UserID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, Active: u.Active, PasswordHash: p.passwordHash}
	set(&b.Name, p.name)
	set(&b.Email, p.email)
	set(&b.Role, p.role)
	set(&b.Active, p.active)
	return b
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}

// given gives a pointer to a field that was given.
func given[T any](v T, ok bool) *T {
	if !ok {
		return nil
	}
	return &v
}

func patchUser(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.object()
	if err != nil {
		return err
	}
	p := userPatch{name: given(in.name()), email: given(in.email()), role: given(in.role()), active: in.choice("active")}
	if err := in.done(); err != nil {
		return err
	}
	if (p == userPatch{}) {
		return invalidField("", "names nothing to change")
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	u, err := c.changeUser(key, id, p)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonUser(u))
}

// changeUser changes some fields of a user under a key.
func (c *call) changeUser(key string, id uint64, p userPatch) (attendance.User, error) {
	u, result, err := c.api.changeUser(c.r.Context(), c.who, key, id, p)
	switch {
	case isNotFound(err):
		return u, err
	case err != nil:
		return u, notDone(key, err)
	}
	c.index(result.Index)
	c.keyed(key, result.Outcome.Replayed)
	return u, nil
}

// changeUser changes some fields of a user. A command carries all of them, so
// the others are taken from the newest state, and where somebody else's change
// was decided between that look and this change, mend puts it back: of two
// changes at once both hold, and where they are of one field, the later one.
func (a *API) changeUser(ctx context.Context, who *visitor, key string, id uint64, p userPatch) (u attendance.User, r cluster.Result, err error) {
	seen := uint64(0) // the last event that u reflects
	err = a.newest(ctx, func(tx *store.ReadTx) (err error) {
		if u, err = tx.User(id); err != nil {
			return err
		}
		seen = tx.Meta().Seq
		// A change that was decided before under this key is asked for as it was,
		// and gets its answer.
		if before, ok, err := decidedUser(tx, who, key, id); err != nil || ok {
			u = before
			return err
		}
		return nil
	})
	if err != nil {
		return u, r, err
	}
	b := p.on(u)
	if r, err = a.decide(ctx, a.Clock.Now(), who, key, b); err == nil {
		err = refusal(r.Outcome)
	}
	if err != nil {
		return u, r, err
	}
	u = changed(u, b, r.Outcome.DecideAt)
	if !r.Outcome.Replayed {
		u = a.mend(ctx, who, p, u, seen, r)
	}
	return u, r, nil
}

// changed gives a user after a command.
func changed(u attendance.User, b attendance.PutUser, at attendance.Millis) attendance.User {
	u.Name, u.Email, u.Role, u.Active, u.UpdatedAt = b.Name, b.Email, b.Role, b.Active, at
	return u
}

// maxMends is how often changes at the same moment may come between.
const maxMends = 5

// mend repeats a change on top of those that were decided between what it was
// made from and itself, which it has undone. It gives the user as they are then.
// The change stands whatever happens here.
func (a *API) mend(ctx context.Context, who *visitor, p userPatch, u attendance.User, seen uint64, r cluster.Result) attendance.User {
	p.passwordHash = "" // set already, and setting it ends sessions
	for range maxMends {
		other, err := a.changeBetween(ctx, u.ID, seen, r)
		if err == nil && (other == nil || p.on(*other) == p.on(u)) {
			return u
		}
		var key string
		if err == nil {
			key, err = newKey(a.Clock.Now(), a.Rand)
		}
		if err == nil {
			seen = r.Outcome.Seq
			if r, err = a.decide(ctx, a.Clock.Now(), who, key, p.on(*other)); err == nil {
				err = refusal(r.Outcome)
			}
		}
		if err != nil {
			a.Log.Warn("a change of a user may have undone another one of the same moment", "user", u.ID, "error", err)
			return u
		}
		u = changed(u, p.on(*other), r.Outcome.DecideAt)
	}
	return u
}

// decidedUser gives a user as a change under a key has left them.
func decidedUser(tx *store.ReadTx, who *visitor, key string, id uint64) (u attendance.User, ok bool, err error) {
	row, known, err := tx.Key(who.principal(), key)
	if err != nil || !known {
		return u, false, err
	}
	e, err := tx.Event(row.Seq)
	if err != nil {
		return u, false, err
	}
	change, ok := e.Detail.(attendance.UserChange)
	return change.User, ok && change.User.ID == id, nil
}

// changeBetween gives a user as the last change left them that was decided after
// an event and before a change; nil when there was none.
func (a *API) changeBetween(ctx context.Context, id, after uint64, r cluster.Result) (last *attendance.User, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.Budget)
	defer cancel()
	_, err = a.Node.Read(ctx, cluster.Read{MinIndex: r.Index}, func(tx *store.ReadTx) error {
		var wrong error
		tx.Events(after, int(r.Outcome.Seq-after), func(seq uint64, event []byte) bool {
			e, err := attendance.DecodeEvent(event)
			if err != nil {
				wrong = fmt.Errorf("%w: event %d: %w", store.ErrCorrupt, seq, err)
				return false
			}
			if change, ok := e.Detail.(attendance.UserChange); ok && change.User.ID == id && seq < r.Outcome.Seq {
				last = &change.User
			}
			return true
		})
		return wrong
	})
	return last, err
}

// newest runs f on all that was decided, within the budget.
func (a *API) newest(ctx context.Context, f func(*store.ReadTx) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.Budget)
	defer cancel()
	_, err := a.Node.Read(ctx, cluster.Read{Consistency: cluster.Strong}, f)
	return err
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// deleteUser deactivates: the history stays, the sessions end, and an admin may
// make them active again.
func deleteUser(c *call) error {
	return c.endUser(func(id uint64) attendance.Body { return attendance.DeactivateUser{UserID: id} })
}

// deleteUserSessions signs somebody out everywhere.
func deleteUserSessions(c *call) error {
	return c.endUser(func(id uint64) attendance.Body { return attendance.BumpSessionEpoch{UserID: id} })
}

// endUser has a command about the user in the path decided.
func (c *call) endUser(body func(id uint64) attendance.Body) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	if err := c.mayChange(id); err != nil {
		return err
	}
	if err := c.change(body(id)); err != nil {
		return err
	}
	return c.empty()
}

// mayChange checks that the visitor may act on somebody, and that there is such
// a person.
func (c *call) mayChange(id uint64) error {
	return c.look(func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		if err := s.need(id); err != nil {
			return err
		}
		_, err = tx.User(id)
		return err
	})
}

// postUserPassword sets a password and ends all sessions. For oneself the
// current one is needed, and one gets a new session.
func postUserPassword(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	in, err := c.object()
	if err != nil {
		return err
	}
	word, hasWord := in.newPassword()
	in.need("password", hasWord)
	self := id == c.who.user.ID
	current, hasCurrent := in.text("current_password", password.MaxLen)
	if self {
		in.need("current_password", hasCurrent)
	}
	if err := in.done(); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	if err := c.mayChange(id); err != nil {
		return err
	}
	if hasCurrent {
		if err := c.confirm(id, current); err != nil {
			return err
		}
	}
	result, err := c.setPassword(key, id, word)
	if err != nil {
		return err
	}
	if !self {
		return c.empty()
	}
	token, who, err := c.staySignedIn(result)
	switch {
	case err != nil:
		return err
	case who == nil:
		return c.empty()
	}
	return c.json(http.StatusOK, sessionJSON{Token: token, ExpiresAt: stamp(who.session.until), User: jsonUser(who.user)})
}

// setPassword sets somebody's password under a key, which ends their sessions.
func (c *call) setPassword(key string, id uint64, word string) (cluster.Result, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), 2*c.api.Budget)
	defer cancel()
	hash, err := c.api.hash(ctx, word)
	if err != nil {
		return cluster.Result{}, err
	}
	return c.changeUnder(key, attendance.SetPassword{UserID: id, PasswordHash: hash})
}

// errWrongCurrent is no 401: the session is good.
var errWrongCurrent = newProblem(codeWrongPassword, "The current password is not right. Nothing was changed.")

// confirm checks the password that somebody has now. It is guessed at no faster
// than at the sign-in.
func (c *call) confirm(id uint64, word string) error {
	var user attendance.User
	_, err := c.read(cluster.Read{}, func(tx *store.ReadTx) (err error) {
		user, err = tx.User(id)
		return err
	})
	if err != nil {
		return err
	}
	_, _, err = c.signIn(user.Email, word)
	if errors.Is(err, errWrongPassword) {
		return errWrongCurrent
	}
	return err
}

// staySignedIn gives whoever has changed their own password a session under the
// new epoch. If this node cannot tell it yet, who is nil and they sign in again.
func (c *call) staySignedIn(r cluster.Result) (token string, who *visitor, err error) {
	var user attendance.User
	var secret attendance.Secret
	var global uint64
	_, err = c.read(cluster.Read{MinIndex: r.Index}, func(tx *store.ReadTx) (err error) {
		if secret, err = tx.Secret(secretName); err != nil {
			return err
		}
		global = tx.Meta().SessionEpoch
		if user, err = tx.User(c.who.user.ID); err != nil {
			return err
		}
		e, err := tx.Event(r.Outcome.Seq)
		if err != nil {
			return err
		}
		change, ok := e.Detail.(attendance.SessionsChange)
		if !ok || change.UserID != user.ID {
			return fmt.Errorf("event %d sets no password", e.Seq)
		}
		// Of the change itself: what ended the sessions after it ends this one too.
		user.SessionEpoch = change.Epoch
		return nil
	})
	if err != nil {
		c.api.Log.Warn("a password was set, and no session given", "request", c.id, "error", err)
		c.dropCookie()
		return "", nil, nil
	}
	if token, who, err = c.issue(user, secret, global); err == nil {
		c.setCookie(token, who.session.until)
	}
	return token, who, err
}
