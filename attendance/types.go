package attendance

import (
	"fmt"
	"time"
)

// Millis is an instant in milliseconds since 1970-01-01T00:00:00Z, or a
// duration in milliseconds. The state machine knows no finer time.
type Millis int64

// MaxMillis is the last instant that is accepted anywhere: the end of year
// 9999, as RFC 3339 ends there too.
const MaxMillis Millis = 253402300799999

// Time gives the instant in UTC.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// Duration gives the duration.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// MillisOf gives t to the millisecond below.
func MillisOf(t time.Time) Millis { return Millis(t.UnixMilli()) }

// DayMillis is the length of a UTC day.
const DayMillis Millis = 86_400_000

// Kind says whether somebody comes or goes. It is always explicit: hadir never
// guesses it from what came last.
type Kind uint8

// The kinds of check-in.
const (
	In  Kind = 1
	Out Kind = 2
)

// String gives the word used in the API.
func (k Kind) String() string { return word(kindWords, k) }

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, bool) { return parse(kindWords, s) }

var kindWords = map[Kind]string{In: "in", Out: "out"}

// Role is what a user may do; the rights themselves are httpapi's.
type Role uint8

// The roles.
const (
	Student Role = 1
	Teacher Role = 2
	Admin   Role = 3
)

// String gives the word used in the API.
func (r Role) String() string { return word(roleWords, r) }

// ParseRole is the inverse of String.
func ParseRole(s string) (Role, bool) { return parse(roleWords, s) }

var roleWords = map[Role]string{Student: "student", Teacher: "teacher", Admin: "admin"}

// GroupKind is the sort of a group.
type GroupKind uint8

// The kinds of group.
const (
	Class      GroupKind = 1
	Department GroupKind = 2
)

// String gives the word used in the API.
func (k GroupKind) String() string { return word(groupWords, k) }

// ParseGroupKind is the inverse of String.
func ParseGroupKind(s string) (GroupKind, bool) { return parse(groupWords, s) }

var groupWords = map[GroupKind]string{Class: "class", Department: "department"}

// LocationError says why a tap has no location.
type LocationError uint8

// The reasons for a missing location; NoLocationError goes with a location, or
// with a client that sent neither.
const (
	NoLocationError     LocationError = 0
	LocationDenied      LocationError = 1
	LocationUnavailable LocationError = 2
	LocationTimeout     LocationError = 3
)

// String gives the word used in the API; "" for NoLocationError.
func (e LocationError) String() string { return word(locationWords, e) }

// ParseLocationError is the inverse of String.
func ParseLocationError(s string) (LocationError, bool) { return parse(locationWords, s) }

var locationWords = map[LocationError]string{
	NoLocationError: "", LocationDenied: "denied", LocationUnavailable: "unavailable", LocationTimeout: "timeout",
}

// Location is where a tap happened. Coordinates are integers in 1e-7 degrees
// from the door on, because floats have no place in replicated state.
type Location struct {
	Known      bool
	LatE7      int32 // −900 000 000 … 900 000 000
	LonE7      int32 // −1 800 000 000 … 1 800 000 000
	AccuracyCM uint32
	Error      LocationError
}

// PrincipalKind is the sort of who acts.
type PrincipalKind uint8

// The kinds of principal.
const (
	UserPrincipal   PrincipalKind = 1
	DevicePrincipal PrincipalKind = 2 // an API token
	SystemPrincipal PrincipalKind = 3 // a node by itself, or its operator at the command line
)

var principalWords = map[PrincipalKind]string{UserPrincipal: "user", DevicePrincipal: "device", SystemPrincipal: "system"}

// Principal is who asked for a decision. Idempotency keys are its own: the same
// key of two principals is two keys.
type Principal struct {
	Kind PrincipalKind
	ID   uint64 // 0 for the system
}

// String gives "user:7".
func (p Principal) String() string { return fmt.Sprintf("%s:%d", word(principalWords, p.Kind), p.ID) }

// valid reports whether the kind is known and the id fits it.
func (p Principal) valid() bool {
	_, known := principalWords[p.Kind]
	return known && (p.ID == 0) == (p.Kind == SystemPrincipal)
}

// User is a person.
type User struct {
	ID           uint64
	Name         string
	Email        string // as given; unique when folded, see FoldEmail
	Role         Role
	Active       bool
	SessionEpoch uint64 // sessions signed under a smaller one are void
	CreatedAt    Millis
	UpdatedAt    Millis
}

// Group is a class or a department. Members and responsible teachers are kept
// apart from it, so that a change of one person is small.
type Group struct {
	ID        uint64
	Name      string
	Kind      GroupKind
	Members   uint64 // how many
	Teachers  uint64 // how many
	CreatedAt Millis
	UpdatedAt Millis
}

// Token lets a device act. Its secret is known to the device alone; Hash is
// SHA-256 of it and never leaves the store in an event.
type Token struct {
	ID        uint64
	Name      string
	Hash      [32]byte
	Groups    []uint64 // whom it may act for; empty = everybody
	Revoked   bool
	CreatedAt Millis
	UpdatedAt Millis
}

// Secret is a key that nodes share, such as the one that signs sessions. The
// one before the last change stays valid until it is dropped.
type Secret struct {
	Name     string
	ID       uint64 // counts the rotations
	Value    []byte
	Previous []byte // nil when none
	At       Millis // of the last rotation
}

// Accepted is one accepted time of a (user, type), as the rule needs it.
type Accepted struct {
	At  Millis
	Seq uint64 // the event that accepted it: the record's id
}

// Record is an attendance: the event that accepted a check-in, with what later
// events lowered.
type Record struct {
	ID          uint64 // the seq of the event that accepted it
	UserID      uint64
	Kind        Kind
	At          Millis // decision time; never changes
	FirstSeenAt Millis // ≤ At; lateness is judged by it
	Location    Location
	Node        string // the node that received the tap
	Offline     bool
	ClaimedAt   Millis // what the phone said, for an offline tap; else 0
	ClaimTrust  bool
	CreatedAt   Millis // when it was decided
	UpdatedAt   Millis // when FirstSeenAt was last lowered, else CreatedAt
}

// FoldEmail gives the form under which an address is unique. Only ASCII letters
// are folded: the Unicode tables differ between Go versions, and two versions
// may run side by side during an upgrade.
func FoldEmail(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func word[K ~uint8](words map[K]string, k K) string {
	if s, ok := words[k]; ok {
		return s
	}
	return fmt.Sprintf("unknown(%d)", uint8(k)) // not %v, which would ask k for its word again
}

func parse[K ~uint8](words map[K]string, s string) (K, bool) {
	for k, w := range words {
		if w == s {
			return k, true
		}
	}
	var none K
	return none, false
}
