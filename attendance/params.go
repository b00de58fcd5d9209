package attendance

import (
	"errors"
	"fmt"
	"time"
)

// Params are the replicated parameters. They change by a SetParams command
// only: a node's own configuration must never influence a decision.
type Params struct {
	Window       Millis // W: accepted check-ins of one (user, type) are at least this far apart
	Skew         Millis // S: how far a wall clock may be ahead of the replicated clock
	Deferral     Millis // D: how late a recorded tap may still be decided without a person
	KeyRetention Millis // K: how long an idempotency key answers; D + W + S ≤ K
	ExportMargin uint64 // events kept behind the slowest export target
	Zone         Zone
}

// DefaultParams are the parameters of a cluster that has not set its own.
func DefaultParams() Params {
	return Params{
		Window:       300_000,
		Skew:         2_000,
		Deferral:     7 * DayMillis,
		KeyRetention: 8 * DayMillis,
		ExportMargin: 10_000,
		Zone:         Zone{Name: "Asia/Jakarta", Changes: []ZoneChange{{From: 0, OffsetS: 7 * 3600}}},
	}
}

// Bounds of the parameters. The window stays under a day because the neighbours
// of a time are looked for on its own UTC day and the days beside it.
const (
	MinWindow       Millis = 1_000
	MaxWindow       Millis = 12 * 3_600_000
	MaxSkew         Millis = 60_000
	MaxDeferral     Millis = 60 * DayMillis
	MaxKeyRetention Millis = 90 * DayMillis
	MaxExportMargin        = 1 << 32
	MaxZoneChanges         = 160
	maxZoneName            = 64
	maxOffsetS             = 18 * 3600
)

// Validate says what is wrong with p, in one line.
func (p Params) Validate() error {
	switch {
	case p.Window < MinWindow || p.Window > MaxWindow:
		return fmt.Errorf("window %d ms is not within %d … %d", p.Window, MinWindow, MaxWindow)
	case p.Skew < 0 || p.Skew > MaxSkew:
		return fmt.Errorf("skew %d ms is not within 0 … %d", p.Skew, MaxSkew)
	case p.Deferral < p.Window || p.Deferral > MaxDeferral:
		return fmt.Errorf("deferral %d ms is not within the window … %d", p.Deferral, MaxDeferral)
	case p.KeyRetention > MaxKeyRetention:
		return fmt.Errorf("key retention %d ms is over %d", p.KeyRetention, MaxKeyRetention)
	case p.KeyRetention < p.Deferral+p.Window+p.Skew:
		return fmt.Errorf("key retention %d ms is less than deferral + window + skew", p.KeyRetention)
	case p.ExportMargin > MaxExportMargin:
		return fmt.Errorf("export margin %d is over %d", p.ExportMargin, uint64(MaxExportMargin))
	}
	return p.Zone.validate()
}

// Zone is a time zone as its table of changes. The table is replicated instead
// of the bare name because nodes may hold different editions of the time zone
// database, and the local day of a record is part of the state.
type Zone struct {
	Name    string
	Changes []ZoneChange // by From, ascending; the first holds for all time before it too
}

// ZoneChange says which offset from UTC holds from an instant on.
type ZoneChange struct {
	From    Millis
	OffsetS int32 // seconds east of UTC
}

// The span of a site's zone: back for taps that waited, ahead for longer than any
// edition of the time zone database is right.
const (
	zoneYearsBack  = 2
	zoneYearsAhead = 30
)

// SiteZone expands loc into the changes that a site needs from now on, for the
// proposer of SetParams.
func SiteZone(loc *time.Location, now time.Time) (Zone, error) {
	return NewZone(loc, now.AddDate(-zoneYearsBack, 0, 0), now.AddDate(zoneYearsAhead, 0, 0))
}

// NewZone expands loc into the changes between from and to. It is meant for the
// proposer of SetParams; the state machine only reads the table.
func NewZone(loc *time.Location, from, to time.Time) (Zone, error) {
	z := Zone{Name: loc.String()}
	for at := from; !at.After(to); {
		_, offset := at.In(loc).Zone()
		// Bounds are also given where only the name changes, or nothing does.
		if n := len(z.Changes); n == 0 || z.Changes[n-1].OffsetS != int32(offset) {
			if n == MaxZoneChanges {
				return Zone{}, fmt.Errorf("time zone %s changes more than %d times in that span", z.Name, MaxZoneChanges)
			}
			z.Changes = append(z.Changes, ZoneChange{From: MillisOf(at), OffsetS: int32(offset)})
		}
		_, end := at.In(loc).ZoneBounds()
		if end.IsZero() {
			break
		}
		if !end.After(at) {
			// Past its table the standard library gives, on some days, a bound that
			// does not lie ahead.
			end = at.Add(24 * time.Hour)
		}
		at = end
	}
	return z, z.validate()
}

// Offset gives the offset from UTC that holds at t.
func (z Zone) Offset(t Millis) Millis {
	offset := z.Changes[0].OffsetS
	for _, c := range z.Changes[1:] {
		if c.From > t {
			break
		}
		offset = c.OffsetS
	}
	return Millis(offset) * 1000
}

// Day gives the local calendar day of t, and the minute of that day.
func (z Zone) Day(t Millis) (Day, int) {
	local := t + z.Offset(t)
	day := floorDiv(local, DayMillis)
	return Day(day), int((local - day*DayMillis) / 60_000)
}

func (z Zone) validate() error {
	if z.Name == "" || len(z.Name) > maxZoneName || !printable(z.Name) {
		return errors.New("time zone needs a name of at most 64 printable ASCII characters")
	}
	if len(z.Changes) == 0 || len(z.Changes) > MaxZoneChanges {
		return fmt.Errorf("time zone %s needs 1 … %d changes, has %d", z.Name, MaxZoneChanges, len(z.Changes))
	}
	for i, c := range z.Changes {
		if c.From < 0 || c.From > MaxMillis || (i > 0 && c.From <= z.Changes[i-1].From) {
			return fmt.Errorf("time zone %s: change %d is out of order or range", z.Name, i)
		}
		if c.OffsetS < -maxOffsetS || c.OffsetS > maxOffsetS {
			return fmt.Errorf("time zone %s: offset %d s is out of range", z.Name, c.OffsetS)
		}
	}
	return nil
}

// Day is a local calendar day, counted from 1970-01-01.
type Day int32

// String gives "2026-11-23".
func (d Day) String() string { return Millis(d).dayTime().Format(time.DateOnly) }

func (m Millis) dayTime() time.Time { return (m * DayMillis).Time() }

// ParseDay is the inverse of String.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("day %q is not of the form 2006-01-02", s)
	}
	return UTCDay(MillisOf(t)), nil
}

// UTCDay gives the UTC day of t; partitions that must not move with the time
// zone use it.
func UTCDay(t Millis) Day { return Day(floorDiv(t, DayMillis)) }

func floorDiv(a, b Millis) Millis {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
