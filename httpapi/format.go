package httpapi

import (
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
)

// stamp is an instant in JSON: RFC 3339 in UTC with milliseconds, or null for
// none.
type stamp attendance.Millis

const stampLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (s stamp) MarshalJSON() ([]byte, error) {
	if s == 0 {
		return []byte("null"), nil
	}
	return attendance.Millis(s).Time().AppendFormat(make([]byte, 0, 26), `"`+stampLayout+`"`), nil
}

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return 0
	}
	return stamp(attendance.MillisOf(t))
}

// decimal is an integer in units of 10^-places, in JSON with its point and
// without a detour through floats.
type decimal struct {
	n      int64
	places int
}

// MarshalJSON implements json.Marshaler.
func (d decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// String gives the number without trailing zeros.
func (d decimal) String() string {
	n, sign := d.n, ""
	if n < 0 {
		n, sign = -n, "-"
	}
	s := strconv.FormatInt(n, 10)
	if len(s) <= d.places {
		s = strings.Repeat("0", d.places+1-len(s)) + s
	}
	whole, fraction := s[:len(s)-d.places], strings.TrimRight(s[len(s)-d.places:], "0")
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction
}

// millis gives a duration in milliseconds with a tenth.
func millis(d time.Duration) decimal {
	return decimal{n: d.Round(100*time.Microsecond).Microseconds() / 100, places: 1}
}
