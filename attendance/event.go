package attendance

// Event is the record of one decision. Events are numbered 1, 2, 3, … by Seq
// and have the same bytes on every node; they are the audit trail, the resume
// token of streams and the cursor of exports at once.
type Event struct {
	Seq       uint64
	Index     uint64 // of the raft log entry that decided it
	At        Millis // replicated clock at the decision
	SetBack   Millis // by how much the clock had been set back in all until then
	Type      EventType
	Principal Principal // who asked
	Key       string    // idempotency key; "" for none
	Node      string    // the node that received the request
	Detail    Detail    // of the kind that belongs to Type
}

// EventType is the type of an event: append only, part of stored bytes.
type EventType uint8

// The event types and, in brackets, their detail.
const (
	TapAccepted     EventType = 1  // [Tap] a record
	TapDuplicate    EventType = 2  // [Tap]
	TapReview       EventType = 3  // [Tap] waits for a person
	TapRejected     EventType = 4  // [Tap]
	ReviewAccepted  EventType = 5  // [Tap] a record, made by a person from a review
	ReviewDuplicate EventType = 6  // [Tap] a person accepted, but a record was too near
	ReviewRejected  EventType = 7  // [Tap]
	ClaimAccepted   EventType = 8  // [Tap] a person accepted the claimed time of an offline tap
	ClaimRejected   EventType = 9  // [Tap]
	UserCreated     EventType = 10 // [UserChange]
	UserUpdated     EventType = 11 // [UserChange]
	UserDeactivated EventType = 12 // [UserChange]
	PasswordSet     EventType = 13 // [SessionsChange]
	SessionsEnded   EventType = 14 // [SessionsChange]
	GroupCreated    EventType = 15 // [GroupChange]
	GroupUpdated    EventType = 16 // [GroupChange]
	GroupDeleted    EventType = 17 // [GroupChange]
	ParamsSet       EventType = 18 // [ParamsChange]
	ClockSet        EventType = 19 // [ClockChange]
	SecretRotated   EventType = 20 // [SecretChange]
	TokenCreated    EventType = 21 // [TokenChange]
	TokenUpdated    EventType = 22 // [TokenChange]
	TokenRevoked    EventType = 23 // [TokenChange]
	ActAudited      EventType = 24 // [AuditNote]
	ActRefused      EventType = 25 // [Refusal] of a command that is no check-in
)

// String gives the word used in the API and the stream.
func (t EventType) String() string { return word(eventWords, t) }

// ParseEventType is the inverse of String.
func ParseEventType(s string) (EventType, bool) { return parse(eventWords, s) }

// MakesRecord reports whether the event is an attendance record.
func (t EventType) MakesRecord() bool { return t == TapAccepted || t == ReviewAccepted }

var eventWords = map[EventType]string{
	TapAccepted: "attendance.accepted", TapDuplicate: "attendance.duplicate", TapReview: "attendance.review",
	TapRejected: "attendance.rejected", ReviewAccepted: "review.accepted", ReviewDuplicate: "review.duplicate",
	ReviewRejected: "review.rejected", ClaimAccepted: "claim.accepted", ClaimRejected: "claim.rejected",
	UserCreated: "user.created", UserUpdated: "user.updated", UserDeactivated: "user.deactivated",
	PasswordSet: "user.password_set", SessionsEnded: "user.sessions_ended", GroupCreated: "group.created",
	GroupUpdated: "group.updated", GroupDeleted: "group.deleted", ParamsSet: "params.set", ClockSet: "clock.set",
	SecretRotated: "secret.rotated", TokenCreated: "token.created", TokenUpdated: "token.updated",
	TokenRevoked: "token.revoked", ActAudited: "audit.noted", ActRefused: "command.refused",
}

// Detail is what an event says beside its header. The set is closed.
type Detail interface{ canon(w *Writer) }

// Tap is the detail of everything decided about a check-in.
type Tap struct {
	UserID     uint64
	Kind       Kind
	At         Millis // decision time
	Day        Day    // local day of At, under the time zone of then
	Minute     uint16 // local minute of that day
	Claim      Millis // receipt, as the receiving node could tell
	ProposedAt Millis // the leader's wall clock
	Location   Location
	ClientTime Millis // what the phone said; 0 for nothing
	Offline    bool
	ClaimTrust bool
	Recorded   bool // had waited in an outbox
	WallClock  bool // Claim comes from a wall clock
	Reason     Reason

	Winner      uint64 // the record that won, or whose claim was resolved; 0 for none
	Delta       Millis // At less the winner's time
	FirstSeenAt Millis // of the winner, after this event
	UpdatedAt   Millis // of the winner, after this event

	ReviewOf   uint64 // the event that a person resolved; 0 for none
	ReceivedBy string // with ReviewOf: the node that had received the tap
	Note       string // with ReviewOf: what the person said
}

// UserChange is a user after the change.
type UserChange struct{ User User }

// SessionsChange says that sessions under a smaller epoch are void.
type SessionsChange struct {
	UserID uint64 // 0 for everybody
	Epoch  uint64
}

// GroupChange is a group after the change, and who came and went.
type GroupChange struct {
	Group           Group
	AddedMembers    []uint64
	RemovedMembers  []uint64
	AddedTeachers   []uint64
	RemovedTeachers []uint64
}

// ParamsChange is the parameters after the change.
type ParamsChange struct{ Params Params }

// ClockChange says from where to where the clock was set back.
type ClockChange struct{ From, To Millis }

// SecretChange says that a secret was rotated; never its value.
type SecretChange struct {
	Name    string
	ID      uint64
	Dropped bool // the one before is void too
}

// TokenChange is a device token after the change, without its hash.
type TokenChange struct {
	ID      uint64
	Name    string
	Groups  []uint64
	Revoked bool
}

// AuditNote is an act that only was to be recorded.
type AuditNote struct{ Action, Subject, Note string }

// Refusal says which command was refused, about whom, and why.
type Refusal struct {
	Op      Op
	Reason  Reason
	Subject uint64 // id of the user, group, token or event in question; 0 for none
}

// ReceivedBy gives the node that received the tap that the event is about: not
// the one at which a person resolved it.
func (e Event) ReceivedBy() string {
	if tap, ok := e.Detail.(Tap); ok && tap.ReviewOf != 0 {
		return tap.ReceivedBy
	}
	return e.Node
}

// Record gives the attendance record that the event made. ok is false for an
// event that made none.
func (e Event) Record() (r Record, ok bool) {
	tap, isTap := e.Detail.(Tap)
	if !isTap || !e.Type.MakesRecord() {
		return Record{}, false
	}
	r = Record{
		ID: e.Seq, UserID: tap.UserID, Kind: tap.Kind, At: tap.At, FirstSeenAt: tap.At, Location: tap.Location,
		Node: e.ReceivedBy(), Offline: tap.Offline, ClaimTrust: tap.ClaimTrust, CreatedAt: e.At, UpdatedAt: e.At,
	}
	if tap.Offline {
		r.ClaimedAt = tap.ClientTime
	}
	return r, true
}

// Outcome gives the answer that the event stands for. winner is the record of
// the event that tap.Winner names; it is not needed where there is none.
func (e Event) Outcome(winner Record) Outcome {
	o := Outcome{Status: DoneStatus, Seq: e.Seq, DecideAt: e.At}
	switch d := e.Detail.(type) {
	case Tap:
		o.Status, o.Reason, o.At = tapStatus[e.Type], d.Reason, d.At
		if record, ok := e.Record(); ok {
			o.Record = &record
		} else if d.Winner != 0 {
			winner.ID, winner.FirstSeenAt, winner.UpdatedAt = d.Winner, d.FirstSeenAt, d.UpdatedAt
			winner.At = d.At - d.Delta
			o.Record, o.Delta = &winner, d.Delta
		}
	case UserChange:
		o.ID = d.User.ID
	case SessionsChange:
		o.ID = d.UserID
	case GroupChange:
		o.ID = d.Group.ID
	case TokenChange:
		o.ID = d.ID
	case SecretChange:
		o.ID = d.ID
	case Refusal:
		o.Status, o.Reason, o.ID = RejectedStatus, d.Reason, d.Subject
	}
	return o
}

var tapStatus = map[EventType]Status{
	TapAccepted: AcceptedStatus, TapDuplicate: DuplicateStatus, TapReview: ReviewStatus, TapRejected: RejectedStatus,
	ReviewAccepted: AcceptedStatus, ReviewDuplicate: DuplicateStatus, ReviewRejected: DoneStatus,
	ClaimAccepted: DoneStatus, ClaimRejected: DoneStatus,
}

// Encode gives the stored form of the event, which is also what the chain hash
// covers.
func (e Event) Encode() []byte { return encode(e.canon) }

func (e Event) canon(w *Writer) {
	w.Uint(1)
	w.Uint(e.Seq)
	w.Uint(e.Index)
	w.Millis(e.At)
	w.Millis(e.SetBack)
	w.Uint(uint64(e.Type))
	w.Uint(uint64(e.Principal.Kind))
	w.Uint(e.Principal.ID)
	w.String(e.Key)
	w.String(e.Node)
	e.Detail.canon(w)
}

// DecodeEvent reads what Encode wrote.
func DecodeEvent(b []byte) (Event, error) { return decode(b, readEvent) }

func readEvent(r *Reader) Event {
	r.Version(1)
	e := Event{
		Seq: r.Uint(), Index: r.Uint(), At: r.Millis(), SetBack: r.Millis(), Type: EventType(r.Small()),
		Principal: Principal{Kind: PrincipalKind(r.Small()), ID: r.Uint()}, Key: r.String(), Node: r.String(),
	}
	switch e.Type {
	case TapAccepted, TapDuplicate, TapReview, TapRejected, ReviewAccepted, ReviewDuplicate, ReviewRejected, ClaimAccepted, ClaimRejected:
		e.Detail = readTap(r)
	case UserCreated, UserUpdated, UserDeactivated:
		e.Detail = UserChange{User: readUser(r)}
	case PasswordSet, SessionsEnded:
		e.Detail = SessionsChange{UserID: r.Uint(), Epoch: r.Uint()}
	case GroupCreated, GroupUpdated, GroupDeleted:
		e.Detail = GroupChange{
			Group: readGroup(r), AddedMembers: r.IDs(), RemovedMembers: r.IDs(), AddedTeachers: r.IDs(), RemovedTeachers: r.IDs(),
		}
	case ParamsSet:
		e.Detail = ParamsChange{Params: readParams(r)}
	case ClockSet:
		e.Detail = ClockChange{From: r.Millis(), To: r.Millis()}
	case SecretRotated:
		e.Detail = SecretChange{Name: r.String(), ID: r.Uint(), Dropped: r.Bool()}
	case TokenCreated, TokenUpdated, TokenRevoked:
		e.Detail = TokenChange{ID: r.Uint(), Name: r.String(), Groups: r.IDs(), Revoked: r.Bool()}
	case ActAudited:
		e.Detail = AuditNote{Action: r.String(), Subject: r.String(), Note: r.String()}
	case ActRefused:
		e.Detail = Refusal{Op: Op(r.Small()), Reason: Reason(r.Small()), Subject: r.Uint()}
	default:
		r.fail("event type is not known")
	}
	return e
}

// The flags of a tap share one integer.
const (
	flagOffline = 1 << iota
	flagTrust
	flagRecorded
	flagWallClock
	flagsEnd
)

func (t Tap) canon(w *Writer) {
	w.Uint(t.UserID)
	w.Uint(uint64(t.Kind))
	w.Millis(t.At)
	w.Int(int64(t.Day))
	w.Uint(uint64(t.Minute))
	w.Millis(t.Claim - t.At)
	w.Millis(t.ProposedAt - t.At)
	t.Location.canon(w)
	w.Millis(t.ClientTime)
	w.Uint(flag(t.Offline, flagOffline) | flag(t.ClaimTrust, flagTrust) | flag(t.Recorded, flagRecorded) |
		flag(t.WallClock, flagWallClock))
	w.Uint(uint64(t.Reason))
	w.Uint(t.Winner)
	if t.Winner != 0 {
		w.Millis(t.Delta)
		w.Millis(t.FirstSeenAt)
		w.Millis(t.UpdatedAt)
	}
	w.Uint(t.ReviewOf)
	if t.ReviewOf != 0 {
		w.String(t.ReceivedBy)
		w.String(t.Note)
	}
}

func flag(set bool, bit uint64) uint64 {
	if set {
		return bit
	}
	return 0
}

func readTap(r *Reader) Tap {
	t := Tap{UserID: r.Uint(), Kind: Kind(r.Small()), At: r.Millis(), Day: Day(r.Int32())}
	minute := r.Uint()
	if minute >= 24*60 {
		r.fail("minute is out of range")
	}
	t.Minute = uint16(minute)
	t.Claim = t.At + r.Millis()
	t.ProposedAt = t.At + r.Millis()
	t.Location = readLocation(r)
	t.ClientTime = r.Millis()
	flags := r.Uint()
	if flags >= flagsEnd {
		r.fail("flags are not known")
	}
	t.Offline, t.ClaimTrust = flags&flagOffline != 0, flags&flagTrust != 0
	t.Recorded, t.WallClock = flags&flagRecorded != 0, flags&flagWallClock != 0
	t.Reason = Reason(r.Small())
	if t.Winner = r.Uint(); t.Winner != 0 {
		t.Delta, t.FirstSeenAt, t.UpdatedAt = r.Millis(), r.Millis(), r.Millis()
	}
	if t.ReviewOf = r.Uint(); t.ReviewOf != 0 {
		t.ReceivedBy, t.Note = r.String(), r.String()
	}
	return t
}

func (d UserChange) canon(w *Writer) { d.User.canon(w) }

func (d SessionsChange) canon(w *Writer) {
	w.Uint(d.UserID)
	w.Uint(d.Epoch)
}

func (d GroupChange) canon(w *Writer) {
	d.Group.canon(w)
	w.IDs(d.AddedMembers)
	w.IDs(d.RemovedMembers)
	w.IDs(d.AddedTeachers)
	w.IDs(d.RemovedTeachers)
}

func (d ParamsChange) canon(w *Writer) { d.Params.canon(w) }

func (d ClockChange) canon(w *Writer) {
	w.Millis(d.From)
	w.Millis(d.To)
}

func (d SecretChange) canon(w *Writer) {
	w.String(d.Name)
	w.Uint(d.ID)
	w.Bool(d.Dropped)
}

func (d TokenChange) canon(w *Writer) {
	w.Uint(d.ID)
	w.String(d.Name)
	w.IDs(d.Groups)
	w.Bool(d.Revoked)
}

func (d AuditNote) canon(w *Writer) {
	w.String(d.Action)
	w.String(d.Subject)
	w.String(d.Note)
}

func (d Refusal) canon(w *Writer) {
	w.Uint(uint64(d.Op))
	w.Uint(uint64(d.Reason))
	w.Uint(d.Subject)
}
