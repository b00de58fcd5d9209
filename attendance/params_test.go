package attendance

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the test must not depend on the machine's zones

	"pgregory.net/rapid"
)

func TestParamsBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Params)
		ok   bool
	}{
		{"default", func(*Params) {}, true},
		{"least window", func(p *Params) { p.Window = MinWindow }, true},
		{"window too small", func(p *Params) { p.Window = MinWindow - 1 }, false},
		{"greatest window", func(p *Params) { p.Window = MaxWindow }, true},
		{"window too large", func(p *Params) { p.Window = MaxWindow + 1 }, false},
		{"no skew", func(p *Params) { p.Skew = 0 }, true},
		{"negative skew", func(p *Params) { p.Skew = -1 }, false},
		{"greatest skew", func(p *Params) { p.Skew = MaxSkew }, true},
		{"skew too large", func(p *Params) { p.Skew = MaxSkew + 1 }, false},
		{"deferral of one window", func(p *Params) { p.Deferral = p.Window }, true},
		{"deferral under the window", func(p *Params) { p.Deferral = p.Window - 1 }, false},
		{"greatest deferral", func(p *Params) { p.Deferral, p.KeyRetention = MaxDeferral, MaxKeyRetention }, true},
		{"deferral too long", func(p *Params) { p.Deferral, p.KeyRetention = MaxDeferral+1, MaxKeyRetention }, false},
		{"shortest retention", func(p *Params) { p.KeyRetention = p.Deferral + p.Window + p.Skew }, true},
		{"retention too short", func(p *Params) { p.KeyRetention = p.Deferral + p.Window + p.Skew - 1 }, false},
		{"longest retention", func(p *Params) { p.KeyRetention = MaxKeyRetention }, true},
		{"retention too long", func(p *Params) { p.KeyRetention = MaxKeyRetention + 1 }, false},
		{"greatest margin", func(p *Params) { p.ExportMargin = MaxExportMargin }, true},
		{"margin too large", func(p *Params) { p.ExportMargin = MaxExportMargin + 1 }, false},
		{"zone without a name", func(p *Params) { p.Zone.Name = "" }, false},
		{"zone with a long name", func(p *Params) { p.Zone.Name = strings.Repeat("x", maxZoneName+1) }, false},
		{"zone with an odd name", func(p *Params) { p.Zone.Name = "é" }, false},
		{"zone without changes", func(p *Params) { p.Zone.Changes = nil }, false},
		{"zone with most changes", func(p *Params) { p.Zone.Changes = changes(MaxZoneChanges) }, true},
		{"zone with too many", func(p *Params) { p.Zone.Changes = changes(MaxZoneChanges + 1) }, false},
		{"changes at one instant", func(p *Params) { p.Zone.Changes = []ZoneChange{{From: 1}, {From: 1}} }, false},
		{"changes out of order", func(p *Params) { p.Zone.Changes = []ZoneChange{{From: 2}, {From: 1}} }, false},
		{"change before 1970", func(p *Params) { p.Zone.Changes[0].From = -1 }, false},
		{"change after 9999", func(p *Params) { p.Zone.Changes[0].From = MaxMillis + 1 }, false},
		{"farthest east", func(p *Params) { p.Zone.Changes[0].OffsetS = maxOffsetS }, true},
		{"too far east", func(p *Params) { p.Zone.Changes[0].OffsetS = maxOffsetS + 1 }, false},
		{"too far west", func(p *Params) { p.Zone.Changes[0].OffsetS = -maxOffsetS - 1 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := DefaultParams()
			tt.edit(&p)
			if err := p.Validate(); (err == nil) != tt.ok {
				t.Fatalf("%v", err)
			} else if err != nil && strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %v", err)
			}
		})
	}
}

func changes(n int) (out []ZoneChange) {
	for i := range n {
		out = append(out, ZoneChange{From: Millis(i)})
	}
	return out
}

// The defaults are those of the contract.
func TestDefaultParams(t *testing.T) {
	p := DefaultParams()
	if p.Window != 300_000 || p.Skew != 2_000 || p.Deferral != 604_800_000 || p.KeyRetention != 691_200_000 {
		t.Fatalf("%+v", p)
	}
	// Two callers must not share the table of changes.
	p.Zone.Changes[0].OffsetS = 0
	if DefaultParams().Zone.Changes[0].OffsetS != 7*3600 {
		t.Fatal("changing one default changes the next")
	}
}

func zoneOf(t tester, name string, from, to int) (Zone, *time.Location) {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	z, err := NewZone(loc, time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return z, loc
}

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// The local day and minute, in seconds around the moments at which they turn.
func TestZoneDay(t *testing.T) {
	for _, tt := range []struct {
		zone, utc, day string
		minute         int
	}{
		{"Asia/Jakarta", "2026-11-22T16:59:59.999Z", "2026-11-22", 1439},
		{"Asia/Jakarta", "2026-11-22T17:00:00Z", "2026-11-23", 0},
		{"Asia/Jakarta", "2026-11-22T17:01:00Z", "2026-11-23", 1},
		// Berlin goes from 02:00 to 03:00 at 01:00 UTC …
		{"Europe/Berlin", "2026-03-28T22:59:59.999Z", "2026-03-28", 1439},
		{"Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29", 0},
		{"Europe/Berlin", "2026-03-29T00:59:59.999Z", "2026-03-29", 119},
		{"Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29", 180},
		{"Europe/Berlin", "2026-03-29T21:59:59.999Z", "2026-03-29", 1439}, // a day of 23 hours
		{"Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-30", 0},
		// … and back, so that an hour comes twice.
		{"Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25", 0},
		{"Europe/Berlin", "2026-10-25T00:59:59.999Z", "2026-10-25", 179},
		{"Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25", 120},
		{"Europe/Berlin", "2026-10-25T22:59:59.999Z", "2026-10-25", 1439}, // a day of 25 hours
		{"Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26", 0},
		{"America/New_York", "2026-11-23T04:59:59.999Z", "2026-11-22", 1439},
		{"America/New_York", "2026-11-23T05:00:00Z", "2026-11-23", 0},
		{"Asia/Kathmandu", "2026-11-22T18:14:59Z", "2026-11-22", 1439}, // +05:45
		{"Asia/Kathmandu", "2026-11-22T18:15:00Z", "2026-11-23", 0},
		{"Pacific/Kiritimati", "2026-12-31T10:00:00Z", "2027-01-01", 0}, // +14
		{"Pacific/Pago_Pago", "2027-01-01T10:59:59Z", "2026-12-31", 1439},
		{"UTC", "2024-02-28T23:59:59.999Z", "2024-02-28", 1439},
		{"UTC", "2024-02-29T00:00:00Z", "2024-02-29", 0},
	} {
		z, _ := zoneOf(t, tt.zone, 2020, 2040)
		at, err := time.Parse(time.RFC3339Nano, tt.utc)
		if err != nil {
			t.Fatal(err)
		}
		if day, minute := z.Day(MillisOf(at)); day.String() != tt.day || minute != tt.minute {
			t.Errorf("%s in %s is %s minute %d, want %s minute %d", tt.utc, tt.zone, day, minute, tt.day, tt.minute)
		}
	}
}

// The table says what the time zone database says, at any instant it covers.
func TestNewZone(t *testing.T) {
	names := []string{
		"UTC", "Asia/Jakarta", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
		"Pacific/Apia", "America/St_Johns", "Asia/Tehran", "Pacific/Kiritimati",
	}
	type pair struct {
		zone Zone
		loc  *time.Location
	}
	zones := map[string]pair{}
	for _, name := range names {
		z, loc := zoneOf(t, name, 1970, 2040)
		zones[name] = pair{z, loc}
		if z.Name != name {
			t.Fatalf("%s is named %q", name, z.Name)
		}
	}
	property(t, func(t *rapid.T) {
		z := zones[rapid.SampledFrom(names).Draw(t, "zone")]
		at := Millis(rapid.Int64Range(0, time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()-1).Draw(t, "at"))
		if rapid.Bool().Draw(t, "edge") { // at a change, or beside it
			at = max(0, rapid.SampledFrom(z.zone.Changes).Draw(t, "change").From+Millis(rapid.IntRange(-1, 1).Draw(t, "beside")))
		}
		local := at.Time().In(z.loc)
		day, minute := z.zone.Day(at)
		if day.String() != local.Format(time.DateOnly) || minute != local.Hour()*60+local.Minute() {
			t.Fatalf("%d is %s minute %d, the library says %s", at, day, minute, local)
		}
	})
}

func TestNewZoneRefuses(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewZone(berlin, year(1970), year(2060)); err == nil {
		t.Error("a span with more than 160 changes was accepted")
	}
	if _, err := NewZone(berlin, year(1960), year(2030)); err == nil {
		t.Error("a table from before 1970 was accepted")
	}
	z, err := NewZone(berlin, year(1981), year(2037))
	if err != nil || len(z.Changes) != 1+2*56 {
		t.Errorf("56 years of Berlin: %d changes, %v", len(z.Changes), err)
	}
}

// Before its first change a table holds what the first change says.
func TestZoneBeforeItsFirstChange(t *testing.T) {
	z := Zone{Name: "X", Changes: []ZoneChange{{From: 1_000, OffsetS: 60}, {From: 2_000, OffsetS: 120}}}
	for at, want := range map[Millis]Millis{-5: 60_000, 0: 60_000, 999: 60_000, 1_000: 60_000, 1_999: 60_000, 2_000: 120_000, MaxMillis: 120_000} {
		if got := z.Offset(at); got != want {
			t.Errorf("offset at %d is %d, want %d", at, got, want)
		}
	}
}

func TestDays(t *testing.T) {
	for at, want := range map[Millis]string{
		-1: "1969-12-31", 0: "1970-01-01", DayMillis - 1: "1970-01-01", DayMillis: "1970-01-02", -DayMillis: "1969-12-31",
		-DayMillis - 1: "1969-12-30", 951_782_400_000: "2000-02-29", MaxMillis: "9999-12-31",
	} {
		if got := UTCDay(at).String(); got != want {
			t.Errorf("%d lies on %s, want %s", at, got, want)
		}
	}
	for _, s := range []string{"1970-01-01", "2026-11-23", "2000-02-29", "9999-12-31", "0001-01-01"} {
		if d, err := ParseDay(s); err != nil || d.String() != s {
			t.Errorf("%s became %s, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "2026-2-3", "2026-02-30", "2026-13-01", "2026-11-23T00:00:00Z", " 2026-11-23", "26-11-23", "2026/11/23", "10000-01-01", "2026-11-23\n"} {
		if d, err := ParseDay(s); err == nil {
			t.Errorf("%q became %s", s, d)
		}
	}
	property(t, func(t *rapid.T) {
		d := Day(rapid.Int32Range(-700_000, 2_900_000).Draw(t, "day"))
		if got, err := ParseDay(d.String()); err != nil || got != d {
			t.Fatalf("%d is %s, which is %d, %v", d, d, got, err)
		}
	})
}

func TestMillis(t *testing.T) {
	for _, tt := range []struct {
		in   time.Time
		want Millis
	}{
		{time.UnixMilli(0), 0},
		{time.Unix(0, 999_999), 0},
		{time.Unix(0, -1), -1}, // down, not towards 1970
		{time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), MaxMillis},
	} {
		if got := MillisOf(tt.in); got != tt.want {
			t.Errorf("%s is %d, want %d", tt.in, got, tt.want)
		}
	}
	if got := MaxMillis.Time().Format(time.RFC3339Nano); got != "9999-12-31T23:59:59.999Z" {
		t.Error(got)
	}
	if got := Millis(1_500).Duration(); got != 1500*time.Millisecond {
		t.Error(got)
	}
}

// Each change of a zone's table is a change: the library splits winters at New
// Year beyond its own table (2037), which costs 3 rows a year instead of 2.
func TestNewZoneHasNoEmptyChanges(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	z, err := NewZone(berlin, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(z.Changes); i++ {
		if z.Changes[i].OffsetS == z.Changes[i-1].OffsetS {
			t.Errorf("change %d at %s changes nothing", i, z.Changes[i].From.Time())
		}
	}
}
