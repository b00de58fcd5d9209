package attendance

// Status is what was decided. Append only.
type Status uint8

// The statuses.
const (
	AcceptedStatus  Status = 1 // a record was made
	DuplicateStatus Status = 2 // too near to a record, which won
	ReviewStatus    Status = 3 // a person has to decide
	RejectedStatus  Status = 4 // refused; Reason says why
	DoneStatus      Status = 5 // a command that is no check-in took effect
	SkippedStatus   Status = 6 // applied before: nobody waits for the answer
)

// String gives the word used in the API.
func (s Status) String() string { return word(statusWords, s) }

var statusWords = map[Status]string{
	AcceptedStatus: "accepted", DuplicateStatus: "duplicate", ReviewStatus: "review", RejectedStatus: "rejected",
	DoneStatus: "done", SkippedStatus: "skipped",
}

// Reason says why something was not simply accepted. Append only: the number is
// part of stored events.
type Reason uint8

// The reasons.
const (
	NoReason       Reason = 0
	TooOld         Reason = 1  // review: deferred past D, or near the floor
	ClockSuspect   Reason = 2  // review: claims to come from the future
	UnknownUser    Reason = 3  // rejected; review when the tap was recorded
	InactiveUser   Reason = 4  // rejected; review when the tap was recorded
	KeyReused      Reason = 5  // same key, other body
	EmailTaken     Reason = 6  // another user has the address
	LastAdmin      Reason = 7  // nobody would be left to administer
	UnknownGroup   Reason = 8  //
	NotATeacher    Reason = 9  // responsible teachers have the role teacher or admin
	GroupFull      Reason = 10 // MaxGroupMembers or MaxGroupTeachers
	UnknownToken   Reason = 11 //
	TokenTaken     Reason = 12 // another token has the hash
	ClockNotBehind Reason = 13 // SetClock only sets back
	LevelFalls     Reason = 14 // SetLevel only raises
	UnknownReview  Reason = 15 // no open review has that seq
	FloorFalls     Reason = 16 // Prune only raises
	TooRecent      Reason = 17 // Prune would reach what the rule still needs
	NotExported    Reason = 18 // Prune would reach what an export target still needs
	TooMany        Reason = 19 // a bound on the number of targets or secrets
	UnknownSeq     Reason = 20 // no such event, or no checkpoint there
	GroupNotEmpty  Reason = 21 // MaxDeletedMembers: take the people out first
)

// String gives the word used in the API.
func (r Reason) String() string { return word(reasonWords, r) }

var reasonWords = map[Reason]string{
	NoReason: "", TooOld: "too_old", ClockSuspect: "clock_suspect", UnknownUser: "unknown_user",
	InactiveUser: "inactive_user", KeyReused: "key_reused", EmailTaken: "email_taken", LastAdmin: "last_admin",
	UnknownGroup: "unknown_group", NotATeacher: "not_a_teacher", GroupFull: "group_full", UnknownToken: "unknown_token",
	TokenTaken: "token_taken", ClockNotBehind: "clock_not_behind", LevelFalls: "level_falls",
	UnknownReview: "unknown_review", FloorFalls: "floor_falls", TooRecent: "too_recent", NotExported: "not_exported",
	TooMany: "too_many", UnknownSeq: "unknown_seq", GroupNotEmpty: "group_not_empty",
}

// Bounds on replicated collections that a single command walks.
const (
	MaxGroupMembers  = 5_000
	MaxGroupTeachers = 200
	// MaxDeletedMembers is how many people a group may have when it is deleted: an
	// entry may delete many groups, and every node applies it at once.
	MaxDeletedMembers = 200
	MaxTargets        = 16
	MaxSecrets        = 8
)

// Outcome is the answer to one command. It is a pure function of the event that
// it names and of the record that event points to, so that a replay of a key
// gives the same answer on any node.
type Outcome struct {
	Status   Status
	Reason   Reason
	Seq      uint64  // of the event; 0 for a quiet operation
	ID       uint64  // of the user, group or token that was created or changed
	DecideAt Millis  // replicated clock at the decision
	At       Millis  // decision time of a check-in
	Record   *Record // accepted: the new record; duplicate: the winner
	Delta    Millis  // duplicate: At less the winner's time; negative when it was earlier
	Replayed bool    // answered from an earlier decision under the same key
}

// Encode gives the outcome in canonical form, for the way from the leader back
// to the node that received the request.
func (o Outcome) Encode() []byte { return encode(o.canon) }

func (o Outcome) canon(w *Writer) {
	w.Uint(1)
	w.Uint(uint64(o.Status))
	w.Uint(uint64(o.Reason))
	w.Uint(o.Seq)
	w.Uint(o.ID)
	w.Millis(o.DecideAt)
	w.Millis(o.At)
	w.Millis(o.Delta)
	w.Bool(o.Replayed)
	w.Bool(o.Record != nil)
	if o.Record != nil {
		o.Record.canon(w)
	}
}

// DecodeOutcome reads what Encode wrote.
func DecodeOutcome(b []byte) (Outcome, error) { return decode(b, readOutcome) }

func readOutcome(r *Reader) Outcome {
	r.Version(1)
	o := Outcome{
		Status: Status(r.Small()), Reason: Reason(r.Small()), Seq: r.Uint(), ID: r.Uint(), DecideAt: r.Millis(),
		At: r.Millis(), Delta: r.Millis(), Replayed: r.Bool(),
	}
	if r.Bool() {
		record := readRecord(r)
		o.Record = &record
	}
	return o
}

func (rec Record) canon(w *Writer) {
	w.Uint(rec.ID)
	w.Uint(rec.UserID)
	w.Uint(uint64(rec.Kind))
	w.Millis(rec.At)
	w.Millis(rec.FirstSeenAt)
	rec.Location.canon(w)
	w.String(rec.Node)
	w.Bool(rec.Offline)
	w.Millis(rec.ClaimedAt)
	w.Bool(rec.ClaimTrust)
	w.Millis(rec.CreatedAt)
	w.Millis(rec.UpdatedAt)
}

func readRecord(r *Reader) Record {
	return Record{
		ID: r.Uint(), UserID: r.Uint(), Kind: Kind(r.Small()), At: r.Millis(), FirstSeenAt: r.Millis(),
		Location: readLocation(r), Node: r.String(), Offline: r.Bool(), ClaimedAt: r.Millis(), ClaimTrust: r.Bool(),
		CreatedAt: r.Millis(), UpdatedAt: r.Millis(),
	}
}
