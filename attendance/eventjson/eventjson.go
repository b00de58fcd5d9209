package eventjson

import "hadir/attendance"

// Append appends the JSON object of an event.
func Append(dst []byte, e attendance.Event) []byte {
	w := writer{dst}
	w.open()
	w.uint("seq", e.Seq)
	if e.Key == "" {
		w.null("id")
	} else {
		w.string("id", e.Key)
	}
	w.string("type", e.Type.String())
	w.time("at", e.At)
	w.string("node_id", e.Node)
	w.uint("index", e.Index)
	w.string("principal", e.Principal.String())
	if id := UserID(e); id != 0 {
		w.uint("user_id", id)
	}
	if id := AttendanceID(e); id != 0 {
		w.uint("attendance_id", id)
	}
	w.name("data")
	w.detail(e)
	w.close()
	return w.b
}

// AppendData appends the object that Append gives as data, alone.
func AppendData(dst []byte, e attendance.Event) []byte {
	w := writer{dst}
	w.detail(e)
	return w.b
}

// UserID gives the person whom an event is about; 0 for none. Who asked is the
// event's principal, and who came to a group or left it is in its data.
func UserID(e attendance.Event) uint64 {
	switch d := e.Detail.(type) {
	case attendance.Tap:
		return d.UserID
	case attendance.UserChange:
		return d.User.ID
	case attendance.SessionsChange:
		return d.UserID
	case attendance.Refusal:
		switch d.Op {
		case attendance.OpPutUser, attendance.OpDeactivateUser, attendance.OpSetPassword, attendance.OpBumpSessionEpoch:
			return d.Subject
		}
	}
	return 0
}

// AttendanceID gives the record that an event made, or the one that won or whose
// claim was resolved; 0 for none.
func AttendanceID(e attendance.Event) uint64 {
	if e.Type.MakesRecord() {
		return e.Seq
	}
	if tap, ok := e.Detail.(attendance.Tap); ok {
		return tap.Winner
	}
	return 0
}

func (w *writer) detail(e attendance.Event) {
	w.open()
	switch d := e.Detail.(type) {
	case attendance.Tap:
		w.tap(d)
	case attendance.UserChange:
		w.user(d.User)
	case attendance.SessionsChange:
		if d.UserID == 0 {
			w.null("user_id") // everybody
		} else {
			w.uint("user_id", d.UserID)
		}
		w.uint("epoch", d.Epoch)
	case attendance.GroupChange:
		w.group(d)
	case attendance.ParamsChange:
		w.params(d.Params)
	case attendance.ClockChange:
		w.time("from", d.From)
		w.time("to", d.To)
	case attendance.SecretChange:
		w.string("name", d.Name)
		w.uint("id", d.ID)
		w.flag("dropped_previous", d.Dropped)
	case attendance.TokenChange:
		w.uint("id", d.ID)
		w.string("name", d.Name)
		w.ids("groups", d.Groups)
		w.flag("revoked", d.Revoked)
	case attendance.AuditNote:
		w.string("action", d.Action)
		w.string("subject", d.Subject)
		w.string("note", d.Note)
	case attendance.Refusal:
		w.string("command", d.Op.String())
		w.string("reason", d.Reason.String())
		if d.Subject != 0 {
			w.uint("subject", d.Subject)
		}
	}
	w.close()
}

func (w *writer) tap(t attendance.Tap) {
	w.uint("user_id", t.UserID)
	w.string("type", t.Kind.String())
	w.time("timestamp", t.At)
	w.string("day", t.Day.String())
	w.int("minute", int64(t.Minute))
	w.location(t.Location)
	w.time("received_at", t.Claim)
	w.time("proposed_at", t.ProposedAt)
	if t.ClientTime != 0 {
		w.time("client_time", t.ClientTime)
	}
	if t.Offline {
		w.flag("offline", true)
		w.time("claimed_at", t.ClientTime)
		w.bool("claim_trusted", t.ClaimTrust)
	}
	w.flag("recorded", t.Recorded)
	w.flag("wall_clock", t.WallClock)
	if t.Reason != attendance.NoReason {
		w.string("reason", t.Reason.String())
	}
	if t.Winner != 0 {
		w.uint("winner", t.Winner)
		w.int("delta_ms", int64(t.Delta))
		w.time("first_seen_at", t.FirstSeenAt)
		w.time("updated_at", t.UpdatedAt)
	}
	if t.ReviewOf != 0 {
		w.uint("review_of", t.ReviewOf)
		w.string("received_by", t.ReceivedBy)
		w.string("note", t.Note)
	}
}

// Units of attendance.Location, as powers of ten.
const (
	degreePlaces = 7
	metrePlaces  = 2
)

func (w *writer) location(l attendance.Location) {
	if l.Known {
		w.decimal("latitude", int64(l.LatE7), degreePlaces)
		w.decimal("longitude", int64(l.LonE7), degreePlaces)
		w.decimal("accuracy_m", int64(l.AccuracyCM), metrePlaces)
		return
	}
	for _, name := range []string{"latitude", "longitude", "accuracy_m"} {
		w.null(name)
	}
	if l.Error != attendance.NoLocationError {
		w.string("location_error", l.Error.String())
	}
}

func (w *writer) user(u attendance.User) {
	w.uint("id", u.ID)
	w.string("name", u.Name)
	w.string("email", u.Email)
	w.string("role", u.Role.String())
	w.bool("active", u.Active)
	w.time("created_at", u.CreatedAt)
	w.time("updated_at", u.UpdatedAt)
}

func (w *writer) group(d attendance.GroupChange) {
	w.uint("id", d.Group.ID)
	w.string("name", d.Group.Name)
	w.string("kind", d.Group.Kind.String())
	w.uint("members", d.Group.Members)
	w.uint("teachers", d.Group.Teachers)
	w.time("created_at", d.Group.CreatedAt)
	w.time("updated_at", d.Group.UpdatedAt)
	w.ids("added_members", d.AddedMembers)
	w.ids("removed_members", d.RemovedMembers)
	w.ids("added_teachers", d.AddedTeachers)
	w.ids("removed_teachers", d.RemovedTeachers)
}

func (w *writer) params(p attendance.Params) {
	w.int("window_ms", int64(p.Window))
	w.int("skew_ms", int64(p.Skew))
	w.int("deferral_ms", int64(p.Deferral))
	w.int("key_retention_ms", int64(p.KeyRetention))
	w.uint("export_margin", p.ExportMargin)
	w.string("time_zone", p.Zone.Name)
	w.name("offsets")
	w.raw("[")
	for i, c := range p.Zone.Changes {
		if i > 0 {
			w.raw(",")
		}
		w.open()
		w.time("from", c.From)
		w.int("offset_s", int64(c.OffsetS))
		w.close()
	}
	w.raw("]")
}
