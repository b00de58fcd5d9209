package logs

import (
	"context"
	"log/slog"
	"strings"

	"hadir/cluster/loglimit"
)

// repeats lets a line through once a minute. The next one says how many there
// were in between.
//
// Two lines are the same when level, message and attributes are, where digits do
// not count in what changes by itself: errors (ports, counters), durations, and all
// that the libraries below say, except whom it is about. A change of leader is never
// the same line twice: its term is another one. Debug is for somebody who wants to
// see everything, and is not limited.
type repeats struct {
	next  slog.Handler
	limit *loglimit.Limit
	with  string // key of the attributes and groups of With
	lib   bool   // they name a component: a library speaks
}

// Enabled implements slog.Handler.
func (h *repeats) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		next.lib = next.lib || a.Key == "component"
	}
	var b strings.Builder
	b.WriteString(h.with)
	for _, a := range attrs {
		next.key(&b, a)
	}
	next.with = b.String()
	return &next
}

// WithGroup implements slog.Handler.
func (h *repeats) WithGroup(name string) slog.Handler {
	next := *h
	next.next = h.next.WithGroup(name)
	next.with += "\x00" + name + "."
	return &next
}

// Handle implements slog.Handler.
func (h *repeats) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.next.Handle(ctx, r)
	}
	var b strings.Builder
	b.WriteString(r.Level.String() + "\x00")
	if h.lib {
		writeWithoutDigits(&b, r.Message)
	} else {
		b.WriteString(r.Message)
	}
	b.WriteString(h.with)
	r.Attrs(func(a slog.Attr) bool {
		h.key(&b, a)
		return true
	})
	dropped, ok := h.limit.Take(b.String())
	if !ok {
		return nil
	}
	if dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", dropped))
	}
	return h.next.Handle(ctx, r)
}

// key writes what of an attribute makes a line the same.
func (h *repeats) key(b *strings.Builder, a slog.Attr) {
	switch a.Key {
	case "request", "stack", "took", "ms":
		return
	}
	b.WriteString("\x00" + a.Key + "=")
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindDuration:
	case identity(a.Key), !h.lib && a.Key != "error":
		b.WriteString(v.String())
	default:
		writeWithoutDigits(b, v.String())
	}
}

// identity reports whether an attribute says whom a line is about.
func identity(key string) bool {
	switch key {
	case "node", "peer", "server", "server-id", "target", "id", "name", "component":
		return true
	}
	return false
}

// writeWithoutDigits writes s with a # for each number.
func writeWithoutDigits(b *strings.Builder, s string) {
	inside := false
	for i := range len(s) {
		digit := s[i] >= '0' && s[i] <= '9'
		switch {
		case !digit:
			b.WriteByte(s[i])
		case !inside:
			b.WriteByte('#')
		}
		inside = digit
	}
}
