package httpapi

import (
	"time"

	"hadir/attendance"
)

// RouteInfo is a row of the route table, for the tests outside.
type RouteInfo struct {
	Method, Path string
	Access       int // 0 anyone, 1 signed in, 2 staff, 3 admins
	Page         bool
}

// RouteTable gives the routes.
func (a *API) RouteTable() []RouteInfo {
	var out []RouteInfo
	for _, r := range a.routes() {
		out = append(out, RouteInfo{r.method, r.path, int(r.access), r.page})
	}
	return out
}

// FixedPoint, ParseKey and NewKey are what they are inside.
var (
	FixedPoint = fixedPoint
	ParseKey   = parseKey
	NewKey     = newKey
)

// SignToken signs a session.
func SignToken(secret []byte, user, epoch, global uint64, until time.Time) string {
	return session{user: user, epoch: epoch, global: global, until: attendance.MillisOf(until)}.sign(secret)
}
