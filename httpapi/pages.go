package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/password"
	"hadir/store"
	"hadir/ui"
)

const langCookie = "hadir_lang"

// lang is the person's choice, or else the browser's.
func (c *call) lang() ui.Lang {
	if lang, ok := ui.ParseLang(c.r.URL.Query().Get("lang")); ok {
		return lang
	}
	if cookie, err := c.r.Cookie(langCookie); err == nil {
		if lang, ok := ui.ParseLang(cookie.Value); ok {
			return lang
		}
	}
	return ui.PreferredLang(c.r.Header.Get("Accept-Language"))
}

// keepLang remembers a choice that was just made.
func (c *call) keepLang() {
	if lang, ok := ui.ParseLang(c.r.URL.Query().Get("lang")); ok {
		http.SetCookie(c.w, &http.Cookie{
			Name: langCookie, Value: string(lang), Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: c.secure(),
			SameSite: http.SameSiteLaxMode,
		})
	}
}

// navigation is where each role may go.
var navigation = map[attendance.Role][]ui.NavItem{
	attendance.Student: {{Key: "home", Href: "/"}, {Key: "history", Href: "/history"}},
	attendance.Teacher: {
		{Key: "home", Href: "/"}, {Key: "history", Href: "/history"}, {Key: "groups", Href: "/groups"},
		{Key: "dashboard", Href: "/dashboard"}, {Key: "records", Href: recordsPath}, {Key: "cluster", Href: "/cluster"},
	},
	attendance.Admin: {
		{Key: "home", Href: "/"}, {Key: "history", Href: "/history"}, {Key: "groups", Href: "/groups"},
		{Key: "dashboard", Href: "/dashboard"}, {Key: "cluster", Href: "/cluster"}, {Key: "admin", Href: adminPath},
	},
}

func (c *call) frame(active string) ui.Frame {
	f := ui.Frame{Lang: c.lang(), Active: active, Pulse: c.pulse()}
	if c.route != nil && c.r.Method == http.MethodGet && !isPart(c.route.path) {
		f.Here = c.r.URL.EscapedPath()
	}
	if c.who != nil {
		u := c.who.user
		f.User = &ui.User{ID: u.ID, Name: u.Name, Role: u.Role.String()}
		f.Nav = navigation[u.Role]
	}
	return f
}

func (c *call) pulse() ui.Pulse {
	s := c.api.Node.Status()
	p := ui.Pulse{Node: c.api.Node.Name(), Leader: s.Leader, CanLose: s.CanLose, Stale: s.Fresh.Stale}
	for _, n := range s.Nodes {
		if !n.Voter {
			continue
		}
		p.Voters++
		if n.Reachable || n.Name == s.Node {
			p.Answer++
		}
	}
	return p
}

// page sends what render writes.
func (c *call) page(status int, render func(*bytes.Buffer) error) error {
	var b bytes.Buffer
	if err := render(&b); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Add("Vary", "Accept-Language, Cookie")
	return c.bytes(status, b.Bytes())
}

// see sends the browser on, after a post.
func (c *call) see(where string) error {
	c.w.Header().Set("Location", where)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// notice tells a person with a browser what went wrong.
func (c *call) notice(p *problem) {
	if p.Status == http.StatusUnauthorized && c.route != nil {
		// On a part of a page the script sees the status; a page asks to sign in.
		if c.r.Method != http.MethodGet || !isPart(c.route.path) {
			_ = c.see("/")
			return
		}
	}
	err := c.page(p.Status, func(b *bytes.Buffer) error {
		return c.api.pages.Notice(b, c.frame(""), ui.Notice{Status: p.Status, Code: string(p.Code), Request: c.id})
	})
	if err != nil {
		c.api.Log.Error("a notice could not be rendered", "request", c.id, "error", err)
		_ = c.plain(http.StatusInternalServerError, p.Title+"\n")
	}
}

func isPart(path string) bool {
	switch path {
	case "/today", "/pulse", "/cluster/nodes", "/groups/list", "/groups/{id}/members", onlinePath + "/list", queuePath + "/numbers", queuePath + "/failed",
		exportPath + "/list":
		return true
	}
	return false
}

// form reads the fields of a post from a page.
func (c *call) form() (url.Values, error) {
	body, err := c.body("application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidField("", "is malformed")
	}
	for name, v := range values {
		if len(v) != 1 || !utf8.ValidString(v[0]) || !utf8.ValidString(name) {
			return nil, invalidField("", "has a field twice or not in UTF-8")
		}
	}
	return values, nil
}

func homePage(c *call) error {
	c.keepLang()
	if c.who == nil {
		return c.signInForm(http.StatusOK, "", "")
	}
	today, err := c.today()
	if err != nil {
		return err
	}
	d := ui.Home{Today: today, Epoch: epochOf(c.api.Node.Status())}
	for _, key := range []*string{&d.KeyIn, &d.KeyOut} {
		if *key, err = newKey(c.began, c.api.Rand); err != nil {
			return err
		}
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Home(b, c.frame("home"), d) })
}

func (c *call) signInForm(status int, email, trouble string) error {
	d := ui.SignIn{Email: email, Error: trouble}
	// One of each role is enough to choose from.
	seen := make(map[string]bool)
	for _, a := range c.api.Accounts {
		if !seen[a.Role] {
			seen[a.Role] = true
			d.Accounts = append(d.Accounts, ui.Account(a))
		}
	}
	return c.page(status, func(b *bytes.Buffer) error { return c.api.pages.SignIn(b, c.frame("home"), d) })
}

func signInPage(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	email, word := strings.TrimSpace(form.Get("email")), form.Get("password")
	if len(email) > maxEmail || len(word) > password.MaxLen {
		return c.signInForm(http.StatusUnauthorized, "", "error.wrong")
	}
	token, who, err := c.signIn(email, word)
	if err != nil {
		p := problemOf(err)
		trouble, known := map[code]string{
			codeUnauthenticated: "error.wrong", codeRateLimited: "error.limited", codeOverloaded: "error.busy",
			codeNotReady: "error.not_ready",
		}[p.Code]
		if !known {
			return err
		}
		if p.retry > 0 {
			c.w.Header().Set("Retry-After", fmt.Sprint(int((p.retry+time.Second-1)/time.Second)))
		}
		return c.signInForm(p.Status, email, trouble)
	}
	c.setCookie(token, who.session.until)
	return c.see("/")
}

func signOutPage(c *call) error {
	c.dropCookie()
	return c.see("/")
}

// checkInPage takes a tap from the page: no location, no client time.
func checkInPage(c *call) error {
	form, err := c.form()
	received := c.api.Clock.Now()
	if err != nil {
		return err
	}
	kind, ok := attendance.ParseKind(form.Get("type"))
	if !ok {
		return invalidField("type", "is neither in nor out")
	}
	key, ok := parseKey(form.Get("key"))
	if !ok {
		return newProblem(codeInvalidKey, "")
	}
	done, err := c.checkIn(received, key, attendance.CheckIn{Kind: kind})
	d := ui.Result{Kind: kind.String(), Key: key, Node: c.api.Node.Name()}
	if err != nil {
		p := problemOf(err)
		if p.Status != http.StatusServiceUnavailable {
			return err
		}
		d.Outcome = "unrecorded"
		if p.Code == codeUnknownOutcome {
			d.Outcome = "unknown"
		}
		c.w.Header().Set("Retry-After", "1")
		return c.page(p.Status, func(b *bytes.Buffer) error { return c.api.pages.Result(b, c.frame("home"), d) })
	}
	out := done.result.Outcome
	zone, err := c.zone()
	if err != nil {
		return err
	}
	if done.queued != nil {
		d.Outcome, d.At = queuedStatus, zone.local(done.queued.Receipt.Wall)
		return c.page(http.StatusAccepted, func(b *bytes.Buffer) error { return c.api.pages.Result(b, c.frame("home"), d) })
	}
	d.Outcome, d.Reason, d.Replay, d.At = out.Status.String(), out.Reason.String(), out.Replayed, zone.local(out.At)
	d.Leader, d.Term, d.Seq, d.Took = done.result.Leader, done.result.Term, out.Seq, done.took
	if out.Status == attendance.DuplicateStatus && out.Record != nil {
		d.Winner = zone.row(*out.Record)
	}
	// The decision is an answer, whatever it is: a browser shows every 2xx page,
	// and asks before it sends a form again.
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Result(b, c.frame("home"), d) })
}

// site is the site's time zone for people.
type site attendance.Zone

func (c *call) zone() (z site, err error) {
	_, err = c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		z = site(tx.Params().Zone)
		return nil
	})
	return z, err
}

// indonesia has names for its zones that the tables of the system spell
// differently from edition to edition.
var indonesia = map[string]string{
	"Asia/Jakarta": "WIB", "Asia/Pontianak": "WIB", "Asia/Makassar": "WITA", "Asia/Jayapura": "WIT",
}

func (z site) local(m attendance.Millis) time.Time {
	offset := attendance.Zone(z).Offset(m).Duration()
	return m.Time().In(time.FixedZone(indonesia[z.Name], int(offset/time.Second)))
}

func (z site) row(r attendance.Record) ui.Row {
	row := ui.Row{Kind: r.Kind.String(), At: z.local(r.At), Node: r.Node, ID: r.ID}
	if r.FirstSeenAt < r.At {
		row.Seen = z.local(r.FirstSeenAt)
	}
	return row
}

// todayRows is how many a page shows.
const todayRows = 50

// today gives what the visitor may see of the site's day.
func (c *call) today() (ui.Today, error) {
	d := ui.Today{Names: c.who.user.Role != attendance.Student}
	fresh, err := c.read(cluster.Read{}, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		d.Seq = tx.Meta().Seq
		zone := tx.Params().Zone
		now := attendance.MillisOf(c.began)
		day, _ := zone.Day(now)
		d.Now = site(zone).local(now)
		page, next, err := listing{Query: store.Query{From: day, To: day, Limit: todayRows}}.run(tx, s)
		if err != nil {
			return err
		}
		d.More = !next.IsZero()
		for _, r := range page {
			row := site(zone).row(r)
			if d.Names {
				u, err := tx.User(r.UserID)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				row.Name = u.Name
			}
			d.Rows = append(d.Rows, row)
		}
		return nil
	})
	if d.Stale = fresh.Stale; d.Stale && !fresh.AsOf.IsZero() {
		d.AsOf = fresh.AsOf.In(d.Now.Location())
	}
	return d, err
}

func todayPart(c *call) error {
	today, err := c.today()
	if err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.TodayPart(b, c.frame(""), today) })
}

func pulsePart(c *call) error {
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.PulsePart(b, c.frame("")) })
}

// clusterData needs no leader; the time zone is read locally, and is UTC when
// even that is not possible.
func (c *call) clusterData() ui.Cluster {
	zone, err := c.zone()
	if err != nil {
		zone = site{Name: "UTC", Changes: []attendance.ZoneChange{{}}}
	}
	s := c.api.Node.Status()
	admin := c.who.user.Role == attendance.Admin
	pulse := c.pulse()
	d := ui.Cluster{
		Now:     zone.local(attendance.MillisOf(c.began)),
		Decides: s.Quorum > 0 && pulse.Answer >= s.Quorum, Node: s.Node, ID: epochOf(s), Leader: s.Leader, Term: s.Term, Quorum: s.Quorum, CanLose: s.CanLose,
		Transfer: admin, Demo: admin && c.api.Demo != nil,
	}
	at := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return zone.local(attendance.MillisOf(t))
	}
	for _, n := range s.Nodes {
		d.Nodes = append(d.Nodes, ui.Node{
			Name: n.Name, URL: n.HTTP, State: string(n.State), Reachable: n.Reachable || n.Name == s.Node, Applied: n.Applied,
			Seq: n.Seq, Lag: n.Lag, Version: n.Version, Started: at(n.StartedAt),
		})
	}
	for _, e := range s.Elections[:min(len(s.Elections), 10)] {
		d.Elections = append(d.Elections, ui.Election{Term: e.Term, Leader: e.Leader, At: at(e.At), Leaderless: e.Leaderless})
	}
	return d
}

func clusterPage(c *call) error {
	c.keepLang()
	return c.page(http.StatusOK, func(b *bytes.Buffer) error {
		return c.api.pages.Cluster(b, c.frame("cluster"), c.clusterData())
	})
}

func clusterPart(c *call) error {
	return c.page(http.StatusOK, func(b *bytes.Buffer) error {
		return c.api.pages.ClusterPart(b, c.frame("cluster"), c.clusterData())
	})
}

func transferPage(c *call) error {
	if err := c.transfer(); err != nil {
		return err
	}
	return c.see("/cluster")
}

func demoPage(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	node, act := form.Get("node"), form.Get("act")
	switch act {
	case "kill", "freeze", "thaw", "start", "stop":
	default:
		return invalidField("act", "is neither kill, freeze, thaw, start nor stop")
	}
	if err := c.act(node, act); err != nil {
		return err
	}
	return c.see("/cluster")
}

func getAsset(c *call) error {
	a, exact, err := c.api.pages.Asset(c.vars("name"))
	if err != nil {
		return notFound("There is no such file.")
	}
	h := c.w.Header()
	h.Set("Content-Type", a.Type)
	if exact {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	content := a.Content
	for _, form := range []struct {
		coding string
		body   []byte
	}{{"br", a.Brotli}, {"gzip", a.Gzip}} {
		if form.body != nil && accepts(c.r.Header.Get("Accept-Encoding"), form.coding) {
			content = form.body
			h.Set("Content-Encoding", form.coding)
			break
		}
	}
	h.Add("Vary", "Accept-Encoding")
	return c.bytes(http.StatusOK, content)
}

// accepts reports whether a content coding is named without being refused.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			weight = strings.TrimRight(strings.TrimPrefix(strings.TrimSpace(weight), "q=0"), ".0")
			return !weighted || weight != ""
		}
	}
	return false
}
