package attendance

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Level is the command level that this binary understands and, once the cluster
// has agreed on it by SetLevel, proposes.
const Level uint32 = 1

// Limits of what may be proposed. An entry stays far below the size at which
// raft's appends endanger heartbeats; one that breaks a limit cannot be decoded.
const (
	MaxCommands     = 256
	MaxEntryBytes   = 128 << 10
	MaxCommandBytes = 4 << 10

	MaxKey         = 64
	MaxNodeID      = 64
	MaxName        = 200
	MaxEmail       = 254
	MaxHash        = 256 // an encoded password hash
	MaxTarget      = 64
	MaxNote        = 1000
	MaxAction      = 64
	MaxSecretValue = 64
	ClusterIDBytes = 16

	MaxAccuracyCM = 10_000_000 // 100 km
)

// ClusterID names a cluster: the hash of the server ids that founded it. The
// zero value means "not known yet".
type ClusterID [ClusterIDBytes]byte

// String gives the id in hexadecimal.
func (id ClusterID) String() string { return fmt.Sprintf("%x", id[:]) }

// IsZero reports whether the id is not known yet.
func (id ClusterID) IsZero() bool { return id == ClusterID{} }

// Entry is the content of one raft log entry.
type Entry struct {
	Level      uint32 // lowest level that understands every command inside
	Cluster    ClusterID
	ProposedAt Millis // the leader's wall clock
	Commands   []Command
}

// Command is one request for a decision.
type Command struct {
	Principal Principal
	Key       string // idempotency key, 1 … 64 printable ASCII characters; "" for none
	Node      string // the node that received the request
	Body      Body
}

// Body is what a command asks for. The set of implementations is closed.
type Body interface {
	// Op gives the operation code.
	Op() Op
	// check says what is wrong with the body taken by itself.
	check() error
	// canon writes the fields that the idempotency key protects.
	canon(w *Writer)
	// wire gives the protobuf message.
	wire() message
}

// Op is the code of an operation: append only, never reused.
type Op uint8

// The operations.
const (
	OpCheckIn          Op = 1
	OpPutUser          Op = 2
	OpDeactivateUser   Op = 3
	OpSetPassword      Op = 4
	OpPutGroup         Op = 5
	OpDeleteGroup      Op = 6
	OpSetParams        Op = 7
	OpSetClock         Op = 8
	OpSetLevel         Op = 9
	OpRotateSecret     Op = 10
	OpBumpSessionEpoch Op = 11
	OpExportMark       Op = 12
	OpResolve          Op = 13
	OpPrune            Op = 14
	OpVerify           Op = 15
	OpPutToken         Op = 16
	OpRevokeToken      Op = 17
	OpAudit            Op = 18
)

// Quiet reports whether the operation leaves no event: it is housekeeping of
// the cluster itself, proposed by no person.
func (op Op) Quiet() bool {
	switch op {
	case OpSetLevel, OpExportMark, OpPrune, OpVerify:
		return true
	}
	return false
}

// String gives the name of the operation, as in logs and audit events.
func (op Op) String() string { return word(opWords, op) }

var opWords = map[Op]string{
	OpCheckIn: "check_in", OpPutUser: "put_user", OpDeactivateUser: "deactivate_user", OpSetPassword: "set_password",
	OpPutGroup: "put_group", OpDeleteGroup: "delete_group", OpSetParams: "set_params", OpSetClock: "set_clock",
	OpSetLevel: "set_level", OpRotateSecret: "rotate_secret", OpBumpSessionEpoch: "bump_session_epoch",
	OpExportMark: "export_mark", OpResolve: "resolve", OpPrune: "prune", OpVerify: "verify", OpPutToken: "put_token",
	OpRevokeToken: "revoke_token", OpAudit: "audit",
}

// CheckIn is a tap.
type CheckIn struct {
	UserID       uint64
	Kind         Kind
	Location     Location
	ClientTime   Millis // evidence only; 0 when the client sent none
	Offline      bool   // the phone kept the tap for later; ClientTime is its claim
	ClaimTrusted bool   // the door could vouch for ClientTime

	// How long ago it was received. Not protected by the key: a retry is older.
	Age        Millis // monotonic time from receipt to proposal
	WallClock  bool   // the age was lost by a reboot of the node, ReceivedAt holds instead
	ReceivedAt Millis // wall clock of the receiving node
	Recorded   bool   // waited in an outbox: the person was told "recorded"
}

// PutUser creates (UserID 0) or changes a user.
type PutUser struct {
	UserID       uint64
	Name         string
	Email        string
	Role         Role
	Active       bool
	PasswordHash string // "" leaves it as it is
}

// DeactivateUser ends a user's rights and sessions; history stays.
type DeactivateUser struct{ UserID uint64 }

// SetPassword replaces the password and ends the user's sessions.
type SetPassword struct {
	UserID       uint64
	PasswordHash string
}

// PutGroup creates (GroupID 0) or changes a group. Members and teachers are
// changed, not listed, so that a group may be larger than a command.
type PutGroup struct {
	GroupID        uint64
	Name           string
	Kind           GroupKind
	AddMembers     []uint64
	RemoveMembers  []uint64
	AddTeachers    []uint64
	RemoveTeachers []uint64
}

// DeleteGroup removes a group; its people stay.
type DeleteGroup struct{ GroupID uint64 }

// SetParams replaces all parameters.
type SetParams struct{ Params Params }

// SetClock sets the replicated clock back after a wrong clock drove it ahead.
type SetClock struct{ Clock Millis }

// SetLevel raises the command level that may be proposed.
type SetLevel struct{ Level uint32 }

// RotateSecret sets a shared secret; the one before stays valid unless dropped.
type RotateSecret struct {
	Name         string
	Value        []byte
	DropPrevious bool
}

// BumpSessionEpoch ends the sessions of a user, or of everybody (UserID 0).
type BumpSessionEpoch struct{ UserID uint64 }

// ExportMark says how far an export target has come.
type ExportMark struct {
	Target  string
	Seq     uint64
	Retired bool // the target is gone and holds nothing back any more
}

// Resolve decides a review.
type Resolve struct {
	Seq    uint64
	Accept bool
	Note   string
}

// Prune raises the floor and, up to ThroughSeq, lets events go.
type Prune struct {
	Floor      Millis
	ThroughSeq uint64 // 0 keeps all events
}

// Verify states the chain hash after an event; a node that has another one
// there has diverged and stops.
type Verify struct {
	Seq  uint64
	Hash Hash
}

// PutToken creates (TokenID 0) or changes a device token.
type PutToken struct {
	TokenID uint64
	Name    string
	Hash    []byte // SHA-256 of the token; empty leaves it as it is
	Groups  []uint64
}

// RevokeToken ends a device token.
type RevokeToken struct{ TokenID uint64 }

// Audit records an admin or security act that changes no state.
type Audit struct {
	Action  string // lower-case words with dots, such as "backup.taken"
	Subject string
	Note    string
}

// Op implements Body.
func (CheckIn) Op() Op          { return OpCheckIn }
func (PutUser) Op() Op          { return OpPutUser }
func (DeactivateUser) Op() Op   { return OpDeactivateUser }
func (SetPassword) Op() Op      { return OpSetPassword }
func (PutGroup) Op() Op         { return OpPutGroup }
func (DeleteGroup) Op() Op      { return OpDeleteGroup }
func (SetParams) Op() Op        { return OpSetParams }
func (SetClock) Op() Op         { return OpSetClock }
func (SetLevel) Op() Op         { return OpSetLevel }
func (RotateSecret) Op() Op     { return OpRotateSecret }
func (BumpSessionEpoch) Op() Op { return OpBumpSessionEpoch }
func (ExportMark) Op() Op       { return OpExportMark }
func (Resolve) Op() Op          { return OpResolve }
func (Prune) Op() Op            { return OpPrune }
func (Verify) Op() Op           { return OpVerify }
func (PutToken) Op() Op         { return OpPutToken }
func (RevokeToken) Op() Op      { return OpRevokeToken }
func (Audit) Op() Op            { return OpAudit }

// Check says, in one line, what is wrong with the command taken by itself. The
// door calls it before it proposes; decoding calls it again, so that the two
// can never disagree about what may stand in the log.
func (c Command) Check() error {
	switch {
	case c.Body == nil:
		return errors.New("command has no body")
	case !c.Principal.valid():
		return errors.New("principal is not valid")
	case len(c.Key) > MaxKey || !printable(c.Key):
		return fmt.Errorf("idempotency key needs at most %d printable ASCII characters", MaxKey)
	case c.Node == "" || len(c.Node) > MaxNodeID || !printable(c.Node):
		return fmt.Errorf("node id needs 1 … %d printable ASCII characters", MaxNodeID)
	}
	if err := c.Body.check(); err != nil {
		return fmt.Errorf("%s: %w", c.Body.Op(), err)
	}
	return nil
}

func (b CheckIn) check() error {
	switch {
	case b.UserID == 0:
		return errNoUser
	case b.Kind != In && b.Kind != Out:
		return errors.New("type is neither in nor out")
	case !inRange(b.ClientTime) || !inRange(b.Age) || !inRange(b.ReceivedAt):
		return errors.New("a time is out of range")
	case b.WallClock && b.Age != 0, !b.WallClock && b.ReceivedAt != 0:
		return errors.New("either the age counts or the wall clock, not both")
	case b.ClaimTrusted && !b.Offline, b.Offline && b.ClientTime == 0:
		return errors.New("an offline tap needs a client time, and only its claim can be trusted")
	}
	return b.Location.check()
}

func (l Location) check() error {
	if !l.Known {
		if l.LatE7 != 0 || l.LonE7 != 0 || l.AccuracyCM != 0 {
			return errors.New("an unknown location has no coordinates")
		}
		if l.Error > LocationTimeout {
			return errors.New("location error is not known")
		}
		return nil
	}
	switch {
	case l.Error != NoLocationError:
		return errors.New("a known location has no error")
	case l.LatE7 < -900_000_000 || l.LatE7 > 900_000_000:
		return errors.New("latitude is out of range")
	case l.LonE7 < -1_800_000_000 || l.LonE7 > 1_800_000_000:
		return errors.New("longitude is out of range")
	case l.AccuracyCM > MaxAccuracyCM:
		return errors.New("accuracy is out of range")
	}
	return nil
}

func (b PutUser) check() error {
	switch {
	case b.Role < Student || b.Role > Admin:
		return errors.New("role is not known")
	case !validEmail(b.Email):
		return fmt.Errorf("email needs the form name@domain in at most %d printable ASCII characters", MaxEmail)
	case len(b.PasswordHash) > MaxHash || !printable(b.PasswordHash):
		return errors.New("password hash is malformed")
	}
	return checkName(b.Name)
}

func (b DeactivateUser) check() error { return needUser(b.UserID) }

func (b SetPassword) check() error {
	if b.PasswordHash == "" || len(b.PasswordHash) > MaxHash || !printable(b.PasswordHash) {
		return errors.New("password hash is malformed")
	}
	return needUser(b.UserID)
}

func (b PutGroup) check() error {
	if b.Kind != Class && b.Kind != Department {
		return errors.New("group kind is neither class nor department")
	}
	for _, ids := range [][]uint64{b.AddMembers, b.RemoveMembers, b.AddTeachers, b.RemoveTeachers} {
		if err := checkIDs(ids); err != nil {
			return err
		}
	}
	return checkName(b.Name)
}

func (b DeleteGroup) check() error {
	if b.GroupID == 0 {
		return errors.New("group id is missing")
	}
	return nil
}

func (b SetParams) check() error { return b.Params.Validate() }

func (b SetClock) check() error {
	if b.Clock <= 0 || b.Clock > MaxMillis {
		return errors.New("clock is out of range")
	}
	return nil
}

func (b SetLevel) check() error {
	if b.Level == 0 {
		return errors.New("level is missing")
	}
	return nil
}

func (b RotateSecret) check() error {
	switch {
	case !validAction(b.Name):
		return errors.New("secret name is malformed")
	case len(b.Value) < 16 || len(b.Value) > MaxSecretValue:
		return fmt.Errorf("secret needs 16 … %d bytes", MaxSecretValue)
	}
	return nil
}

func (BumpSessionEpoch) check() error { return nil }

func (b ExportMark) check() error {
	if b.Target == "" || len(b.Target) > MaxTarget || !printable(b.Target) {
		return fmt.Errorf("export target needs 1 … %d printable ASCII characters", MaxTarget)
	}
	return nil
}

func (b Resolve) check() error {
	if b.Seq == 0 {
		return errors.New("seq of the review is missing")
	}
	return checkText("note", b.Note, MaxNote)
}

func (b Prune) check() error {
	if b.Floor <= 0 || b.Floor > MaxMillis {
		return errors.New("floor is out of range")
	}
	return nil
}

func (b Verify) check() error {
	if b.Seq == 0 {
		return errors.New("seq is missing")
	}
	return nil
}

func (b PutToken) check() error {
	if len(b.Hash) != 32 && (len(b.Hash) != 0 || b.TokenID == 0) {
		return errors.New("token hash needs 32 bytes")
	}
	if err := checkIDs(b.Groups); err != nil {
		return err
	}
	return checkName(b.Name)
}

func (b RevokeToken) check() error {
	if b.TokenID == 0 {
		return errors.New("token id is missing")
	}
	return nil
}

func (b Audit) check() error {
	if !validAction(b.Action) {
		return errors.New("action needs lower-case words with dots")
	}
	if err := checkText("subject", b.Subject, MaxName); err != nil {
		return err
	}
	return checkText("note", b.Note, MaxNote)
}

var errNoUser = errors.New("user id is missing")

func needUser(id uint64) error {
	if id == 0 {
		return errNoUser
	}
	return nil
}

// checkIDs wants ids ascending and different: one form for one set.
func checkIDs(ids []uint64) error {
	for i, id := range ids {
		if id == 0 || (i > 0 && id <= ids[i-1]) {
			return errors.New("ids need to be ascending, different and not 0")
		}
	}
	return nil
}

func checkName(s string) error {
	if s == "" {
		return errors.New("name is missing")
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		return errors.New("name begins or ends with a space")
	}
	return checkText("name", s, MaxName)
}

func checkText(what, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s is over %d bytes", what, most)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	for _, r := range s {
		// Only the fixed Cc set: wider Unicode classes move between Go versions.
		if r <= unicode.MaxLatin1 && unicode.IsControl(r) {
			return fmt.Errorf("%s has a control character", what)
		}
	}
	return nil
}

func validEmail(s string) bool {
	if len(s) < 3 || len(s) > MaxEmail || !printable(s) {
		return false
	}
	at := -1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '@':
			if at >= 0 {
				return false
			}
			at = i
		case ' ', '<', '>', ',', '"':
			return false
		}
	}
	return at > 0 && at < len(s)-1
}

func validAction(s string) bool {
	if s == "" || len(s) > MaxAction {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// printable reports whether s is ASCII from space to tilde.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func inRange(m Millis) bool { return m >= 0 && m <= MaxMillis }
