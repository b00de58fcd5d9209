// Package eventjson gives the one JSON form of events: what /logs, the trail of
// an attendance, the stream and the SQL export show is made here, so that an
// event reads the same wherever it is met.
//
//	{"seq":42,"id":"0193…","type":"attendance.accepted","at":"2026-11-23T06:58:14.011Z","node_id":"n2",
//	 "index":99,"principal":"user:7","user_id":7,"attendance_id":42,"data":{…}}
//
// The form is a pure function of the event: the bytes are the same on every node
// and at every time, the order of the fields included. It begins with {"seq": and
// holds no line break, so a caller may put fields before it or make lines of it.
//
//   - id is the idempotency key, null where the command had none.
//   - at is when it was decided; times are RFC 3339 in UTC with milliseconds.
//   - principal is who asked: user:7, device:2, or system:0 for a node itself.
//   - user_id is the person whom the event is about, attendance_id the record that
//     it made or that won; each is left out where there is none.
//   - data is the detail and can be read by itself. Of it, flags that are false and
//     reasons and references that are absent are left out.
//   - Numbers with a fraction (degrees, metres) are decimals that were never floats.
//
// Nothing secret is in an event, so nothing secret is in its JSON: no password, no
// token, no hash of one, no key.
//
// The form may grow by fields. A field that changes its name, its place or the way
// its value is written is another form: exported rows and clients that compare
// bytes would see two.
package eventjson
