package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Handler writes records for people.
type Handler struct {
	mu     *sync.Mutex // one line at a time; shared by all that With made
	w      io.Writer
	least  slog.Leveler
	colour bool
	prefix string // the open groups, each with a dot
	fixed  string // attributes of With, already written out
}

// NewHandler returns a Handler that writes records of at least that level.
func NewHandler(w io.Writer, least slog.Leveler, colour bool) *Handler {
	return &Handler{mu: new(sync.Mutex), w: w, least: least, colour: colour}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least.Level() }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.fixed)
	for _, a := range attrs {
		h.attr(&b, h.prefix, a)
	}
	next := *h
	next.fixed = b.String()
	return &next
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.prefix += name + "."
	}
	return &next
}

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if !r.Time.IsZero() {
		b.WriteString(h.paint(dim, r.Time.Format("15:04:05.000")))
		b.WriteByte(' ')
	}
	b.WriteString(h.paint(colourOf(r.Level), fmt.Sprintf("%-5s", r.Level)))
	b.WriteByte(' ')
	b.WriteString(OneLine(r.Message))
	b.WriteString(h.fixed)
	r.Attrs(func(a slog.Attr) bool {
		h.attr(&b, h.prefix, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *Handler) attr(b *strings.Builder, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			h.attr(b, prefix, inner)
		}
		return
	}
	b.WriteByte(' ')
	b.WriteString(h.paint(dim, quote(prefix+a.Key)+"="))
	b.WriteString(quote(text(v)))
}

func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case slog.KindDuration:
		return short(v.Duration()).String()
	default:
		return v.String()
	}
}

// short drops the digits of a duration that nobody reads.
func short(d time.Duration) time.Duration {
	switch {
	case d >= time.Second || d <= -time.Second:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond || d <= -time.Millisecond:
		return d.Round(10 * time.Microsecond)
	default:
		return d
	}
}

// quote puts a value in quotes where it could be taken for something else.
func quote(s string) string {
	if s == "" {
		return `""`
	}
	for i, r := range s {
		if r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return strconv.Quote(s)
			}
		}
	}
	return s
}

const (
	dim    = "2"
	red    = "31"
	yellow = "33"
	green  = "32"
)

func colourOf(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return red
	case level >= slog.LevelWarn:
		return yellow
	case level >= slog.LevelInfo:
		return green
	default:
		return dim
	}
}

func (h *Handler) paint(colour, s string) string {
	if !h.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}
