package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

const apiPrefix = "/api/v1"

// route is one row of the table.
type route struct {
	method string
	path   string
	access access
	page   bool // for people with a browser: errors are pages too
	do     func(*call) error
}

// routes is the table, area by area. GET serves HEAD too.
func (a *API) routes() []route {
	return slices.Concat(sessionRoutes, checkInRoutes, recordRoutes, peopleRoutes, clusterRoutes, healthRoutes(), a.demoRoutes(), pageRoutes)
}

var sessionRoutes = []route{
	{http.MethodPost, apiPrefix + "/session", anyone, false, postSession},
	{http.MethodGet, apiPrefix + "/session", signedIn, false, getSession},
	{http.MethodDelete, apiPrefix + "/session", signedIn, false, deleteSession},
}

var checkInRoutes = []route{
	{http.MethodPost, apiPrefix + "/checkins", signedIn, false, postCheckIn},
	{http.MethodGet, apiPrefix + "/checkins/{key}", signedIn, false, getCheckIn},
}

var recordRoutes = []route{
	{http.MethodGet, apiPrefix + "/attendances", signedIn, false, getAttendances},
	{http.MethodGet, apiPrefix + "/attendances/{id}", signedIn, false, getAttendance},
	{http.MethodGet, apiPrefix + "/attendances/{id}/logs", signedIn, false, getAttendanceLogs},
}

var peopleRoutes = []route{
	{http.MethodGet, apiPrefix + "/users", staff, false, getUsers},
}

var clusterRoutes = []route{
	{http.MethodGet, apiPrefix + "/cluster", staff, false, getCluster},
	{http.MethodGet, apiPrefix + "/cluster/health", anyone, false, getClusterHealth},
	{http.MethodPost, apiPrefix + "/cluster/transfer", admins, false, postTransfer},
	{http.MethodPost, apiPrefix + "/cluster/verify", admins, false, postVerify},
}

var pageRoutes = []route{
	{http.MethodGet, "/", anyone, true, homePage},
	{http.MethodPost, "/sign-in", anyone, true, signInPage},
	{http.MethodPost, "/sign-out", anyone, true, signOutPage},
	{http.MethodPost, "/check-in", signedIn, true, checkInPage},
	{http.MethodGet, "/today", signedIn, true, todayPart},
	{http.MethodGet, "/pulse", anyone, true, pulsePart},
	{http.MethodGet, "/cluster", staff, true, clusterPage},
	{http.MethodGet, "/cluster/nodes", staff, true, clusterPart},
	{http.MethodPost, "/cluster/transfer", admins, true, transferPage},
	{http.MethodGet, "/assets/{name}", anyone, false, getAsset},
}

// healthRoutes are at the root, where probes look, and beside everything else.
func healthRoutes() (table []route) {
	for _, prefix := range []string{"", apiPrefix} {
		table = append(table,
			route{http.MethodGet, prefix + "/healthz", anyone, false, getHealth},
			route{http.MethodGet, prefix + "/readyz", anyone, false, getReady},
			route{http.MethodGet, prefix + "/metrics", anyone, false, getMetrics},
		)
	}
	return table
}

// demoRoutes are there in a demo only.
func (a *API) demoRoutes() (table []route) {
	if a.Demo != nil {
		table = append(table,
			route{http.MethodPost, apiPrefix + "/demo/{node}/{act:kill|freeze|thaw|start|stop}", admins, false, postDemo},
			route{http.MethodPost, "/cluster/demo", admins, true, demoPage},
		)
	}
	if len(a.Accounts) > 0 {
		table = append(table, route{http.MethodGet, apiPrefix + "/demo/accounts", anyone, false, getDemoAccounts})
	}
	return table
}

// methods are the routes of one path.
type methods map[string]*route

// ServeHTTP implements http.Handler, as the router wants; it is never called,
// because call.dispatch does.
func (methods) ServeHTTP(http.ResponseWriter, *http.Request) {}

func (m methods) allow() string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// routing gives the router. A path has one entry with all its methods, so that a
// wrong method is told apart from a wrong path.
func (a *API) routing() *mux.Router {
	router := mux.NewRouter()
	paths := make(map[string]methods)
	for _, r := range a.routes() {
		m, known := paths[r.path]
		if !known {
			m = make(methods)
			paths[r.path] = m
			router.Handle(r.path, m)
		}
		m[r.method] = &r
		if r.method == http.MethodGet {
			m[http.MethodHead] = &r
		}
	}
	return router
}
