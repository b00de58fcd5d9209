package httpapi_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
)

// relation is what the subject of a request is to who asks.
type relation string

const (
	nobodys relation = "nobody's" // of a route that is about nobody, or about who asks
	own     relation = "own"
	nearby  relation = "group"   // somebody of the group for which the teacher is responsible
	foreign relation = "foreign" // somebody else
)

// reaches says which relations lie within a reach.
func reaches(reach string, to relation) bool {
	switch reach {
	case "own":
		return to == own || to == nobodys
	case "group":
		return to != foreign
	}
	return reach == "all"
}

// asking is one column of the matrix: a kind of visitor, and whom the cells are
// about. Nobody and devices have nothing of their own.
type asking struct {
	name, kind string
	who        int
	about      []subject
	most       string // what its token narrows the reach to
}

type subject struct {
	to   relation
	user int
}

// Users of the harness who are devices: one for everybody, one for a group.
const (
	deviceID      = -1
	groupDeviceID = -2
)

var columns = []asking{
	{name: "nobody", kind: "nobody", about: []subject{{nearby, aniID}, {foreign, citraID}}},
	{name: "a student", kind: "student", who: aniID, about: []subject{{own, aniID}, {nearby, budiID}, {foreign, citraID}}},
	{name: "a teacher", kind: "teacher", who: teacherID, about: []subject{{own, teacherID}, {nearby, aniID}, {foreign, citraID}}},
	{name: "an admin", kind: "admin", who: adminID, about: []subject{{own, adminID}, {nearby, aniID}, {foreign, citraID}}},
	{name: "a device", kind: "device", who: deviceID, about: []subject{{nearby, aniID}, {foreign, citraID}}},
	{name: "a device of a group", kind: "device", who: groupDeviceID, about: []subject{{nearby, aniID}, {foreign, citraID}}, most: "group"},
}

// groupOf is the class of a person; the teacher's is the one they teach.
var groupOf = map[int]int{teacherID: 1, aniID: 1, budiID: 1, citraID: 2}

// probe is how the matrix asks for a route with a subject put into it: {user} is
// its id, {name} its name, {record} and {key} its check-in, {at} the time of that,
// and {group} its class.
type probe struct {
	path   string // instead of the route's own
	device string // the path for devices, where it is another one
	body   string
	media  string // of the body, when it is no JSON
	shows  string // of a list: what is in it when the subject is
	noOwn  bool   // nobody has one of their own
	want   []int  // statuses of what is allowed, beside 2xx
}

// deviceKey is the key under which each device has tapped for the subject.
const deviceKey = "01930000-0000-7000-8000-00000000020{user}"

const formMedia = "application/x-www-form-urlencoded"

// probes are by method and path. A route about somebody needs one, and so does
// one with a variable.
var probes = map[string]probe{
	"POST /api/v1/session":                                       {body: `{"email":"ani@sekolah.test","password":"rahasia"}`},
	"DELETE /api/v1/sessions":                                    {path: "/api/v1/sessions?everybody=true"},
	"POST /api/v1/checkins":                                      {body: `{"type":"out","user_id":{user}}`},
	"GET /api/v1/checkins/{key}":                                 {path: "/api/v1/checkins/{key}?user_id={user}", device: "/api/v1/checkins/" + deviceKey},
	"GET /api/v1/attendances":                                    {shows: `"timestamp":"{at}"`},
	"GET /api/v1/attendances/{id}":                               {path: "/api/v1/attendances/{record}"},
	"GET /api/v1/attendances/{id}/logs":                          {path: "/api/v1/attendances/{record}/logs"},
	"GET /api/v1/stats/today":                                    {shows: `"name":"X-{group}"`, noOwn: true},
	"GET /api/v1/reviews":                                        {shows: `"timestamp":"{at}"`},
	"POST /api/v1/reviews/{seq}":                                 {path: "/api/v1/reviews/{record}", body: `{"decision":"reject","note":"no"}`},
	"GET /api/v1/users":                                          {shows: `"name":"{name}"`},
	"POST /api/v1/users":                                         {body: `{"name":"Dewi","email":"dewi@sekolah.test","role":"student"}`},
	"POST /api/v1/users/import":                                  {body: "name,email,role\nDewi,dewi@sekolah.test,student\n", media: "text/csv"},
	"GET /api/v1/users/{id}":                                     {path: "/api/v1/users/{user}"},
	"PATCH /api/v1/users/{id}":                                   {path: "/api/v1/users/{user}", body: `{"name":"Dewi"}`},
	"DELETE /api/v1/users/{id}":                                  {path: "/api/v1/users/{user}", want: []int{http.StatusConflict}}, // the last admin
	"POST /api/v1/users/{id}/password":                           {path: "/api/v1/users/{user}/password", body: `{"password":"rahasia banget","current_password":"rahasia"}`},
	"DELETE /api/v1/users/{id}/sessions":                         {path: "/api/v1/users/{user}/sessions"},
	"GET /api/v1/groups":                                         {shows: `"name":"X-{group}"`, noOwn: true},
	"POST /api/v1/groups":                                        {body: `{"name":"X-3","kind":"class"}`},
	"GET /api/v1/groups/{id}":                                    {path: "/api/v1/groups/{group}", noOwn: true},
	"PATCH /api/v1/groups/{id}":                                  {path: "/api/v1/groups/{group}", body: `{"name":"X-3"}`},
	"DELETE /api/v1/groups/{id}":                                 {path: "/api/v1/groups/{group}"},
	"GET /api/v1/stream":                                         {want: []int{http.StatusUpgradeRequired}},
	"GET /api/v1/presence":                                       {shows: `"user_id":{user},`},
	"POST /api/v1/cluster/remove":                                {body: `{"id":"n3"}`},
	"POST /api/v1/tokens":                                        {body: `{"name":"gate"}`},
	"DELETE /api/v1/tokens/{id}":                                 {path: "/api/v1/tokens/1"},
	"POST /api/v1/queue/retry":                                   {body: `{"all":true,"note":"Redis is back"}`},
	"POST /api/v1/queue/dismiss":                                 {body: `{"reason":"no","note":"sent by a test"}`},
	"POST /api/v1/queue/import":                                  {body: `{"entries":["bmV3"]}`},
	"POST /api/v1/reports":                                       {body: `{"date":"2026-11-23"}`},
	"POST /api/v1/imports":                                       {body: "name,email,role\nDewi,dewi@sekolah.test,student\n", media: "text/csv"},
	"GET /api/v1/jobs/{job}":                                     {path: "/api/v1/jobs/" + jobID},
	"GET /api/v1/jobs/{job}/result":                              {path: "/api/v1/jobs/" + jobID + "/result"},
	"GET /api/v1/backup":                                         {want: []int{http.StatusServiceUnavailable}},
	"POST /api/v1/restore":                                       {body: "HADIRBK1", media: "application/octet-stream", want: []int{http.StatusConflict}},
	"POST /api/v1/export/reset":                                  {body: `{"target":"x"}`, want: []int{http.StatusNotFound}},
	"POST /api/v1/export/retry":                                  {body: `{"target":"x"}`, want: []int{http.StatusNotFound}},
	"POST /api/v1/export/verify":                                 {body: `{"target":"x"}`, want: []int{http.StatusNotFound}},
	"POST /api/v1/demo/{node}/{act:kill|freeze|thaw|start|stop}": {path: "/api/v1/demo/n2/kill"},
	"GET /":                    {shows: `datetime="{at}"`},
	"GET /today":               {shows: `datetime="{at}"`},
	"GET /dashboard":           {shows: `datetime="{at}"`},
	"GET /groups":              {shows: `href="/groups/{group}"`, noOwn: true},
	"GET /groups/list":         {shows: `href="/groups/{group}"`, noOwn: true},
	"GET /groups/{id}":         {path: "/groups/{group}", noOwn: true},
	"GET /groups/{id}/members": {path: "/groups/{group}/members", noOwn: true},
	"POST /check-in":           {body: "type=out&key=" + key1, media: formMedia},
	"POST /sign-in":            {body: "email=ani@sekolah.test&password=rahasia", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /sign-out":           {media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /cluster/transfer":   {media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /cluster/demo":       {body: "node=n2&act=kill", media: formMedia, want: []int{http.StatusSeeOther}},
	"GET /assets/{name}":       {path: "/assets/icon.0.svg"},

	"GET /records":                     {shows: `datetime="{at}"`},
	"GET /reviews":                     {shows: `datetime="{at}"`},
	"POST /reviews/{seq}":              {path: "/reviews/{record}", body: "key=" + key1 + "&decision=reject&note=no", media: formMedia, want: []int{http.StatusSeeOther}},
	"GET /online":                      {shows: `>{name}</`},
	"GET /online/list":                 {shows: `>{name}</`},
	"POST /admin/people":               {body: "name=Dewi&email=dewi@sekolah.test&role=student", media: formMedia, want: []int{http.StatusSeeOther}},
	"GET /admin/people/{id}":           {path: "/admin/people/{user}"},
	"POST /admin/people/{id}":          {path: "/admin/people/{user}", body: "name=Dewi&email=dewi@sekolah.test&role=student", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/people/{id}/password": {path: "/admin/people/{user}/password", body: "password=rahasia banget&current_password=rahasia", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/people/{id}/sessions": {path: "/admin/people/{user}/sessions", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/people/{id}/active":   {path: "/admin/people/{user}/active", body: "active=true", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/people/import":        {body: upload("name,email,role\nDewi,dewi@sekolah.test,student\n", "apply"), media: uploadMedia},
	"POST /admin/groups":               {body: "name=X-3&kind=class", media: formMedia, want: []int{http.StatusSeeOther}},
	"GET /admin/groups/{id}":           {path: "/admin/groups/1"},
	"POST /admin/groups/{id}":          {path: "/admin/groups/1", body: "name=X-3&kind=class", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/groups/{id}/join":     {path: "/admin/groups/1/join", body: "as=member&who=citra@sekolah.test", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/groups/{id}/leave":    {path: "/admin/groups/1/leave", body: "as=member&pick.3=on", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/groups/{id}/delete":   {path: "/admin/groups/1/delete", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/params":               {body: paramsForm, media: formMedia, want: []int{http.StatusConflict}}, // it is from no page
	"POST /admin/queue/act":            {body: "act=retry_all", media: formMedia, want: []int{http.StatusSeeOther}},
	"POST /admin/queue/parked":         {body: "target=x&all=yes", media: formMedia, want: []int{http.StatusNotFound}},
	"POST /admin/export/act":           {body: "target=x&act=verify", media: formMedia, want: []int{http.StatusNotFound}},
	"POST /admin/tokens":               {body: "name=gate", media: formMedia},
	"POST /admin/tokens/{id}/revoke":   {path: "/admin/tokens/1/revoke", media: formMedia, want: []int{http.StatusSeeOther}},
}

// matrix is a world in which everybody has checked in once, each at their own
// time and offline, so that there is something to review.
type matrix struct {
	*world
	record, key, at map[int]string
}

func withDesk(c *httpapi.Config) { c.Desk = &fakeDesk{} }

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{world: newWorld(t, httpapi.WithArchive, withDesk, withJobs, withHooks), record: make(map[int]string), key: make(map[int]string), at: make(map[int]string)}
	// Signing in costs a password hash, and many cells want a world of their own.
	for user := range emails {
		m.token[user] = httpapi.SignToken(bytes.Repeat([]byte{7}, 32), uint64(user), 0, 0, time.Now().Add(time.Hour))
	}
	for _, user := range []int{deviceID, groupDeviceID} {
		m.token[user] = fmt.Sprint("hd1.", user)
		hash := sha256.Sum256([]byte(m.token[user]))
		m.node.setUp(t, attendance.PutToken{Name: "gate", Hash: hash[:]})
	}
	for _, user := range []int{adminID, teacherID, aniID, budiID, citraID} {
		m.clock.advance(time.Second)
		m.key[user] = fmt.Sprintf("01930000-0000-7000-8000-0000000001%02d", user)
		r := m.tap(user, m.key[user], `{"type":"in","offline":true,"client_time":"2026-01-05T06:58:13.902+07:00"}`)
		m.want(r, http.StatusCreated, "")
		m.record[user], m.at[user] = fmt.Sprint(r.at("attendance.id")), fmt.Sprint(r.at("attendance.timestamp"))
	}
	for _, user := range []int{aniID, citraID} {
		for _, device := range []int{deviceID, groupDeviceID} {
			m.want(m.tap(device, m.fill(deviceKey, user), fmt.Sprintf(`{"type":"in","user_id":%d}`, user)), http.StatusConflict, "")
		}
	}
	// What one of them did for other groups it does not see any more.
	m.node.setUp(t, attendance.PutToken{TokenID: 2, Name: "gate", Groups: []uint64{1}})
	return m
}

func (m *matrix) fill(s string, subject int) string {
	name, _, _ := strings.Cut(emails[subject], "@")
	return strings.NewReplacer("{user}", fmt.Sprint(subject), "{name}", strings.ToUpper(name[:1])+name[1:], "{record}", m.record[subject],
		"{key}", m.key[subject], "{at}", m.at[subject], "{group}", fmt.Sprint(groupOf[subject])).Replace(s)
}

// ask sends the request of a cell.
func (m *matrix) ask(route httpapi.RouteInfo, p probe, who, subject int) reply {
	path := cmp.Or(p.path, route.Path)
	if who < 0 {
		path = cmp.Or(p.device, path)
	}
	var header []string
	if p.media != "" {
		header = []string{"Content-Type", p.media}
	}
	return m.do(who, route.Method, m.fill(path, subject), m.fill(p.body, subject), header...)
}

// refused reports whether the answer is that to somebody without the right.
func refused(route httpapi.RouteInfo, kind string, r reply) bool {
	if kind != "nobody" {
		return r.StatusCode == http.StatusForbidden
	}
	return r.StatusCode == http.StatusUnauthorized ||
		(route.Page && r.StatusCode == http.StatusSeeOther && r.Header.Get("Location") == "/")
}

// TestAuthorizationMatrix asks for every route as everybody, about themselves,
// somebody of the teacher's group and somebody else, and expects what the table
// of routes says.
func TestAuthorizationMatrix(t *testing.T) {
	shared := newMatrix(t)
	routes := shared.api.RouteTable()
	if len(routes) < 55 {
		t.Fatalf("%d routes only", len(routes))
	}
	allowed, cells := 0, 0
	for _, route := range routes {
		key := route.Method + " " + route.Path
		about := route.Subject != "nothing" && route.Subject != "self"
		p, known := probes[key]
		if !known && (about || strings.Contains(route.Path, "{")) {
			t.Errorf("%s is about %s and has no probe", key, route.Subject)
			continue
		}
		for _, column := range columns {
			subjects := []subject{{nobodys, aniID}}
			if about {
				subjects = column.about
			}
			for _, s := range subjects {
				if s.to == own && p.noOwn {
					continue
				}
				reach := route.Reach[column.kind]
				if column.most != "" && reach == "all" {
					reach = column.most
				}
				may := reaches(reach, s.to)
				cells++
				if may {
					allowed++
				}
				t.Run(fmt.Sprintf("%s as %s, %s", key, column.name, s.to), func(t *testing.T) {
					m := shared
					if may && route.Method != http.MethodGet {
						m = newMatrix(t) // what is allowed is done
					}
					m.t = t
					m.cell(route, p, column, s.user, may)
				})
			}
		}
	}
	t.Logf("authorization matrix: %d cells, %d of them allowed, over %d routes", cells, allowed, len(routes))
}

// cell checks one cell of the matrix.
func (m *matrix) cell(route httpapi.RouteInfo, p probe, column asking, user int, may bool) {
	m.t.Helper()
	before, acts := m.node.proposals(), len(m.demo.acts)
	r := m.ask(route, p, column.who, user)
	if route.Subject == "people" && route.Reach[column.kind] != "none" {
		// Everybody gets the list; what is in it differs.
		shows := strings.Contains(string(r.body), m.fill(p.shows, user))
		if r.StatusCode != http.StatusOK || shows != may {
			m.t.Errorf("%d, and the subject is in it: %v, want %v: %s", r.StatusCode, shows, may, r.body)
		}
		return
	}
	if may {
		if r.StatusCode/100 != 2 && !slices.Contains(p.want, r.StatusCode) {
			m.t.Errorf("is allowed and was answered %d: %s", r.StatusCode, r.body)
		}
		return
	}
	if !refused(route, column.kind, r) {
		m.t.Errorf("is not allowed and was answered %d: %s", r.StatusCode, r.body)
	}
	if m.node.proposals() != before || len(m.demo.acts) != acts || m.node.transfers() != 0 {
		m.t.Error("is not allowed and was done")
	}
	code := "forbidden"
	if column.kind == "nobody" {
		code = "unauthenticated"
	}
	if !route.Page && r.code() != code {
		m.t.Errorf("code %q, want %q", r.code(), code)
	}
}

// TestForgedToken: a token that nobody signed is nobody's.
func TestForgedToken(t *testing.T) {
	m := newMatrix(t)
	for _, route := range m.api.RouteTable() {
		if route.Public() || route.Page {
			continue
		}
		path := m.fill(route.Path, aniID)
		if p := probes[route.Method+" "+route.Path]; p.path != "" {
			path = m.fill(p.path, aniID)
		}
		m.want(m.do(0, route.Method, path, "", "Authorization", "Bearer hs1.forged"), http.StatusUnauthorized, "unauthenticated")
	}
}

// TestForgottenScope: a handler of a route about somebody that does not ask
// whose data it is gets nothing out and nothing decided.
func TestForgottenScope(t *testing.T) {
	w := newWorld(t)
	for _, path := range w.api.Forget() {
		for _, who := range []int{aniID, teacherID, adminID} {
			before := w.node.proposals()
			r := w.do(who, "POST", path, "")
			w.want(r, http.StatusInternalServerError, "internal")
			if strings.Contains(string(r.body), "secret") || w.node.proposals() != before {
				t.Errorf("%s as %d: %s", path, who, r.body)
			}
		}
	}
}

// variablePattern finds the parts of a path that a request fills.
var variablePattern = regexp.MustCompile(`\{[^}]*\}`)

func TestMethodsAndPaths(t *testing.T) {
	w := newWorld(t)
	for _, route := range w.api.RouteTable() {
		path := variablePattern.ReplaceAllString(strings.ReplaceAll(route.Path, "{act:kill|freeze|thaw|start|stop}", "kill"), "1")
		r := w.do(adminID, "PUT", path, "{}")
		if r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.Header.Get("Allow"), route.Method) {
			t.Errorf("PUT %s: %d, Allow %q", path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	for _, path := range []string{"/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/users", "//", "/api/v1/users/", "/api/v1//users", "/%2e%2e/x", "/favicon.ico"} {
		w.want(w.get(adminID, path), http.StatusNotFound, "not_found")
	}
	page := w.do(0, "GET", "/nothing", "", "Accept", "text/html")
	if page.StatusCode != http.StatusNotFound || !strings.Contains(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser's 404: %d %s", page.StatusCode, page.Header.Get("Content-Type"))
	}
	head := w.do(adminID, "HEAD", "/api/v1/users", "")
	if head.StatusCode != http.StatusOK || len(head.body) != 0 || head.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
}

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	for given, kept := range map[string]bool{
		"abc-DEF_1.2": true, "": false, "a b": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "<script>": false,
	} {
		got := w.do(0, "GET", "/healthz", "", "X-Request-Id", given).Header.Get("X-Request-Id")
		if (got == given) != kept {
			t.Errorf("X-Request-Id %q came back as %q", given, got)
		}
	}
	r := w.do(0, "GET", "/api/v1/nothing", "", "X-Request-Id", "abc")
	if r.doc["instance"] != "urn:hadir:request:abc" || r.Header.Get("X-Hadir-Node") != "n1" {
		t.Errorf("problem: %s", r.body)
	}
}

func TestCrossOrigin(t *testing.T) {
	w := newWorld(t)
	cookie := "hadir_session=" + w.tokenOf(aniID)
	before := w.node.proposals()
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"}, {"Origin", "null"},
	} {
		header = append(header, "Cookie", cookie)
		w.want(w.do(0, "POST", "/api/v1/checkins", tapIn, header...), http.StatusForbidden, "cross_origin")
		w.want(w.do(0, "POST", "/api/v1/session", `{}`, header...), http.StatusForbidden, "cross_origin")
		form := w.do(0, "POST", "/check-in", "type=in&key="+key1, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
		if form.StatusCode != http.StatusForbidden {
			t.Errorf("form with %v: %d", header, form.StatusCode)
		}
	}
	if w.node.proposals() != before {
		t.Error("something was proposed")
	}
	w.want(w.do(0, "POST", "/api/v1/checkins", tapIn, "Sec-Fetch-Site", "same-origin", "Cookie", cookie), http.StatusCreated, "")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Sec-Fetch-Site", "cross-site", "Cookie", cookie), http.StatusOK, "")
	w.want(w.do(budiID, "POST", "/api/v1/checkins", tapIn, "Sec-Fetch-Site", "cross-site"), http.StatusCreated, "")
}
