package httpapi

import "encoding/json"

// The shapes of events, as package eventjson writes them by hand: for the
// contract alone. The tests hold every event that they read against them.

type eventJSON struct {
	Seq          uint64  `json:"seq"`
	ID           *string `json:"id"`
	Type         string  `json:"type"`
	At           stamp   `json:"at"`
	NodeID       string  `json:"node_id"`
	Index        uint64  `json:"index"`
	Principal    string  `json:"principal"`
	UserID       uint64  `json:"user_id,omitempty"`
	AttendanceID uint64  `json:"attendance_id,omitempty"`
	Data         detail  `json:"data"`
}

// detail is what an event says beside its header: one of these, by its type.
type detail struct{ json.RawMessage }

// OneOf implements openapi.Union.
func (detail) OneOf() []any {
	return []any{
		tapJSON{}, userJSON{}, sessionsChangeJSON{}, groupChangeJSON{}, paramsJSON{}, clockChangeJSON{}, secretChangeJSON{},
		tokenChangeJSON{}, auditNoteJSON{}, refusalJSON{},
	}
}

type tapJSON struct {
	UserID    uint64 `json:"user_id"`
	Type      string `json:"type"`
	Timestamp stamp  `json:"timestamp"`
	Day       string `json:"day"`
	Minute    int    `json:"minute"`
	locationJSON
	ReceivedAt   stamp  `json:"received_at"`
	ProposedAt   stamp  `json:"proposed_at"`
	ClientTime   stamp  `json:"client_time,omitempty"`
	Offline      bool   `json:"offline,omitempty"`
	ClaimedAt    stamp  `json:"claimed_at,omitempty"`
	ClaimTrusted bool   `json:"claim_trusted,omitempty"`
	Recorded     bool   `json:"recorded,omitempty"`
	WallClock    bool   `json:"wall_clock,omitempty"`
	Reason       string `json:"reason,omitempty"`
	Winner       uint64 `json:"winner,omitempty"`
	DeltaMS      int64  `json:"delta_ms,omitempty"`
	FirstSeenAt  stamp  `json:"first_seen_at,omitempty"`
	UpdatedAt    stamp  `json:"updated_at,omitempty"`
	ReviewOf     uint64 `json:"review_of,omitempty"`
	ReceivedBy   string `json:"received_by,omitempty"`
	Note         string `json:"note,omitempty"`
}

type sessionsChangeJSON struct {
	UserID *uint64 `json:"user_id"`
	Epoch  uint64  `json:"epoch"`
}

type groupChangeJSON struct {
	ID              uint64   `json:"id"`
	Name            string   `json:"name"`
	Kind            string   `json:"kind"`
	Members         uint64   `json:"members"`
	Teachers        uint64   `json:"teachers"`
	CreatedAt       stamp    `json:"created_at"`
	UpdatedAt       stamp    `json:"updated_at"`
	AddedMembers    []uint64 `json:"added_members"`
	RemovedMembers  []uint64 `json:"removed_members"`
	AddedTeachers   []uint64 `json:"added_teachers"`
	RemovedTeachers []uint64 `json:"removed_teachers"`
}

type offsetJSON struct {
	From    stamp `json:"from"`
	OffsetS int64 `json:"offset_s"`
}

type paramsJSON struct {
	WindowMS       int64        `json:"window_ms"`
	SkewMS         int64        `json:"skew_ms"`
	DeferralMS     int64        `json:"deferral_ms"`
	KeyRetentionMS int64        `json:"key_retention_ms"`
	ExportMargin   uint64       `json:"export_margin"`
	TimeZone       string       `json:"time_zone"`
	Offsets        []offsetJSON `json:"offsets"`
}

type clockChangeJSON struct {
	From stamp `json:"from"`
	To   stamp `json:"to"`
}

type secretChangeJSON struct {
	Name            string `json:"name"`
	ID              uint64 `json:"id"`
	DroppedPrevious bool   `json:"dropped_previous,omitempty"`
}

type tokenChangeJSON struct {
	ID      uint64   `json:"id"`
	Name    string   `json:"name"`
	Groups  []uint64 `json:"groups"`
	Revoked bool     `json:"revoked,omitempty"`
}

type auditNoteJSON struct {
	Action  string `json:"action"`
	Subject string `json:"subject"`
	Note    string `json:"note"`
}

type refusalJSON struct {
	Command string `json:"command"`
	Reason  string `json:"reason"`
	Subject uint64 `json:"subject,omitempty"`
}
