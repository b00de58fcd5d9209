package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// query is the part of an address behind the question mark. A parameter that is
// not known is an error: a filter that is not applied gives a wrong answer that
// looks right.
type query struct {
	values url.Values
	errs   []fieldError
}

func (c *call) query(known ...string) (*query, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalidQuery(fieldError{"", "is malformed"})
	}
	c.params = known
	q := &query{values: values}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			q.wrong(strconv.QuoteToASCII(name[:min(len(name), 64)]), "is not known")
		case len(v) > 1:
			q.wrong(name, "is given twice")
		case !utf8.ValidString(v[0]) || len(v[0]) > 200:
			q.wrong(name, "is malformed")
		}
	}
	return q, nil
}

func invalidQuery(errs ...fieldError) *problem {
	p := newProblem(codeInvalidQuery, "Correct the parameters that errors names.")
	p.Errors = errs
	return p
}

func (q *query) wrong(name, reason string) { q.errs = append(q.errs, fieldError{name, reason}) }

func (q *query) done() error {
	if len(q.errs) == 0 {
		return nil
	}
	slices.SortFunc(q.errs, func(a, b fieldError) int {
		if a.Field < b.Field {
			return -1
		}
		return 1
	})
	return invalidQuery(q.errs[:min(len(q.errs), maxFieldErrors)]...)
}

// text gives a parameter; "" when absent.
func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) flag(name string) bool {
	switch q.text(name) {
	case "", "false":
		return false
	case "true":
		return true
	}
	q.wrong(name, "is neither true nor false")
	return false
}

// number gives a parameter within bounds, or what holds when it is absent.
func (q *query) number(name string, least, most, absent uint64) uint64 {
	s := q.text(name)
	if s == "" {
		return absent
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n < least || n > most {
		q.wrong(name, fmt.Sprintf("is not an integer within %d … %d", least, most))
		return absent
	}
	return n
}

func (q *query) day(name string) (d attendance.Day, given bool) {
	s := q.text(name)
	if s == "" {
		return 0, false
	}
	d, err := attendance.ParseDay(s)
	if err != nil {
		q.wrong(name, "is not a day such as 2026-11-23")
	}
	return d, true
}

const (
	defaultLimit = 50
	maxID        = 1<<63 - 1
	maxStaleMS   = 24 * 3600 * 1000
)

// limit gives the length of a page.
func (q *query) limit() int { return int(q.number("limit", 1, store.MaxPage, defaultLimit)) }

// readParams are the parameters of every read.
var readParams = []string{"min_index", "max_stale_ms", "consistency"}

// read gives how fresh the answer is to be.
func (q *query) read() cluster.Read {
	how := cluster.Read{
		MinIndex: q.number("min_index", 0, maxID, 0),
		MaxStale: time.Duration(q.number("max_stale_ms", 1, maxStaleMS, 0)) * time.Millisecond,
	}
	switch q.text("consistency") {
	case "", "local":
	case "strong":
		how.Consistency = cluster.Strong
	default:
		q.wrong("consistency", "is neither local nor strong")
	}
	return how
}
