package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

const apiPrefix = "/api/v1"

// route is one row of the table. Its access says who may use it and, with
// access.about, how far everybody gets with other people's data; scope.go holds
// both to it.
type route struct {
	method string
	path   string
	access access
	page   bool // for people with a browser: errors are pages too
	do     func(*call) error
}

// routes is the table, area by area. GET serves HEAD too.
func (a *API) routes() []route {
	table := slices.Concat(sessionRoutes, checkInRoutes, recordRoutes, peopleRoutes, clusterRoutes, queueRoutes, jobRoutes, webhookRoutes, a.streamRoutes(), healthRoutes(), a.demoRoutes(), a.backupRoutes(), a.exportRoutes(), contractRoutes, pageRoutes, adminPageRoutes, a.exportPageRoutes())
	for i := range table {
		if table[i].page { // pages are for people
			table[i].access.reach[device] = reachNone
		}
	}
	return table
}

var sessionRoutes = []route{
	{http.MethodPost, apiPrefix + "/session", anyone, false, postSession},
	{http.MethodGet, apiPrefix + "/session", signedIn.about(aboutSelf), false, getSession},
	{http.MethodDelete, apiPrefix + "/session", signedIn.about(aboutSelf), false, deleteSession},
	{http.MethodDelete, apiPrefix + "/sessions", admins, false, deleteSessions},
}

var checkInRoutes = []route{
	{http.MethodPost, apiPrefix + "/checkins", tappers.about(aboutPerson), false, postCheckIn},
	{http.MethodGet, apiPrefix + "/checkins/{key}", tappers.about(aboutPerson), false, getCheckIn},
}

var recordRoutes = []route{
	{http.MethodGet, apiPrefix + "/attendances", signedIn.about(aboutPeople), false, getAttendances},
	{http.MethodGet, apiPrefix + "/attendances/{id}", signedIn.about(aboutRecord), false, getAttendance},
	{http.MethodGet, apiPrefix + "/attendances/{id}/logs", signedIn.about(aboutRecord), false, getAttendanceLogs},
	{http.MethodGet, apiPrefix + "/logs", admins, false, getLogs},
	{http.MethodGet, apiPrefix + "/stats/today", signedIn.about(aboutPeople), false, getStatsToday},
	{http.MethodGet, apiPrefix + "/reviews", staff.about(aboutPeople), false, getReviews},
	{http.MethodPost, apiPrefix + "/reviews/{seq}", admins, false, postReview},
	{http.MethodGet, apiPrefix + "/journal", admins, false, getJournal},
}

var peopleRoutes = []route{
	{http.MethodGet, apiPrefix + "/users", staff.about(aboutPeople), false, getUsers},
	{http.MethodPost, apiPrefix + "/users", admins, false, postUser},
	{http.MethodPost, importPath, admins, false, postImport}, // before {id}, which it would be
	{http.MethodGet, apiPrefix + "/users/{id}", signedIn.about(aboutPerson), false, getUser},
	{http.MethodPatch, apiPrefix + "/users/{id}", admins, false, patchUser},
	{http.MethodDelete, apiPrefix + "/users/{id}", admins.about(aboutPerson), false, deleteUser},
	{http.MethodPost, apiPrefix + "/users/{id}/password", themselves.about(aboutPerson), false, postUserPassword},
	{http.MethodDelete, apiPrefix + "/users/{id}/sessions", themselves.about(aboutPerson), false, deleteUserSessions},
	{http.MethodGet, apiPrefix + "/groups", staff.about(aboutPeople), false, getGroups},
	{http.MethodPost, apiPrefix + "/groups", admins, false, postGroup},
	{http.MethodGet, apiPrefix + "/groups/{id}", staff.about(aboutGroup), false, getGroup},
	{http.MethodPatch, apiPrefix + "/groups/{id}", admins, false, patchGroup},
	{http.MethodDelete, apiPrefix + "/groups/{id}", admins, false, deleteGroup},
	{http.MethodGet, apiPrefix + "/tokens", admins, false, getTokens},
	{http.MethodPost, apiPrefix + "/tokens", admins, false, postToken},
	{http.MethodDelete, apiPrefix + "/tokens/{id}", admins, false, deleteToken},
}

var clusterRoutes = []route{
	{http.MethodGet, apiPrefix + "/cluster", staff, false, getCluster},
	{http.MethodGet, apiPrefix + "/cluster/health", anyone, false, getClusterHealth},
	{http.MethodPost, apiPrefix + "/cluster/transfer", admins, false, postTransfer},
	{http.MethodPost, apiPrefix + "/cluster/remove", admins, false, postRemove},
	{http.MethodPost, apiPrefix + "/cluster/verify", admins, false, postVerify},
}

var contractRoutes = []route{
	{http.MethodGet, apiPrefix + "/openapi.json", anyone, false, getContract},
	{http.MethodGet, "/api/docs", anyone, true, docsPage},
}

var pageRoutes = []route{
	{http.MethodGet, "/", anyone.about(aboutPeople), true, homePage},
	{http.MethodPost, "/sign-in", anyone, true, signInPage},
	{http.MethodPost, "/sign-out", anyone, true, signOutPage},
	{http.MethodPost, "/check-in", signedIn.about(aboutSelf), true, checkInPage},
	{http.MethodGet, "/today", signedIn.about(aboutPeople), true, todayPart},
	{http.MethodGet, "/pulse", anyone, true, pulsePart},
	{http.MethodGet, "/history", signedIn.about(aboutSelf), true, historyPage},
	{http.MethodGet, "/groups", staff.about(aboutPeople), true, groupsPage},
	{http.MethodGet, "/groups/list", staff.about(aboutPeople), true, groupsPart}, // before {id}, which it would be
	{http.MethodGet, "/groups/{id}", staff.about(aboutGroup), true, groupPage},
	{http.MethodGet, "/groups/{id}/members", staff.about(aboutGroup), true, groupPart},
	{http.MethodGet, "/dashboard", staff.about(aboutPeople), true, dashboardPage},
	{http.MethodGet, "/cluster", staff, true, clusterPage},
	{http.MethodGet, "/cluster/nodes", staff, true, clusterPart},
	{http.MethodPost, "/cluster/transfer", admins, true, transferPage},
	{http.MethodGet, "/assets/{name}", anyone, false, getAsset},
	{http.MethodGet, "/offline", anyone, true, offlinePage},
	{http.MethodGet, "/sw.js", anyone, false, getWorker},
	{http.MethodGet, "/manifest.webmanifest", anyone, false, getManifest},
}

// adminPageRoutes are the pages of those who administer, and what of them is for
// teachers too.
var adminPageRoutes = []route{
	{http.MethodGet, recordsPath, staff.about(aboutPeople), true, recordsPage},
	{http.MethodGet, reviewsPath, staff.about(aboutPeople), true, reviewsPage},
	{http.MethodPost, reviewsPath + "/{seq}", admins, true, decidePage},
	{http.MethodGet, adminPath, admins, true, hubPage},
	{http.MethodGet, peoplePath, admins, true, peoplePage},
	{http.MethodPost, peoplePath, admins, true, createPersonPage},
	{http.MethodGet, importPagePath, admins, true, importPage}, // before {id}, which it would be
	{http.MethodPost, importPagePath, admins, true, sendImportPage},
	{http.MethodGet, peoplePath + "/{id}", admins, true, personPage},
	{http.MethodPost, peoplePath + "/{id}", admins, true, editPersonPage},
	{http.MethodPost, peoplePath + "/{id}/password", admins.about(aboutPerson), true, passwordPage},
	{http.MethodPost, peoplePath + "/{id}/sessions", admins.about(aboutPerson), true, endSessionsPage},
	{http.MethodPost, peoplePath + "/{id}/active", admins.about(aboutPerson), true, activePersonPage},
	{http.MethodGet, groupsPath, admins, true, adminGroupsPage},
	{http.MethodPost, groupsPath, admins, true, createGroupPage},
	{http.MethodGet, groupsPath + "/{id}", admins, true, adminGroupPage},
	{http.MethodPost, groupsPath + "/{id}", admins, true, editGroupPage},
	{http.MethodPost, groupsPath + "/{id}/join", admins, true, joinPage},
	{http.MethodPost, groupsPath + "/{id}/leave", admins, true, leavePage},
	{http.MethodPost, groupsPath + "/{id}/delete", admins, true, deleteGroupPage},
	{http.MethodGet, auditPath, admins, true, auditPage},
	{http.MethodGet, journalPath, admins, true, journalPage},
	{http.MethodGet, queuePath, admins, true, queuePage},
	{http.MethodGet, queuePath + "/numbers", admins, true, queueNumbersPart},
	{http.MethodGet, queuePath + "/failed", admins, true, queueFailedPart},
	{http.MethodPost, queuePath + "/act", admins, true, actQueuePage},
	{http.MethodPost, queuePath + "/parked", admins, true, retryParkedPage},
	{http.MethodGet, paramsPath, admins, true, paramsPage},
	{http.MethodPost, paramsPath, admins, true, setParamsPage},
	{http.MethodGet, tokensPath, admins, true, tokensPage},
	{http.MethodPost, tokensPath, admins, true, createTokenPage},
	{http.MethodPost, tokensPath + "/{id}/revoke", admins, true, revokeTokenPage},
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

// routing gives the router of a table. A path has one entry with all its
// methods, so that a wrong method is told apart from a wrong path.
func routing(table []route) *mux.Router {
	router := mux.NewRouter()
	paths := make(map[string]methods)
	for _, r := range table {
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
