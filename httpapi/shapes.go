package httpapi

import (
	"encoding/json"

	"hadir/attendance"
	"hadir/attendance/eventjson"
	"hadir/cluster"
)

// The shapes of CONTRACT.md. Fields are in its order.

type userJSON struct {
	ID        uint64 `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	Role      string `json:"role"`
	Active    bool   `json:"active"`
	CreatedAt stamp  `json:"created_at"`
	UpdatedAt stamp  `json:"updated_at"`
}

func jsonUser(u attendance.User) userJSON {
	return userJSON{
		ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role.String(), Active: u.Active,
		CreatedAt: stamp(u.CreatedAt), UpdatedAt: stamp(u.UpdatedAt),
	}
}

type locationJSON struct {
	Latitude  *decimal `json:"latitude"`
	Longitude *decimal `json:"longitude"`
	Accuracy  *decimal `json:"accuracy_m"`
	Error     string   `json:"location_error,omitempty"`
}

func jsonLocation(l attendance.Location) locationJSON {
	if !l.Known {
		return locationJSON{Error: l.Error.String()}
	}
	return locationJSON{
		Latitude: &decimal{int64(l.LatE7), degreePlaces}, Longitude: &decimal{int64(l.LonE7), degreePlaces},
		Accuracy: &decimal{int64(l.AccuracyCM), accuracyPlaces},
	}
}

type attendanceJSON struct {
	ID          uint64 `json:"id"`
	UserID      uint64 `json:"user_id"`
	Type        string `json:"type"`
	Timestamp   stamp  `json:"timestamp"`
	FirstSeenAt stamp  `json:"first_seen_at"`
	locationJSON
	Offline      bool   `json:"offline,omitempty"`
	ClaimedAt    *stamp `json:"claimed_at,omitempty"`
	ClaimTrusted *bool  `json:"claim_trusted,omitempty"`
	NodeID       string `json:"node_id"`
	Seq          uint64 `json:"seq"`
	CreatedAt    stamp  `json:"created_at"`
	UpdatedAt    stamp  `json:"updated_at"`
}

func jsonAttendance(r attendance.Record) attendanceJSON {
	out := attendanceJSON{
		ID: r.ID, UserID: r.UserID, Type: r.Kind.String(), Timestamp: stamp(r.At), FirstSeenAt: stamp(r.FirstSeenAt),
		locationJSON: jsonLocation(r.Location), Offline: r.Offline, NodeID: r.Node, Seq: r.ID,
		CreatedAt: stamp(r.CreatedAt), UpdatedAt: stamp(r.UpdatedAt),
	}
	if r.Offline {
		claimed := stamp(r.ClaimedAt)
		out.ClaimedAt, out.ClaimTrusted = &claimed, &r.ClaimTrust
	}
	return out
}

type latencyJSON struct {
	Total   decimal `json:"total"`
	Forward decimal `json:"forward"`
	Commit  decimal `json:"commit"`
}

type syncJSON struct {
	HandledBy string      `json:"handled_by"`
	Leader    string      `json:"leader"`
	Term      uint64      `json:"term"`
	Index     uint64      `json:"index"`
	Seq       uint64      `json:"seq"`
	Forwarded bool        `json:"forwarded"`
	Latency   latencyJSON `json:"latency_ms"`
}

type decisionJSON struct {
	Status     string          `json:"status"`
	Code       string          `json:"code,omitempty"` // of a rejection, the word that a problem would have
	Reason     string          `json:"reason,omitempty"`
	Detail     string          `json:"detail,omitempty"`
	Key        string          `json:"key"`
	Seq        uint64          `json:"seq"`
	Attendance *attendanceJSON `json:"attendance,omitempty"`
	DeltaMS    *int64          `json:"delta_ms,omitempty"`
	Sync       *syncJSON       `json:"sync,omitempty"`
}

func jsonDecision(key string, o attendance.Outcome) decisionJSON {
	d := decisionJSON{Status: o.Status.String(), Reason: o.Reason.String(), Key: key, Seq: o.Seq}
	if o.Record != nil {
		record := jsonAttendance(*o.Record)
		d.Attendance = &record
	}
	switch o.Status {
	case attendance.DuplicateStatus:
		delta := int64(o.Delta)
		d.DeltaMS = &delta
	case attendance.RejectedStatus:
		d.Code = d.Reason
		if o.Reason == attendance.KeyReused {
			d.Detail = "The key stands for another request. Use a new key for a new check-in."
		}
	}
	return d
}

type freshJSON struct {
	Index uint64 `json:"index"`
	AsOf  stamp  `json:"as_of"`
	Stale bool   `json:"stale"`
}

func jsonFresh(f cluster.Freshness) freshJSON {
	return freshJSON{Index: f.Index, AsOf: stampOf(f.AsOf), Stale: f.Stale}
}

// listJSON is a page of a list.
type listJSON[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
	freshJSON
}

func jsonList[T any](items []T, next string, fresh cluster.Freshness) listJSON[T] {
	l := listJSON[T]{Items: items, freshJSON: jsonFresh(fresh)}
	if items == nil {
		l.Items = []T{}
	}
	if next != "" {
		l.NextCursor = &next
	}
	return l
}

// jsonEvent gives an event in its one form.
func jsonEvent(e attendance.Event) json.RawMessage { return eventjson.Append(nil, e) }
