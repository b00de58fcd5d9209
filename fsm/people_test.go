package fsm

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hadir/attendance"
	"hadir/store"
)

// clerk applies one command at a time, as an administrator at a desk does.
type clerk struct {
	*machine
	t     *testing.T
	index uint64
	now   attendance.Millis
}

func newClerk(t *testing.T) *clerk {
	t.Helper()
	c := &clerk{machine: newMachine(t, Options{}), t: t, now: starts[0]}
	t.Cleanup(func() { c.close(t) })
	return c
}

// do applies commands as one entry, a second after the one before.
func (c *clerk) do(bodies ...attendance.Body) []attendance.Outcome {
	c.t.Helper()
	c.index++
	c.now += 1_000
	e := attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: c.now}
	for _, b := range bodies {
		e.Commands = append(e.Commands, command(b))
	}
	out, err := c.Apply(entries(c.t, []step{{index: c.index, entry: e}}))
	if err != nil {
		c.t.Fatalf("%+v: %v", bodies, err)
	}
	return out[0]
}

// done expects the command to take effect and gives the id in the answer.
func (c *clerk) done(b attendance.Body) uint64 {
	c.t.Helper()
	o := c.do(b)[0]
	if o.Status != attendance.DoneStatus || o.Reason != attendance.NoReason {
		c.t.Fatalf("%s %+v: %s %s", b.Op(), b, o.Status, o.Reason)
	}
	return o.ID
}

// refused expects a refusal that leaves exactly one event, which says what was
// refused and why (none for a quiet operation), and no other trace.
func (c *clerk) refused(b attendance.Body, why attendance.Reason) {
	c.t.Helper()
	before := c.rows()
	seq := c.meta().Seq
	o := c.do(b)[0]
	if o.Status != attendance.RejectedStatus || o.Reason != why {
		c.t.Fatalf("%s %+v: %s %s, want it refused as %s", b.Op(), b, o.Status, o.Reason, why)
	}
	if diff := cmp.Diff(before, c.rows()); diff != "" {
		c.t.Fatalf("refused %s left a trace:\n%s", b.Op(), diff)
	}
	m := c.meta()
	if b.Op().Quiet() {
		if m.Seq != seq || o.Seq != 0 {
			c.t.Fatalf("refused quiet %s left event %d", b.Op(), o.Seq)
		}
		return
	}
	if m.Seq != seq+1 || o.Seq != m.Seq {
		c.t.Fatalf("refused %s: seq %d after %d, outcome says %d", b.Op(), m.Seq, seq, o.Seq)
	}
	refusal, ok := c.event(o.Seq).Detail.(attendance.Refusal)
	if !ok || refusal.Op != b.Op() || refusal.Reason != why || refusal.Subject != o.ID || c.event(o.Seq).Type != attendance.ActRefused {
		c.t.Fatalf("refused %s left %+v", b.Op(), c.event(o.Seq))
	}
}

func (c *clerk) meta() (m store.Meta) {
	c.t.Helper()
	view(c.t, c.Machine, func(r *store.ReadTx) { m = r.Meta() })
	return m
}

func (c *clerk) event(seq uint64) (e attendance.Event) {
	c.t.Helper()
	view(c.t, c.Machine, func(r *store.ReadTx) {
		var err error
		if e, err = r.Event(seq); err != nil {
			c.t.Fatal(err)
		}
	})
	return e
}

func (c *clerk) last() attendance.Event { c.t.Helper(); return c.event(c.meta().Seq) }

func (c *clerk) user(id uint64) (u attendance.User) {
	c.t.Helper()
	view(c.t, c.Machine, func(r *store.ReadTx) {
		var err error
		if u, err = r.User(id); err != nil {
			c.t.Fatal(err)
		}
	})
	return u
}

// rows is everything that people keep, without the scalars that any entry moves.
func (c *clerk) rows() string {
	c.t.Helper()
	var out strings.Builder
	view(c.t, c.Machine, func(r *store.ReadTx) {
		m := r.Meta()
		m.Cluster, m.Applied, m.Term, m.Clock, m.KeyFloor, m.Seq, m.Chain = attendance.ClusterID{}, 0, 0, 0, 0, 0, attendance.Hash{}
		fmt.Fprintf(&out, "meta %+v\nparams %+v\nmarks %v\nopen %v\n", m, r.Params(), r.Marks(), r.Open(0, 1000))
		users, err := r.Users(0, 1000)
		for _, u := range users {
			holder, missing := r.UserByEmail(u.Email)
			fmt.Fprintf(&out, "user %+v hash %q by address %d %v member %v teacher %v\n", u, r.PasswordHash(u.ID), holder.ID, missing,
				r.GroupsOf(u.ID, store.Member), r.GroupsOf(u.ID, store.Responsible))
		}
		groups, err2 := r.Groups(0, 1000)
		for _, g := range groups {
			fmt.Fprintf(&out, "group %+v %v %v\n", g, r.People(g.ID, store.Member, 0, 10_000), r.People(g.ID, store.Responsible, 0, 10_000))
		}
		tokens, err3 := r.Tokens(0, 1000)
		for _, token := range tokens {
			fmt.Fprintf(&out, "token %+v\n", token)
		}
		for _, name := range []string{"session", "csrf"} {
			secret, missing := r.Secret(name)
			fmt.Fprintf(&out, "secret %+v %v\n", secret, missing)
		}
		if err := errors.Join(err, err2, err3); err != nil {
			c.t.Fatal(err)
		}
	})
	return out.String()
}

func person(id uint64, email string, role attendance.Role, active bool) attendance.PutUser {
	return attendance.PutUser{UserID: id, Name: "Name", Email: email, Role: role, Active: active}
}

const (
	student = attendance.Student
	teacher = attendance.Teacher
	admin   = attendance.Admin
)

func TestUsers(t *testing.T) {
	t.Run("ids count from 1 and the event holds the user", func(t *testing.T) {
		c := newClerk(t)
		for want := uint64(1); want <= 3; want++ {
			if id := c.done(person(0, fmt.Sprintf("u%d@x", want), student, true)); id != want {
				t.Fatalf("user %d, want %d", id, want)
			}
			e := c.last()
			if e.Type != attendance.UserCreated || e.Detail.(attendance.UserChange).User != c.user(want) {
				t.Fatalf("event %+v, user %+v", e, c.user(want))
			}
			if u := c.user(want); u.CreatedAt != c.now || u.UpdatedAt != c.now || u.SessionEpoch != 0 {
				t.Fatalf("%+v at %d", u, c.now)
			}
		}
		if m := c.meta(); m.Users != 3 || m.Admins != 0 {
			t.Fatalf("%+v", m)
		}
	})
	t.Run("addresses are unique when folded, and free again after a change", func(t *testing.T) {
		c := newClerk(t)
		c.done(person(0, "A@x", student, true))
		c.done(person(0, "b@x", student, true))
		c.refused(person(0, "a@X", student, true), attendance.EmailTaken)
		c.refused(person(2, "a@x", student, true), attendance.EmailTaken)
		c.done(person(1, "a@X", student, true)) // its own, in another case
		if u := c.user(1); u.Email != "a@X" {
			t.Fatalf("kept as given: %+v", u)
		}
		c.done(person(1, "c@x", student, true))
		c.done(person(2, "a@x", student, true))
		c.refused(person(0, "C@x", student, true), attendance.EmailTaken)
		c.done(person(0, "b@x", student, true))
	})
	t.Run("an inactive user keeps the address", func(t *testing.T) {
		c := newClerk(t)
		c.done(person(0, "a@x", student, true))
		c.done(attendance.DeactivateUser{UserID: 1})
		c.refused(person(0, "a@x", student, true), attendance.EmailTaken)
	})
	t.Run("nobody removes the last administrator", func(t *testing.T) {
		c := newClerk(t)
		c.done(person(0, "a@x", admin, true))
		c.done(person(0, "dormant@x", admin, false)) // does not count
		c.refused(attendance.DeactivateUser{UserID: 1}, attendance.LastAdmin)
		c.refused(person(1, "a@x", teacher, true), attendance.LastAdmin)
		c.refused(person(1, "a@x", admin, false), attendance.LastAdmin)
		c.done(attendance.DeactivateUser{UserID: 2}) // was not active
		c.done(person(0, "b@x", admin, true))
		c.done(person(1, "a@x", student, true))
		c.refused(attendance.DeactivateUser{UserID: 3}, attendance.LastAdmin)
		c.done(person(2, "dormant@x", admin, true))
		c.done(attendance.DeactivateUser{UserID: 3})
		if m := c.meta(); m.Admins != 1 {
			t.Fatalf("%d administrators counted", m.Admins)
		}
	})
	t.Run("two administrators cannot both go in one entry", func(t *testing.T) {
		c := newClerk(t)
		c.done(person(0, "a@x", admin, true))
		c.done(person(0, "b@x", admin, true))
		o := c.do(attendance.DeactivateUser{UserID: 1}, attendance.DeactivateUser{UserID: 2})
		if o[0].Status != attendance.DoneStatus || o[1].Reason != attendance.LastAdmin {
			t.Fatalf("%+v", o)
		}
	})
	t.Run("unknown users", func(t *testing.T) {
		c := newClerk(t)
		for _, b := range []attendance.Body{
			person(7, "a@x", student, true), attendance.DeactivateUser{UserID: 7}, attendance.SetPassword{UserID: 7, PasswordHash: "h"},
			attendance.BumpSessionEpoch{UserID: 7},
		} {
			c.refused(b, attendance.UnknownUser)
		}
	})
}

func TestSessions(t *testing.T) {
	c := newClerk(t)
	c.done(attendance.PutUser{Name: "N", Email: "a@x", Role: student, Active: true, PasswordHash: "one"})
	for _, tt := range []struct {
		name  string
		body  attendance.Body
		epoch uint64 // afterwards
		hash  string
		typ   attendance.EventType
	}{
		{"a new user starts at 0", person(1, "a@x", student, true), 0, "one", attendance.UserUpdated},
		{"another role keeps sessions", person(1, "a@x", teacher, true), 0, "one", attendance.UserUpdated},
		{"a password ends them", attendance.SetPassword{UserID: 1, PasswordHash: "two"}, 1, "two", attendance.PasswordSet},
		{"also in PutUser", attendance.PutUser{UserID: 1, Name: "N", Email: "a@x", Role: student, Active: true, PasswordHash: "three"}, 2, "three", attendance.UserUpdated},
		{"one person's sessions", attendance.BumpSessionEpoch{UserID: 1}, 3, "three", attendance.SessionsEnded},
		{"deactivation ends them", attendance.DeactivateUser{UserID: 1}, 4, "three", attendance.UserDeactivated},
		{"once", attendance.DeactivateUser{UserID: 1}, 4, "three", attendance.UserDeactivated},
		{"coming back does not", person(1, "a@x", student, true), 4, "three", attendance.UserUpdated},
		{"deactivation by PutUser does", person(1, "a@x", student, false), 5, "three", attendance.UserUpdated},
	} {
		c.done(tt.body)
		hash := ""
		view(t, c.Machine, func(r *store.ReadTx) { hash = r.PasswordHash(1) })
		if u := c.user(1); u.SessionEpoch != tt.epoch || hash != tt.hash || c.last().Type != tt.typ || u.UpdatedAt != c.now {
			t.Fatalf("%s: %+v, hash %q, event %s", tt.name, u, hash, c.last().Type)
		}
		if bytesHold(c, "three") || bytesHold(c, "two") {
			t.Fatalf("%s: a password hash is in an event", tt.name)
		}
	}
	c.done(attendance.BumpSessionEpoch{})
	c.done(attendance.BumpSessionEpoch{})
	if m := c.meta(); m.SessionEpoch != 2 || c.user(1).SessionEpoch != 5 || c.last().Detail != (attendance.SessionsChange{Epoch: 2}) {
		t.Fatalf("everybody: %+v, %+v", m, c.last())
	}
}

// bytesHold reports whether any stored event holds the text.
func bytesHold(c *clerk, text string) (found bool) {
	view(c.t, c.Machine, func(r *store.ReadTx) {
		r.Events(0, 1<<20, func(_ uint64, e []byte) bool {
			found = found || strings.Contains(string(e), text)
			return !found
		})
	})
	return found
}

func TestGroups(t *testing.T) {
	setup := func(t *testing.T) *clerk {
		c := newClerk(t)
		for i, role := range []attendance.Role{student, student, student, teacher, admin} {
			c.done(person(0, fmt.Sprintf("u%d@x", i+1), role, true))
		}
		return c
	}
	put := func(id uint64, addM, removeM, addT, removeT []uint64) attendance.PutGroup {
		return attendance.PutGroup{
			GroupID: id, Name: "G", Kind: attendance.Class, AddMembers: addM, RemoveMembers: removeM, AddTeachers: addT, RemoveTeachers: removeT,
		}
	}
	ids := func(ids ...uint64) []uint64 { return ids }
	t.Run("people come and go, and the event says who did", func(t *testing.T) {
		c := setup(t)
		for _, tt := range []struct {
			name                       string
			put                        attendance.PutGroup
			members, teachers          []uint64 // afterwards
			in, out, teachIn, teachOut []uint64 // in the event
		}{
			{"create", put(0, ids(1, 2), nil, ids(4), nil), ids(1, 2), ids(4), ids(1, 2), nil, ids(4), nil},
			{"add again", put(1, ids(1, 2, 3), nil, ids(4), nil), ids(1, 2, 3), ids(4), ids(3), nil, nil, nil},
			{"remove", put(1, nil, ids(2), nil, nil), ids(1, 3), ids(4), nil, ids(2), nil, nil},
			{"remove who is not there", put(1, nil, ids(2, 77), nil, ids(5)), ids(1, 3), ids(4), nil, nil, nil, nil},
			{"remove beats add", put(1, ids(1, 2), ids(1, 2), nil, nil), ids(3), ids(4), nil, ids(1), nil, nil},
			{"a teacher may be a member too", put(1, ids(4), nil, ids(5), nil), ids(3, 4), ids(4, 5), ids(4), nil, ids(5), nil},
			{"teachers go", put(1, nil, nil, nil, ids(4, 5)), ids(3, 4), nil, nil, nil, nil, ids(4, 5)},
			{"nothing", put(1, nil, nil, nil, nil), ids(3, 4), nil, nil, nil, nil, nil},
		} {
			c.done(tt.put)
			change := c.last().Detail.(attendance.GroupChange)
			want := attendance.GroupChange{
				Group:        attendance.Group{ID: 1, Name: "G", Kind: attendance.Class, Members: uint64(len(tt.members)), Teachers: uint64(len(tt.teachers)), CreatedAt: change.Group.CreatedAt, UpdatedAt: c.now},
				AddedMembers: tt.in, RemovedMembers: tt.out, AddedTeachers: tt.teachIn, RemovedTeachers: tt.teachOut,
			}
			if diff := cmp.Diff(want, change); diff != "" {
				t.Fatalf("%s: event\n%s", tt.name, diff)
			}
			view(t, c.Machine, func(r *store.ReadTx) {
				g, err := r.Group(1)
				if err != nil || g != change.Group {
					t.Fatalf("%s: group %+v, %v", tt.name, g, err)
				}
				for _, p := range []struct {
					part store.Part
					want []uint64
				}{{store.Member, tt.members}, {store.Responsible, tt.teachers}} {
					if diff := cmp.Diff(p.want, r.People(1, p.part, 0, 100)); diff != "" {
						t.Fatalf("%s: people\n%s", tt.name, diff)
					}
					for user := uint64(1); user <= 5; user++ {
						if in := len(r.GroupsOf(user, p.part)) == 1; in != r.Belongs(1, p.part, user) {
							t.Fatalf("%s: user %d: the two directions differ", tt.name, user)
						}
					}
				}
			})
		}
	})
	t.Run("refusals", func(t *testing.T) {
		c := setup(t)
		c.done(put(0, ids(1), nil, nil, nil))
		c.refused(put(0, ids(2, 9), nil, nil, nil), attendance.UnknownUser)
		c.refused(put(1, ids(2, 9), ids(1), nil, nil), attendance.UnknownUser)
		c.refused(put(1, nil, nil, ids(4, 9), nil), attendance.UnknownUser)
		c.refused(put(1, nil, nil, ids(1), nil), attendance.NotATeacher)
		c.refused(put(2, nil, nil, nil, nil), attendance.UnknownGroup)
		c.refused(attendance.DeleteGroup{GroupID: 2}, attendance.UnknownGroup)
	})
	t.Run("teachers are bounded", func(t *testing.T) {
		c := newClerk(t)
		var all []attendance.Body
		var list []uint64
		for i := uint64(1); i <= attendance.MaxGroupTeachers+1; i++ {
			all = append(all, person(0, fmt.Sprintf("t%d@x", i), teacher, true))
			list = append(list, i)
		}
		c.do(all...)
		c.done(put(0, nil, nil, list[:attendance.MaxGroupTeachers], nil))
		c.refused(put(1, nil, nil, list[attendance.MaxGroupTeachers:], nil), attendance.GroupFull)
		c.refused(put(0, nil, nil, list, nil), attendance.GroupFull)
		c.done(put(1, nil, nil, list[attendance.MaxGroupTeachers:], list[:1])) // one goes, one comes
	})
	t.Run("members are bounded", func(t *testing.T) {
		c := newClerk(t)
		var list []uint64
		for n := 0; n <= attendance.MaxGroupMembers; n += 250 {
			var some []attendance.Body
			for i := range 250 {
				some = append(some, person(0, fmt.Sprintf("u%d@x", n+i), student, true))
				list = append(list, uint64(len(list)+1))
			}
			c.do(some...)
		}
		c.done(put(0, list[:250], nil, nil, nil))
		for n := 250; n < attendance.MaxGroupMembers; n += 250 {
			c.done(put(1, list[n:n+250], nil, nil, nil))
		}
		c.refused(put(1, list[attendance.MaxGroupMembers:attendance.MaxGroupMembers+1], nil, nil, nil), attendance.GroupFull)
		c.done(put(1, list[attendance.MaxGroupMembers:attendance.MaxGroupMembers+2], list[:2], nil, nil))
		view(t, c.Machine, func(r *store.ReadTx) {
			if g, err := r.Group(1); err != nil || g.Members != attendance.MaxGroupMembers {
				t.Fatalf("%d members, %v", g.Members, err)
			}
			if n := len(r.People(1, store.Member, 0, 10_000)); n != store.MaxPage {
				t.Fatalf("a page of %d", n)
			}
		})
		c.refused(attendance.DeleteGroup{GroupID: 1}, attendance.GroupNotEmpty)
		left := list[2 : attendance.MaxGroupMembers+2]
		for ; len(left) > attendance.MaxDeletedMembers; left = left[200:] {
			c.done(put(1, nil, left[:200], nil, nil))
		}
		c.done(attendance.DeleteGroup{GroupID: 1})
		view(t, c.Machine, func(r *store.ReadTx) {
			if n := len(r.People(1, store.Member, 0, 10_000)); n != 0 {
				t.Fatalf("%d members of a group that is gone", n)
			}
		})
	})
	t.Run("a deleted group leaves nobody behind and no id comes back", func(t *testing.T) {
		c := setup(t)
		c.done(put(0, ids(1, 2), nil, ids(4), nil))
		c.done(put(0, ids(1), nil, nil, nil))
		c.done(attendance.DeleteGroup{GroupID: 1})
		if c.last().Type != attendance.GroupDeleted || c.meta().Groups != 1 {
			t.Fatalf("%+v", c.last())
		}
		view(t, c.Machine, func(r *store.ReadTx) {
			if got := r.GroupsOf(1, store.Member); len(got) != 1 || got[0] != 2 || len(r.GroupsOf(4, store.Responsible)) != 0 {
				t.Fatalf("user 1 is in %v", got)
			}
		})
		if id := c.done(put(0, nil, nil, nil, nil)); id != 3 {
			t.Fatalf("group %d", id)
		}
	})
}

func TestTokens(t *testing.T) {
	c := newClerk(t)
	hash := func(b byte) []byte { return append(make([]byte, 31), b) }
	token := func(id uint64) (got attendance.Token) {
		view(t, c.Machine, func(r *store.ReadTx) {
			var err error
			if got, err = r.Token(id); err != nil {
				t.Fatal(err)
			}
		})
		return got
	}
	holder := func(b byte) (id uint64) {
		view(t, c.Machine, func(r *store.ReadTx) {
			if got, err := r.TokenByHash([32]byte(hash(b))); err == nil {
				id = got.ID
			}
		})
		return id
	}
	c.done(attendance.PutGroup{Name: "G", Kind: attendance.Class})
	c.done(attendance.PutToken{Name: "gate", Hash: hash(1), Groups: []uint64{1}})
	c.done(attendance.PutToken{Name: "hall", Hash: hash(2)})
	c.refused(attendance.PutToken{Name: "again", Hash: hash(1)}, attendance.TokenTaken)
	c.refused(attendance.PutToken{TokenID: 2, Name: "hall", Hash: hash(1)}, attendance.TokenTaken)
	c.refused(attendance.PutToken{TokenID: 3, Name: "none"}, attendance.UnknownToken)
	c.refused(attendance.PutToken{Name: "far", Hash: hash(9), Groups: []uint64{1, 2}}, attendance.UnknownGroup)
	c.refused(attendance.RevokeToken{TokenID: 3}, attendance.UnknownToken)
	if holder(9) != 0 {
		t.Fatal("a refused token can be found")
	}
	// No hash leaves it as it is; its own hash is not "taken".
	c.done(attendance.PutToken{TokenID: 1, Name: "door", Groups: []uint64{1}})
	if got := token(1); got.Name != "door" || got.Hash != [32]byte(hash(1)) || holder(1) != 1 || got.UpdatedAt != c.now {
		t.Fatalf("%+v", got)
	}
	c.done(attendance.PutToken{TokenID: 1, Name: "door", Hash: hash(1)})
	// A new hash voids the old one.
	c.done(attendance.PutToken{TokenID: 1, Name: "door", Hash: hash(3)})
	if holder(1) != 0 || holder(3) != 1 {
		t.Fatalf("old hash finds %d, new one %d", holder(1), holder(3))
	}
	c.done(attendance.RevokeToken{TokenID: 1})
	if got := token(1); !got.Revoked || c.last().Type != attendance.TokenRevoked {
		t.Fatalf("%+v", got)
	}
	c.refused(attendance.PutToken{TokenID: 1, Name: "door"}, attendance.UnknownToken) // no way back
	if bytesHold(c, string(hash(3))) {
		t.Fatal("a token's hash is in an event")
	}
}

func TestSecrets(t *testing.T) {
	c := newClerk(t)
	value := func(b byte) []byte { return append(make([]byte, 15), b) }
	for _, tt := range []struct {
		name     string
		value    byte
		drop     bool
		previous []byte
	}{
		{"the first has none before it", 1, false, nil},
		{"the one before is kept", 2, false, value(1)},
		{"only one is kept", 3, false, value(2)},
		{"or dropped", 4, true, nil},
		{"for good", 5, false, value(4)},
	} {
		id := c.done(attendance.RotateSecret{Name: "session", Value: value(tt.value), DropPrevious: tt.drop})
		var got attendance.Secret
		view(t, c.Machine, func(r *store.ReadTx) {
			var err error
			if got, err = r.Secret("session"); err != nil {
				t.Fatal(err)
			}
		})
		want := attendance.Secret{Name: "session", ID: uint64(tt.value), Value: value(tt.value), Previous: tt.previous, At: c.now}
		if diff := cmp.Diff(want, got); diff != "" || id != want.ID {
			t.Fatalf("%s: id %d\n%s", tt.name, id, diff)
		}
		if c.last().Detail != (attendance.SecretChange{Name: "session", ID: id, Dropped: tt.drop}) || bytesHold(c, string(value(tt.value))) {
			t.Fatalf("%s: event %+v", tt.name, c.last())
		}
	}
	for i := 1; i < attendance.MaxSecrets; i++ {
		c.done(attendance.RotateSecret{Name: "other." + string(rune('a'+i)), Value: value(1)})
	}
	c.refused(attendance.RotateSecret{Name: "one.more", Value: value(1)}, attendance.TooMany)
	c.done(attendance.RotateSecret{Name: "session", Value: value(6)}) // a known one still turns
}

func TestParameters(t *testing.T) {
	c := newClerk(t)
	for _, p := range paramSets() {
		c.done(attendance.SetParams{Params: p})
		view(t, c.Machine, func(r *store.ReadTx) {
			if diff := cmp.Diff(p, r.Params()); diff != "" {
				t.Fatal(diff)
			}
		})
		if diff := cmp.Diff(attendance.Detail(attendance.ParamsChange{Params: p}), c.last().Detail); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestClock(t *testing.T) {
	c := newClerk(t)
	c.do(attendance.Audit{Action: "a"})
	// The clock has moved on by a second when the command is applied.
	c.refused(attendance.SetClock{Clock: c.now + 1_000}, attendance.ClockNotBehind)
	c.refused(attendance.SetClock{Clock: c.now + 2_000}, attendance.ClockNotBehind)
	to := c.now - 5_000
	c.done(attendance.SetClock{Clock: to})
	if m := c.meta(); m.Clock != to || m.SetBack != c.now-to {
		t.Fatalf("clock %d, set back %d", m.Clock, m.SetBack)
	}
	if e := c.last(); e.Detail != (attendance.ClockChange{From: c.now, To: to}) {
		t.Fatalf("%+v", e)
	}
	elapsed := func() attendance.Millis { m := c.meta(); return m.Elapsed() }
	before := elapsed()
	c.now = to - 10_000 // a leader behind the clock: logical time stands still
	c.do(attendance.Audit{Action: "a"})
	if m := c.meta(); m.Clock != to || elapsed() != before {
		t.Fatalf("clock %d, elapsed %d", m.Clock, elapsed())
	}
}

func TestLevel(t *testing.T) {
	c := newClerk(t)
	c.done(attendance.SetLevel{Level: 1})
	if m := c.meta(); m.Level != 1 || m.Seq != 0 {
		t.Fatalf("%+v", m)
	}
	// With Level 1 nothing lies below that a valid command could name, and
	// nothing above that would not stop this binary (see TestP13Halt).
}

func TestExportMarks(t *testing.T) {
	c := newClerk(t)
	marks := func() (m map[string]uint64) {
		view(t, c.Machine, func(r *store.ReadTx) { m = r.Marks() })
		return m
	}
	c.do(attendance.Audit{Action: "a"}, attendance.Audit{Action: "a"}, attendance.Audit{Action: "a"})
	c.refused(attendance.ExportMark{Target: "sql", Seq: 4}, attendance.UnknownSeq)
	c.done(attendance.ExportMark{Target: "sql", Seq: 3})
	c.done(attendance.ExportMark{Target: "sql", Seq: 2}) // a database restored to the past
	c.done(attendance.ExportMark{Target: "sql", Seq: 2})
	if diff := cmp.Diff(map[string]uint64{"sql": 2}, marks()); diff != "" {
		t.Fatal(diff)
	}
	for i := 1; i < attendance.MaxTargets; i++ {
		c.done(attendance.ExportMark{Target: fmt.Sprintf("t%d", i)})
	}
	c.refused(attendance.ExportMark{Target: "more"}, attendance.TooMany)
	c.done(attendance.ExportMark{Target: "sql", Seq: 3})
	c.done(attendance.ExportMark{Target: "t1", Retired: true})
	c.done(attendance.ExportMark{Target: "t1", Retired: true}) // gone already
	c.done(attendance.ExportMark{Target: "more"})
	if n := len(marks()); n != attendance.MaxTargets {
		t.Fatalf("%d targets", n)
	}
	if c.meta().Seq != 3 {
		t.Fatalf("marks left events: seq %d", c.meta().Seq)
	}
}

// Prune waits for the slowest target, and for a margin behind it.
func TestPruneWaitsForExports(t *testing.T) {
	c := newClerk(t)
	p := attendance.DefaultParams()
	p.ExportMargin = 2
	c.done(attendance.SetParams{Params: p})
	for range 9 {
		c.do(attendance.Audit{Action: "a"})
	}
	floor := c.now // everything until now
	c.done(attendance.ExportMark{Target: "fast", Seq: 10})
	c.done(attendance.ExportMark{Target: "slow", Seq: 6})
	c.now += p.Deferral + p.Window + p.KeyRetention
	c.refused(attendance.Prune{Floor: floor, ThroughSeq: 5}, attendance.NotExported)
	c.refused(attendance.Prune{Floor: floor, ThroughSeq: 11}, attendance.UnknownSeq)
	c.done(attendance.Prune{Floor: floor})
	c.done(attendance.Prune{Floor: floor, ThroughSeq: 4})
	if m := c.meta(); m.FirstSeq != 5 || m.Floor != floor {
		t.Fatalf("first event %d, floor %d", m.FirstSeq, m.Floor)
	}
	c.done(attendance.ExportMark{Target: "slow", Retired: true})
	c.refused(attendance.Prune{Floor: floor, ThroughSeq: 9}, attendance.NotExported)
	c.done(attendance.Prune{Floor: floor, ThroughSeq: 8})
	c.done(attendance.ExportMark{Target: "fast", Retired: true})
	c.done(attendance.Prune{Floor: floor, ThroughSeq: 10})
	if m := c.meta(); m.FirstSeq != 11 || m.Seq != 10 {
		t.Fatalf("events %d … %d", m.FirstSeq, m.Seq)
	}
}

func TestAudit(t *testing.T) {
	c := newClerk(t)
	note := attendance.Audit{Action: "backup.taken", Subject: "node n1", Note: "by hand"}
	before := c.rows()
	c.done(note)
	if e := c.last(); e.Type != attendance.ActAudited || e.Detail != attendance.AuditNote(note) || c.rows() != before {
		t.Fatalf("%+v", e)
	}
}

// Resolve, in all branches.
func TestResolve(t *testing.T) {
	// User 1 is active, user 2 is not, user 3 does not exist.
	setup := func(t *testing.T) *clerk {
		c := newClerk(t)
		c.done(person(0, "a@x", student, true))
		c.done(person(0, "b@x", student, false))
		return c
	}
	tap := func(c *clerk, b attendance.CheckIn) attendance.Outcome {
		c.t.Helper()
		b.Kind = attendance.In
		if b.UserID == 0 {
			b.UserID = 1
		}
		return c.do(b)[0]
	}
	resolve := func(c *clerk, seq uint64, accept bool) attendance.Outcome {
		c.t.Helper()
		return c.do(attendance.Resolve{Seq: seq, Accept: accept, Note: "seen"})[0]
	}
	expect := func(c *clerk, o attendance.Outcome, status attendance.Status, why attendance.Reason, typ attendance.EventType) {
		c.t.Helper()
		e := c.event(o.Seq)
		if o.Status != status || o.Reason != why || e.Type != typ {
			c.t.Fatalf("%s, event %+v; want %s %s, event %s", tell(o), e, status, why, typ)
		}
	}
	open := func(c *clerk) (seqs []uint64) {
		view(c.t, c.Machine, func(r *store.ReadTx) { seqs = r.Open(0, 100) })
		return seqs
	}
	const old = 8 * attendance.DayMillis
	t.Run("accept a tap that came too late", func(t *testing.T) {
		c := setup(t)
		review := tap(c, attendance.CheckIn{Age: old})
		at := c.now - old
		expect(c, review, attendance.ReviewStatus, attendance.TooOld, attendance.TapReview)
		o := resolve(c, review.Seq, true)
		expect(c, o, attendance.AcceptedStatus, attendance.NoReason, attendance.ReviewAccepted)
		if o.At != at || o.Record == nil || o.Record.ID != o.Seq || o.Record.At != at {
			t.Fatalf("record %s, tapped at %d", tell(o), at)
		}
		view(t, c.Machine, func(r *store.ReadTx) {
			by, ok := r.ResolvedBy(review.Seq)
			record, err := r.Record(o.Seq)
			if !ok || by != o.Seq || err != nil || record != *o.Record || r.IsOpen(review.Seq) || r.Meta().Records != 1 {
				t.Fatalf("resolved by %d, record %+v %v", by, record, err)
			}
		})
		c.refused(attendance.Resolve{Seq: review.Seq, Accept: true}, attendance.UnknownReview)
		// It counts for the rule from now on.
		again := tap(c, attendance.CheckIn{Age: old})
		expect(c, resolve(c, again.Seq, true), attendance.DuplicateStatus, attendance.NoReason, attendance.ReviewDuplicate)
	})
	t.Run("accept next to a record", func(t *testing.T) {
		c := setup(t)
		won := tap(c, attendance.CheckIn{})
		late := tap(c, attendance.CheckIn{UserID: 1, WallClock: true, ReceivedAt: c.now + attendance.DayMillis})
		expect(c, late, attendance.ReviewStatus, attendance.ClockSuspect, attendance.TapReview)
		o := resolve(c, late.Seq, true)
		expect(c, o, attendance.DuplicateStatus, attendance.NoReason, attendance.ReviewDuplicate)
		if o.Record.ID != won.Seq || o.Delta != late.At-won.At || len(open(c)) != 0 {
			t.Fatalf("%s, open %v", tell(o), open(c))
		}
	})
	t.Run("an earlier one lowers the winner's first_seen_at", func(t *testing.T) {
		c := setup(t)
		c.done(person(1, "a@x", student, false))
		review := tap(c, attendance.CheckIn{Recorded: true})
		expect(c, review, attendance.ReviewStatus, attendance.InactiveUser, attendance.TapReview)
		c.done(person(1, "a@x", student, true))
		won := tap(c, attendance.CheckIn{})
		o := resolve(c, review.Seq, true)
		expect(c, o, attendance.DuplicateStatus, attendance.NoReason, attendance.ReviewDuplicate)
		if o.Record.ID != won.Seq || o.Record.At != won.At || o.Record.FirstSeenAt != review.At || o.Record.UpdatedAt != c.now || o.Delta >= 0 {
			t.Fatalf("%s", tell(o))
		}
	})
	t.Run("reject", func(t *testing.T) {
		c := setup(t)
		review := tap(c, attendance.CheckIn{Age: old})
		o := resolve(c, review.Seq, false)
		expect(c, o, attendance.DoneStatus, attendance.NoReason, attendance.ReviewRejected)
		if d := c.event(o.Seq).Detail.(attendance.Tap); d.ReviewOf != review.Seq || d.Note != "seen" || o.Record != nil {
			t.Fatalf("%+v", d)
		}
		c.refused(attendance.Resolve{Seq: review.Seq, Accept: true}, attendance.UnknownReview)
		if c.meta().Records != 0 {
			t.Fatal("a rejected review made a record")
		}
	})
	t.Run("somebody inactive may have been there", func(t *testing.T) {
		c := setup(t)
		review := tap(c, attendance.CheckIn{UserID: 2, Recorded: true})
		expect(c, resolve(c, review.Seq, true), attendance.AcceptedStatus, attendance.NoReason, attendance.ReviewAccepted)
	})
	t.Run("an unknown user has no record, until there is one", func(t *testing.T) {
		c := setup(t)
		review := tap(c, attendance.CheckIn{UserID: 3, Recorded: true})
		expect(c, review, attendance.ReviewStatus, attendance.UnknownUser, attendance.TapReview)
		c.refused(attendance.Resolve{Seq: review.Seq, Accept: true}, attendance.UnknownUser)
		c.done(person(0, "c@x", student, true))
		expect(c, resolve(c, review.Seq, true), attendance.AcceptedStatus, attendance.NoReason, attendance.ReviewAccepted)
	})
	t.Run("a review near the floor cannot be accepted, only rejected", func(t *testing.T) {
		c := setup(t)
		review := tap(c, attendance.CheckIn{Age: old})
		p := attendance.DefaultParams()
		c.done(attendance.Prune{Floor: c.now - p.Deferral - p.Window})
		c.refused(attendance.Resolve{Seq: review.Seq, Accept: true}, attendance.TooOld)
		expect(c, resolve(c, review.Seq, false), attendance.DoneStatus, attendance.NoReason, attendance.ReviewRejected)
	})
	t.Run("what is no review", func(t *testing.T) {
		c := setup(t)
		accepted := tap(c, attendance.CheckIn{})
		for _, seq := range []uint64{1, accepted.Seq, accepted.Seq + 50} {
			c.refused(attendance.Resolve{Seq: seq, Accept: true}, attendance.UnknownReview)
			c.refused(attendance.Resolve{Seq: seq}, attendance.UnknownReview)
		}
	})
	t.Run("offline claims", func(t *testing.T) {
		for _, tt := range []struct {
			name    string
			claimed attendance.Millis // before receipt
			accept  bool
			lowered bool
			typ     attendance.EventType
		}{
			{"an earlier claim, accepted", 3_600_000, true, true, attendance.ClaimAccepted},
			{"an earlier claim, rejected", 3_600_000, false, false, attendance.ClaimRejected},
			{"a claim of receipt itself", 0, true, false, attendance.ClaimAccepted},
			{"a later claim never raises", -3_600_000, true, false, attendance.ClaimAccepted},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := setup(t)
				at := c.now + 1_000
				got := tap(c, attendance.CheckIn{Offline: true, ClientTime: at - tt.claimed})
				if got.Status != attendance.AcceptedStatus || got.Record.ClaimedAt != at-tt.claimed || !got.Record.Offline {
					t.Fatalf("%s", tell(got))
				}
				if diff := cmp.Diff([]uint64{got.Seq}, open(c)); diff != "" {
					t.Fatal(diff)
				}
				o := resolve(c, got.Seq, tt.accept)
				expect(c, o, attendance.DoneStatus, attendance.NoReason, tt.typ)
				want := at
				if tt.lowered {
					want = at - tt.claimed
				}
				var record attendance.Record
				view(t, c.Machine, func(r *store.ReadTx) {
					var err error
					if record, err = r.Record(got.Seq); err != nil {
						t.Fatal(err)
					}
				})
				if record.FirstSeenAt != want || record.At != at || *o.Record != record || c.meta().Records != 1 {
					t.Fatalf("record %+v, want first seen at %d; %s", record, want, tell(o))
				}
				c.refused(attendance.Resolve{Seq: got.Seq, Accept: true}, attendance.UnknownReview)
			})
		}
	})
}

// The machine tells its subscribers what it committed, and nothing that it did
// not.
func TestCommits(t *testing.T) {
	c := newClerk(t)
	var got []string
	c.Subscribe(func(m Commit) { got = append(got, fmt.Sprintf("%d: %d…%d", m.Index, m.FirstSeq, m.LastSeq())) })
	c.do(person(0, "a@x", student, true), person(0, "a@x", student, true))
	c.do(attendance.ExportMark{Target: "a"})
	c.do(attendance.Audit{Action: "a"})
	if diff := cmp.Diff([]string{"1: 1…2", "2: 3…2", "3: 3…3"}, got); diff != "" {
		t.Fatal(diff)
	}
}

// A configuration moves the applied index and nothing that counts as state.
func TestConfigure(t *testing.T) {
	c := newClerk(t)
	c.do(attendance.Audit{Action: "a"})
	if err := c.Configure(2, 1, []byte("who")); err != nil {
		t.Fatal(err)
	}
	if err := c.Configure(1, 1, []byte("old")); err != nil {
		t.Fatal(err)
	}
	view(t, c.Machine, func(r *store.ReadTx) {
		if m := r.Meta(); m.Applied != 2 || string(r.Configuration()) != "who" {
			t.Fatalf("applied %d, configuration %q", m.Applied, r.Configuration())
		}
	})
	c.index++
	c.done(attendance.Audit{Action: "a"})
}

// A key that answers needs its event: a later Prune that names no seq must not
// let the earlier one's events go before their keys are dead.
func TestPruneKeepsWhatKeysAnswer(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	p := attendance.DefaultParams()
	tap := command(attendance.CheckIn{UserID: 1, Kind: attendance.In})
	tap.Key = "k"
	first := c.send(tap)
	// Reaches nothing yet: the floor lies K below what the rule needs.
	c.done(attendance.Prune{Floor: c.now - p.Deferral - p.Window - p.KeyRetention, ThroughSeq: first.Seq})
	c.now += p.KeyRetention - 10_000 // the key still answers
	c.done(attendance.Prune{Floor: c.now - p.Deferral - p.Window})
	again := c.send(tap)
	if !again.Replayed || again.Seq != first.Seq {
		t.Fatalf("%s", tell(again))
	}
}

// Every command of an entry is decided under the entry's proposal time, also
// behind a SetClock: clock = max(clock, proposed_at) is a step of apply(c).
func TestClockWithinAnEntry(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	o := c.do(attendance.SetClock{Clock: c.now - 60_000}, attendance.CheckIn{UserID: 1, Kind: attendance.In})
	if o[1].Status != attendance.AcceptedStatus || o[1].At != c.now {
		t.Fatalf("a tap received now by a monotonic clock: %s", tell(o[1]))
	}
}

// A shorter retention holds for the next command, not for the next entry.
func TestRetentionWithinAnEntry(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	tap := command(attendance.CheckIn{UserID: 1, Kind: attendance.In})
	tap.Key = "k"
	c.send(tap)
	c.now += 3_600_000
	p := attendance.DefaultParams()
	p.Window, p.Skew, p.Deferral, p.KeyRetention = 1_000, 0, 1_000, 2_000
	if o := c.send(command(attendance.SetParams{Params: p}), tap); o.Replayed || o.Status != attendance.AcceptedStatus {
		t.Fatalf("elapsed − decided ≥ K, yet %s", tell(o))
	}
}

// send applies whole commands as one entry and gives the last answer.
func (c *clerk) send(commands ...attendance.Command) attendance.Outcome {
	c.t.Helper()
	c.index++
	c.now += 1_000
	e := attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: c.now, Commands: commands}
	out, err := c.Apply(entries(c.t, []step{{index: c.index, entry: e}}))
	if err != nil {
		c.t.Fatalf("%+v: %v", commands, err)
	}
	return out[0][len(commands)-1]
}

// G7: a replay gets the first answer, also when the record that won has been
// dropped meanwhile (here: a review of three weeks ago, resolved today).
func TestReplayAfterTheWinnerIsDropped(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	won := c.do(attendance.CheckIn{UserID: 1, Kind: attendance.In})[0]
	at := c.now
	c.now += 20 * attendance.DayMillis
	review := c.do(attendance.CheckIn{UserID: 1, Kind: attendance.In, Age: c.now + 1_000 - at - 5_000})[0]
	resolve := command(attendance.Resolve{Seq: review.Seq, Accept: true})
	resolve.Key = "k"
	first := c.send(resolve)
	p := attendance.DefaultParams()
	c.done(attendance.Prune{Floor: c.now - p.Deferral - p.Window - p.KeyRetention, ThroughSeq: won.Seq})
	again := c.send(resolve)
	again.Replayed = false
	if !reflect.DeepEqual(again, first) {
		t.Fatalf("%s\nthen %s", tell(first), tell(again))
	}
}

// Responsible teachers have the role teacher or admin, whichever way round one
// tries to get to another state.
func TestATeacherOfAGroupStaysATeacher(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "boss@x", admin, true))
	c.done(person(0, "a@x", teacher, true))
	c.done(attendance.PutGroup{Name: "X", Kind: attendance.Class, AddTeachers: []uint64{2}})
	if o := c.do(person(2, "a@x", student, true))[0]; o.Reason != attendance.NotATeacher {
		t.Fatalf("%s", tell(o))
	}
	c.done(attendance.PutGroup{GroupID: 1, Name: "X", Kind: attendance.Class, RemoveTeachers: []uint64{2}})
	c.done(person(2, "a@x", student, true))
}

// What was let go is judged again when it is dropped: a mark may have fallen, a
// new target may have come.
func TestDroppingWaitsForMarksOfNow(t *testing.T) {
	c := newClerk(t)
	p := attendance.DefaultParams()
	p.ExportMargin = 0
	c.done(attendance.SetParams{Params: p})
	for range 300 {
		c.do(attendance.Audit{Action: "a"})
	}
	floor := c.now
	c.now += p.Deferral + p.Window + p.KeyRetention
	c.done(attendance.ExportMark{Target: "sql", Seq: 300})
	c.done(attendance.Prune{Floor: floor, ThroughSeq: 300})
	first := c.meta().FirstSeq
	if first == 1 || first > 100 {
		t.Fatalf("dropping is not bounded: first event %d", first)
	}
	c.done(attendance.ExportMark{Target: "sql", Seq: 100}) // restored to the past
	for range 10 {
		c.do(attendance.Audit{Action: "a"})
	}
	if first := c.meta().FirstSeq; first != 101 {
		t.Fatalf("first event %d, the target needs 101", first)
	}
}

// A clock that was wrong once must not hold back retention for ever.
func TestAWrongClockDoesNotEndRetention(t *testing.T) {
	c := newClerk(t)
	c.do(attendance.Audit{Action: "a"})
	right := c.now
	c.now += 3_000 * attendance.DayMillis
	c.do(attendance.Audit{Action: "wrong"})
	c.now = right
	p := attendance.DefaultParams()
	// The leader's clock is right again, but the replicated one is not.
	c.now += 3_000*attendance.DayMillis + 1
	c.do(attendance.SetClock{Clock: right})
	for range 40 {
		c.now += attendance.DayMillis
		c.do(attendance.Audit{Action: "a"})
	}
	seq := c.meta().Seq
	c.done(attendance.Prune{Floor: c.meta().Clock - p.Deferral - p.Window - p.KeyRetention, ThroughSeq: seq - 20})
	c.do(attendance.Audit{Action: "a"})
	if m := c.meta(); m.FirstSeq != seq-19 {
		t.Fatalf("first event %d, want %d", m.FirstSeq, seq-19)
	}
}

// The record of a review belongs to the node that received the tap, wherever the
// administrator sat.
func TestAReviewKeepsItsNode(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	p := attendance.DefaultParams()
	tap := command(attendance.CheckIn{UserID: 1, Kind: attendance.In, Age: p.Deferral + 1})
	tap.Node = "door"
	c.now += 30 * attendance.DayMillis
	review := c.send(tap)
	resolve := command(attendance.Resolve{Seq: review.Seq, Accept: true})
	resolve.Node = "office"
	out := c.send(resolve)
	if out.Status != attendance.AcceptedStatus || out.Record.Node != "door" {
		t.Fatalf("%s", tell(out))
	}
}

// An offline phone that claims an earlier time than the record's is heard, even
// if its tap lost to the record.
func TestAClaimOfADuplicateIsHeard(t *testing.T) {
	c := newClerk(t)
	c.done(person(0, "a@x", student, true))
	live := c.do(attendance.CheckIn{UserID: 1, Kind: attendance.In})[0]
	claimed := live.At - 3_600_000
	late := c.do(attendance.CheckIn{UserID: 1, Kind: attendance.In, Offline: true, ClientTime: claimed})[0]
	if late.Status != attendance.DuplicateStatus {
		t.Fatalf("%s", tell(late))
	}
	out := c.do(attendance.Resolve{Seq: late.Seq, Accept: true})[0]
	if out.Status != attendance.DoneStatus || out.Record.ID != live.Record.ID || out.Record.FirstSeenAt != claimed {
		t.Fatalf("%s", tell(out))
	}
	// One that claims nothing earlier is not worth a person's time.
	again := c.do(attendance.CheckIn{UserID: 1, Kind: attendance.In, Offline: true, ClientTime: c.now})[0]
	c.refused(attendance.Resolve{Seq: again.Seq, Accept: true}, attendance.UnknownReview)
}

// bbolt's cursor stumbles over pages that were emptied in the same transaction.
// Retention and a late decision in one batch must see the same neighbours as one
// after the other (this was a double acceptance).
func TestRetentionInABatchHidesNoNeighbour(t *testing.T) {
	const users = 240
	day := attendance.Millis(20_600) * attendance.DayMillis
	var late []attendance.Outcome
	for _, together := range []bool{false, true} {
		m := newMachine(t, Options{})
		t.Cleanup(func() { m.close(t) })
		index := uint64(0)
		entry := func(at attendance.Millis, commands ...attendance.Command) step {
			index++
			return step{index: index, entry: attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: at, Commands: commands}}
		}
		var before []step
		for u := range users {
			before = append(before, entry(day, putUser(0, u, true)))
		}
		for u := range users {
			before = append(before, entry(day+5*60_000, command(attendance.CheckIn{UserID: uint64(u + 1), Kind: attendance.In})))
		}
		const a = 120
		before = append(before,
			entry(day+306*60_000, command(attendance.CheckIn{UserID: a, Kind: attendance.In})),
			entry(day+2*attendance.DayMillis, command(attendance.CheckIn{UserID: a + 1, Kind: attendance.In})))
		now := day + 40*attendance.DayMillis
		before = append(before, entry(now, command(attendance.CheckIn{
			UserID: a, Kind: attendance.In, Age: now - (day + 309*60_000), Recorded: true,
		})))
		review := uint64(len(before))
		batch := []step{entry(now, command(attendance.Prune{Floor: day + 300*60_000, ThroughSeq: 2 * users}))}
		for range 10 {
			batch = append(batch, entry(now, command(attendance.Audit{Action: "a"})))
		}
		batch = append(batch, entry(now, command(attendance.Resolve{Seq: review, Accept: true})))
		for _, s := range before {
			if _, err := m.Apply(entries(t, []step{s})); err != nil {
				t.Fatal(err)
			}
		}
		if together {
			out, err := m.Apply(entries(t, batch))
			if err != nil {
				t.Fatal(err)
			}
			late = append(late, out[len(out)-1][0])
			continue
		}
		for _, s := range batch {
			out, err := m.Apply(entries(t, []step{s}))
			if err != nil {
				t.Fatal(err)
			}
			if s.index == index {
				late = append(late, out[0][0])
			}
		}
	}
	for _, o := range late {
		if o.Status != attendance.DuplicateStatus {
			t.Errorf("three minutes after a record: %s", tell(o))
		}
	}
}

// Who came and went stands in the event in one order on every node.
func TestAGroupsPeopleAreNamedInOrder(t *testing.T) {
	c := newClerk(t)
	var ids []uint64
	for i := range 8 {
		ids = append(ids, c.done(person(0, fmt.Sprintf("u%d@x", i), teacher, true)))
	}
	for _, b := range []attendance.PutGroup{
		{Name: "X", Kind: attendance.Class, AddMembers: ids, AddTeachers: ids},
		{GroupID: 1, Name: "X", Kind: attendance.Class, RemoveMembers: ids, RemoveTeachers: ids},
	} {
		c.done(b)
		view(t, c.Machine, func(r *store.ReadTx) {
			e, err := r.Event(r.Meta().Seq)
			if err != nil {
				t.Fatal(err)
			}
			d := e.Detail.(attendance.GroupChange)
			if got := [][]uint64{d.AddedMembers, d.AddedTeachers, d.RemovedMembers, d.RemovedTeachers}; !reflect.DeepEqual(got,
				[][]uint64{b.AddMembers, b.AddTeachers, b.RemoveMembers, b.RemoveTeachers}) {
				t.Errorf("%v", got)
			}
		})
	}
}
