package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hadir/attendance"
)

// maxFieldErrors bounds an answer to a body that is wrong everywhere.
const maxFieldErrors = 20

// object is a JSON object whose fields are taken one by one. What is missing,
// has another type, is out of range or was not taken at all is gathered, so that
// a client learns everything at once.
type object struct {
	raw   map[string]json.RawMessage
	errs  []fieldError
	taken []string // the fields that were there and asked for
}

// parseObject reads exactly one object.
func parseObject(body []byte) (*object, error) {
	if !utf8.Valid(body) {
		return nil, invalidField("", "is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, invalidField("", fmt.Sprintf("is not JSON: %v at byte %d", syntax, syntax.Offset))
		}
		return nil, invalidField("", "is not JSON")
	}
	// From here on the syntax is known to be right.
	in := json.NewDecoder(bytes.NewReader(body))
	if start, err := in.Token(); err != nil || start != json.Delim('{') {
		return nil, invalidField("", "is not an object")
	}
	o := &object{raw: make(map[string]json.RawMessage)}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return nil, invalidField("", "is not JSON")
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return nil, invalidField("", "is not JSON")
		}
		field := fmt.Sprint(name)
		if _, twice := o.raw[field]; twice {
			o.wrong(field, "is given twice")
		}
		o.raw[field] = value
	}
	return o, nil
}

func (o *object) wrong(field, reason string) {
	if len(field) > 64 {
		field = strings.ToValidUTF8(field[:64], "") + "…"
	}
	o.errs = append(o.errs, fieldError{field, reason})
}

// take gives a field's value and takes it off; null counts as absent.
func (o *object) take(field string) (json.RawMessage, bool) {
	v, ok := o.raw[field]
	if ok {
		o.taken = append(o.taken, field)
	}
	delete(o.raw, field)
	return v, ok && string(v) != "null"
}

// done reports what was wrong.
func (o *object) done() error {
	for _, field := range slices.Sorted(maps.Keys(o.raw)) {
		o.wrong(field, "is not known")
	}
	if len(o.errs) == 0 {
		return nil
	}
	return invalidBody(o.errs[:min(len(o.errs), maxFieldErrors)]...)
}

// text gives a string of at most that many bytes.
func (o *object) text(field string, most int) (s string, given bool) {
	v, given := o.take(field)
	if !given {
		return "", false
	}
	if v[0] != '"' || json.Unmarshal(v, &s) != nil {
		o.wrong(field, "is not a string")
		return "", false
	}
	if len(s) > most {
		o.wrong(field, fmt.Sprintf("is longer than %d bytes", most))
		return "", false
	}
	return s, true
}

// required gives a string that must be there.
func (o *object) required(field string, most int) string {
	s, given := o.text(field, most)
	if !given && !o.isWrong(field) {
		o.wrong(field, "is missing")
	}
	return s
}

func (o *object) isWrong(field string) bool {
	return slices.ContainsFunc(o.errs, func(e fieldError) bool { return e.Field == field })
}

// flag gives a bool, false when absent.
func (o *object) flag(field string) bool {
	yes := o.choice(field)
	return yes != nil && *yes
}

// choice gives a bool, nil when absent.
func (o *object) choice(field string) *bool {
	v, given := o.take(field)
	if !given {
		return nil
	}
	yes := string(v) == "true"
	if !yes && string(v) != "false" {
		o.wrong(field, "is neither true nor false")
	}
	return &yes
}

// id gives a positive integer, 0 when absent.
func (o *object) id(field string) uint64 {
	v, given := o.take(field)
	if !given {
		return 0
	}
	n, ok := parseID(v)
	if !ok {
		o.wrong(field, "is not a positive integer")
	}
	return n
}

func parseID(v json.RawMessage) (id uint64, ok bool) {
	// Bits 63 and 64 of an id do not survive the numbers of other languages.
	id, err := strconv.ParseUint(string(v), 10, 63)
	return id, err == nil && id > 0
}

// ids gives a set of ids, ascending and each once, however the client wrote it.
func (o *object) ids(field string, most int) (ids []uint64, given bool) {
	v, given := o.take(field)
	if !given {
		return nil, false
	}
	var items []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &items) != nil {
		o.wrong(field, "is not a list")
		return nil, false
	}
	if len(items) > most {
		o.wrong(field, fmt.Sprintf("has more than %d items", most))
		return nil, false
	}
	for _, item := range items {
		id, ok := parseID(item)
		if !ok {
			o.wrong(field, "has an item that is not a positive integer")
			return nil, false
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// scaled gives a number times 10^places as an integer, see fixedPoint.
func (o *object) scaled(field string, places int, least, most int64) (n int64, given bool) {
	v, given := o.take(field)
	if !given {
		return 0, false
	}
	if c := v[0]; c != '-' && (c < '0' || c > '9') {
		o.wrong(field, "is not a number")
		return 0, false
	}
	n, ok := fixedPoint(string(v), places, least, most)
	if !ok {
		o.wrong(field, "is out of range")
		return 0, false
	}
	return n, true
}

// instant gives a time to the millisecond below.
func (o *object) instant(field string) attendance.Millis {
	s, given := o.text(field, 64)
	if !given {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		o.wrong(field, "is not a time such as 2026-11-23T06:58:13.902Z")
		return 0
	}
	m := attendance.MillisOf(t)
	if m <= 0 || m > attendance.MaxMillis {
		o.wrong(field, "is out of range")
		return 0
	}
	return m
}

// fixedPoint gives a JSON number times 10^places, rounded half away from zero,
// from its decimal digits: going through a float would let two texts of one
// number differ, or a huge exponent become an infinity. ok is false for a value
// outside the bounds, by however little: 90.00000001 is not 90.
func fixedPoint(number string, places int, least, most int64) (n int64, ok bool) {
	digits, negative := strings.CutPrefix(number, "-")
	exponent := 0
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		e, err := strconv.Atoi(digits[i+1:])
		if err != nil || e > 1000 || e < -1000 {
			// Beyond all bounds: only its sign matters.
			e = 1000
			if strings.HasPrefix(digits[i+1:], "-") {
				e = -1000
			}
		}
		exponent, digits = e, digits[:i]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = whole + fraction
	point := len(whole) + exponent + places // digits before it stay
	trimmed := strings.TrimLeft(digits, "0")
	point -= len(digits) - len(trimmed)
	digits = trimmed
	switch {
	case digits == "":
		return 0, true
	case point < 0 && !negative && most > 0, point < 0 && negative && least < 0:
		return 0, true // too small to count, and on the right side of zero
	case point < 0 || point > 18:
		return 0, false
	}
	for i := range point {
		n *= 10
		if i < len(digits) {
			n += int64(digits[i] - '0')
		}
	}
	rest := digits[min(point, len(digits)):]
	more := strings.Trim(rest, "0") != ""
	if negative {
		n = -n
	}
	switch {
	case n < least, n > most, more && negative && n == least, more && !negative && n == most:
		return 0, false
	case rest == "" || rest[0] < '5':
		return n, true
	case negative:
		return n - 1, true
	}
	return n + 1, true
}
