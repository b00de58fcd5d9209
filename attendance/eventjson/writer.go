package eventjson

import (
	"encoding/json"
	"strconv"

	"hadir/attendance"
)

// writer appends JSON by hand: the order of the fields and the form of times and
// decimals are then ours, and an event costs no reflection on its way to every
// viewer.
type writer struct{ b []byte }

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) open() { w.raw("{") }

func (w *writer) close() { w.raw("}") }

// name begins a field.
func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.raw(",")
	}
	w.raw(`"`)
	w.raw(name)
	w.raw(`":`)
}

func (w *writer) null(name string) {
	w.name(name)
	w.raw("null")
}

// string writes a text, escaped as encoding/json does.
func (w *writer) string(name, s string) {
	w.name(name)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, err := json.Marshal(s)
			if err != nil {
				panic(err) // strings can always be encoded
			}
			w.b = append(w.b, escaped...)
			return
		}
	}
	w.raw(`"`)
	w.raw(s)
	w.raw(`"`)
}

func (w *writer) uint(name string, n uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *writer) int(name string, n int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *writer) bool(name string, v bool) {
	w.name(name)
	w.b = strconv.AppendBool(w.b, v)
}

// flag writes a bool that is left out when it is false.
func (w *writer) flag(name string, v bool) {
	if v {
		w.bool(name, true)
	}
}

func (w *writer) ids(name string, ids []uint64) {
	w.name(name)
	w.raw("[")
	for i, id := range ids {
		if i > 0 {
			w.raw(",")
		}
		w.b = strconv.AppendUint(w.b, id, 10)
	}
	w.raw("]")
}

// decimal writes n units of 10^-places without trailing zeros.
func (w *writer) decimal(name string, n int64, places int) {
	w.name(name)
	if n < 0 {
		w.raw("-")
		n = -n
	}
	unit := int64(1)
	for range places {
		unit *= 10
	}
	w.b = strconv.AppendInt(w.b, n/unit, 10)
	rest := n % unit
	if rest == 0 {
		return
	}
	w.raw(".")
	for rest != 0 {
		unit /= 10
		w.b = append(w.b, byte('0'+rest/unit))
		rest %= unit
	}
}

// RFC 3339 has the years 0000 … 9999. A claim may lie before them, when a tap says
// that it has waited for thousands of years.
const (
	firstMillis attendance.Millis = -62_167_219_200_000
	timeLayout                    = `"2006-01-02T15:04:05.000Z"`
)

func (w *writer) time(name string, m attendance.Millis) {
	w.name(name)
	w.b = min(max(m, firstMillis), attendance.MaxMillis).Time().AppendFormat(w.b, timeLayout)
}
