package httpapi

import (
	"time"

	"hadir/attendance"
)

// RouteInfo is a row of the route table, for the tests outside.
type RouteInfo struct {
	Method, Path string
	Access       []bool // who may: nobody, student, teacher, admin, device
	Page         bool
}

// RouteTable gives the routes.
func (a *API) RouteTable() []RouteInfo {
	var out []RouteInfo
	for _, r := range a.routes() {
		info := RouteInfo{Method: r.method, Path: r.path, Page: r.page}
		for _, kind := range []access{nobody, student, teacher, admin, device} {
			info.Access = append(info.Access, r.access&kind != 0)
		}
		out = append(out, info)
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
