package serve

import (
	"errors"
	"fmt"
	"io"
	"time"

	"hadir/attendance"
	"hadir/store"
)

// SessionSecret is the shared secret that signs sessions.
const SessionSecret = "session"

const secretBytes = 32

// errNoAdmin is wrapped where nobody could ever sign in.
var errNoAdmin = errors.New("a new cluster needs its first administrator: start again with --admin-email and --admin-password-file")

// genesis makes a new cluster usable.
type genesis struct {
	node     string
	now      func() time.Time
	rand     io.Reader
	zone     *time.Location
	email    string
	password string
	people   *People
	hash     func(rand io.Reader, password string) (string, error)
}

// commands gives what the first leader proposes, one after the other. Each has a
// fixed key, so that a second first leader changes nothing: with other random
// bytes or another time in it, its command is refused as key_reused.
//
// The session secret comes last. Nobody can sign in before all the rest is
// there, and it is what founded looks for.
func (g *genesis) commands() ([]attendance.Command, error) {
	if g.email == "" && g.people == nil {
		return nil, errNoAdmin
	}
	params := attendance.DefaultParams()
	zone, err := g.replicatedZone()
	if err != nil {
		return nil, err
	}
	params.Zone = zone
	out := g.add(nil, "time-zone", attendance.SetParams{Params: params})
	if g.people != nil {
		out = g.addPeople(out)
	}
	if g.email != "" {
		hash, err := g.hash(g.rand, g.password)
		if err != nil {
			return nil, fmt.Errorf("password of the first administrator: %w", err)
		}
		out = g.add(out, "admin", attendance.PutUser{
			Name: "Administrator", Email: g.email, Role: attendance.Admin, Active: true, PasswordHash: hash,
		})
	}
	secret, err := g.secret()
	if err != nil {
		return nil, err
	}
	out = g.add(out, "session-secret", attendance.RotateSecret{Name: SessionSecret, Value: secret})
	for _, c := range out {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (g *genesis) secret() ([]byte, error) {
	secret := make([]byte, secretBytes)
	if _, err := io.ReadFull(g.rand, secret); err != nil {
		return nil, fmt.Errorf("session secret: %w", err)
	}
	return secret, nil
}

// renew gives the commands that end every session of a backup: whoever has a copy
// of it has the key that signed them.
func (g *genesis) renew() ([]attendance.Command, error) {
	secret, err := g.secret()
	if err != nil {
		return nil, err
	}
	var out []attendance.Command
	for _, body := range []attendance.Body{
		attendance.RotateSecret{Name: SessionSecret, Value: secret, DropPrevious: true}, attendance.BumpSessionEpoch{},
	} {
		out = append(out, attendance.Command{Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: g.node, Body: body})
	}
	return out, nil
}

// replicatedZone gives the site's time zone for the years around now.
func (g *genesis) replicatedZone() (attendance.Zone, error) {
	now := g.now()
	return attendance.SiteZone(g.zone, now)
}

func (g *genesis) add(to []attendance.Command, key string, body attendance.Body) []attendance.Command {
	return append(to, attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal},
		Key:       "genesis-" + key, Node: g.node, Body: body,
	})
}

func (g *genesis) addPeople(out []attendance.Command) []attendance.Command {
	for i, u := range g.people.Users {
		role, _ := attendance.ParseRole(u.Role) // ReadPeople has checked it
		out = g.add(out, fmt.Sprintf("person-%d", i+1), attendance.PutUser{
			Name: u.Name, Email: u.Email, Role: role, Active: true, PasswordHash: u.PasswordHash,
		})
	}
	for i, c := range g.people.Groups {
		out = g.add(out, fmt.Sprintf("group-%d", i+1), attendance.PutGroup{
			Name: c.Name, Kind: attendance.Class, AddMembers: c.Members, AddTeachers: c.Teachers,
		})
	}
	return out
}

// check finds out at once what would otherwise be told by the first leader only.
func (g *genesis) check() error {
	if _, err := g.replicatedZone(); err != nil {
		return &UsageError{fmt.Sprintf("--time-zone: %s", err)}
	}
	if g.email == "" {
		return nil
	}
	admin := attendance.PutUser{Name: "Administrator", Email: g.email, Role: attendance.Admin, Active: true}
	if err := g.add(nil, "admin", admin)[0].Check(); err != nil {
		return &UsageError{fmt.Sprintf("--admin-email %q: %s", g.email, err)}
	}
	return nil
}

// founded reports whether all of it has been applied.
func founded(tx *store.ReadTx) bool {
	_, err := tx.Secret(SessionSecret)
	return err == nil
}
