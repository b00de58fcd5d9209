package httpapi

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/httpapi/stream"
	"hadir/store"
)

// RouteInfo is a row of the route table, for the tests outside.
type RouteInfo struct {
	Method, Path string
	Subject      string
	Reach        map[string]string // by kind of visitor
	Page         bool
}

// Public reports whether nobody has to be signed in.
func (r RouteInfo) Public() bool { return r.Reach["nobody"] != "none" }

// RouteTable gives the routes.
func (a *API) RouteTable() []RouteInfo {
	var out []RouteInfo
	for _, r := range a.routes() {
		info := RouteInfo{Method: r.method, Path: r.path, Page: r.page, Subject: r.access.subject.String(), Reach: make(map[string]string)}
		for k := range kinds {
			info.Reach[k.String()] = r.access.reach[k].String()
		}
		out = append(out, info)
	}
	return out
}

// Forget adds routes about somebody whose handlers do not ask their scope, and
// gives their paths.
func (a *API) Forget() (paths []string) {
	table := a.routes()
	for path, do := range map[string]func(*call) error{
		"/forgot/json":  func(c *call) error { return c.json(http.StatusOK, "secret") },
		"/forgot/plain": func(c *call) error { return c.plain(http.StatusCreated, "secret") },
		"/forgot/see":   func(c *call) error { return c.see("/secret") },
		"/forgot/write": func(c *call) error { _, err := c.w.Write([]byte("secret")); return err },
		"/forgot/act": func(c *call) error {
			_, err := c.propose(c.who, "", attendance.Audit{Action: "secret"})
			return err
		},
	} {
		paths = append(paths, path)
		table = append(table, route{http.MethodPost, path, signedIn.about(aboutPerson), false, do})
	}
	a.router = routing(table)
	return paths
}

// FixedPoint, ParseKey, NewKey and SplitGroup are what they are inside.
var (
	SplitGroup = split
	FixedPoint = fixedPoint
	ParseKey   = parseKey
	NewKey     = newKey
)

// SignToken signs a session.
func SignToken(secret []byte, user, epoch, global uint64, until time.Time) string {
	return session{user: user, epoch: epoch, global: global, until: attendance.MillisOf(until)}.sign(secret)
}

// Everything gives a configuration all parts that bring routes with them.
func Everything(c *Config) {
	WithArchive(c)
	c.Watcher = nothing{}
	c.Demo, c.Accounts = nothing{}, []Account{{Name: "A", Email: "a@b", Password: "p", Role: "admin"}}
}

// WithArchive gives it an archive that takes and restores nothing, and exports
// to nowhere.
func WithArchive(c *Config) { c.Archive, c.Exports = nothing{}, nothing{} }

type nothing struct{}

func (nothing) Act(context.Context, string, string) error { return nil }

func (nothing) Subscribe(func(fsm.Commit)) {}

func (nothing) Post(string, []byte) error { return nil }

func (nothing) Notes(string) []cluster.Note { return nil }

func (nothing) Changed() <-chan struct{} { return make(chan struct{}) }

func (nothing) Status(context.Context) ([]ExportStatus, error) { return nil, nil }

func (nothing) Reset(context.Context, string, string) (string, error) { return "", ErrUnknownTarget }

func (nothing) Retry(context.Context, string, []uint64) (int, error) { return 0, ErrUnknownTarget }

func (nothing) Verify(context.Context, string) (ExportReport, error) {
	return ExportReport{}, ErrUnknownTarget
}

func (nothing) Backup(context.Context, uint64) (*store.Snapshot, error) {
	return nil, cluster.ErrNotMember
}

func (nothing) Restore(context.Context, io.Reader, string) (cluster.Restored, error) {
	return cluster.Restored{}, cluster.ErrNotEmpty
}

// fullTable is the table of everything that can be served.
func fullTable() []route {
	a := &API{}
	Everything(&a.Config)
	return a.routes()
}

// Contract gives the document of the whole table.
func Contract() ([]byte, error) {
	k, err := describe(fullTable())
	if err != nil {
		return nil, err
	}
	return k.json, nil
}

// RouteOf finds the operation that answers a request: its method and path in the
// document, and that path.
func RouteOf(r *http.Request) (key, path string, found bool) {
	var match mux.RouteMatch
	if !fullRouter().Match(r, &match) || match.MatchErr != nil {
		return "", "", false
	}
	m, _ := match.Handler.(methods)
	row, known := m[r.Method]
	if !known || !row.inContract() {
		return "", "", false
	}
	path = plainPath(row.path)
	return row.method + " " + path, path, true
}

var fullRouter = sync.OnceValue(func() *mux.Router { return routing(fullTable()) })

// InContract gives the keys of the routes that are for programs.
func InContract() (keys []string) {
	for _, r := range fullTable() {
		if r.inContract() {
			keys = append(keys, r.key())
		}
	}
	return keys
}

// Operations gives the keys of the operations.
func Operations() []string { return slices.Collect(maps.Keys(operations)) }

// FieldDocs gives the names of the fields that have words.
func FieldDocs() []string { return slices.Collect(maps.Keys(fieldDocs)) }

// AreaOf gives the area of a path in the contract.
func AreaOf(path string) string { return areaOf(path) }

// Call is what a handler took of a request, and what it did.
type Call struct {
	Key, Method, Path string
	Subject           string
	Asked             bool // its scope
	Narrow            bool // somebody reaches less than all
	Params            []string
	Read              bool // the query
	Fields            []string
	Body              bool // a JSON object was read
	Status            int
}

// narrow reports whether somebody who may use the route does not reach all.
func (a access) narrow() bool {
	return slices.ContainsFunc(a.reach[student:], func(r reach) bool { return r == reachOwn || r == reachGroup })
}

// Trace has f see every call at its end. It is to be called before the first.
func (a *API) Trace(f func(Call)) {
	a.trace = func(c *call) {
		if c.route == nil {
			return
		}
		out := Call{
			Key: c.route.method + " " + plainPath(c.route.path), Method: c.route.method, Path: plainPath(c.route.path),
			Subject: c.route.access.subject.String(), Asked: c.who != nil && c.who.asked, Narrow: c.route.access.narrow(), Params: c.params, Read: c.params != nil,
			Status: c.w.status,
		}
		if c.in != nil {
			out.Fields, out.Body = c.in.taken, true
		}
		f(out)
	}
}

// EncodePeople gives the note about who is connected; DecodePeople reads it.
func EncodePeople(people map[uint64]int) []byte {
	var sorted []connected
	for _, user := range slices.Sorted(maps.Keys(people)) {
		sorted = append(sorted, connected{user, people[user]})
	}
	return encodePeople(sorted)
}

// DecodePeople gives each person with the number of their connections.
func DecodePeople(b []byte) (map[uint64]int, error) {
	people, err := decodePeople(b)
	out := make(map[uint64]int)
	for _, c := range people {
		out[c.user] = c.times
	}
	return out, err
}

// ParseSubscription reads the query of the stream.
func ParseSubscription(raw string) (stream.Topics, *stream.Position, error) {
	c := &call{r: &http.Request{URL: &url.URL{RawQuery: raw}}}
	q, err := c.query(streamParams...)
	if err != nil {
		return 0, nil, err
	}
	topics, from := q.subscription()
	return topics, from, q.done()
}

// Hub gives the hub of the stream.
func (a *API) Hub() *stream.Hub { return a.push.hub }

// Results are the answers that a node keeps.
type Results struct{ *results }

// NewResults gives some that are not shared.
func NewResults() Results { return Results{newResults(nil)} }

// Put and Get are what they are inside.
func (r Results) Put(key [32]byte, body []byte) { r.put(key, body) }

// Get gives one.
func (r Results) Get(key [32]byte) ([]byte, bool) { return r.get(context.Background(), key) }

// Bytes gives how many are kept.
func (r Results) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// ForgetResults has nothing kept any more. Nobody may ask meanwhile.
func (a *API) ForgetResults() { a.results = newResults(a.Cache) }
