package webhook

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hadir/attendance"
)

// Hook is somebody who is told of events.
type Hook struct {
	Name   string
	URL    *url.URL
	Secret []byte
	Kinds  []attendance.EventType // nil for all
	// Private says that the address may be one that is not public.
	Private bool
}

const (
	maxHooks  = 8
	minSecret = 16
	// MarkPrefix begins the names of the marks of hooks, beside those of export targets.
	MarkPrefix = "webhook:"
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Parse reads hooks, one a line:
//
//	name  url  secret  kind,kind,…|all  [private]
//
// Empty lines and those that begin with # are passed over. An error names the line and
// never what is in it: it may be a secret.
func Parse(text string) (hooks []Hook, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		h, err := parseLine(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if slices.ContainsFunc(hooks, func(other Hook) bool { return other.Name == h.Name }) {
			return nil, fmt.Errorf("line %d: there is a hook of this name already", n)
		}
		if hooks = append(hooks, h); len(hooks) > maxHooks {
			return nil, fmt.Errorf("there are more than %d hooks", maxHooks)
		}
	}
	return hooks, nil
}

func parseLine(words []string) (h Hook, err error) {
	switch {
	case len(words) == 5 && words[4] == "private":
		h.Private = true
	case len(words) != 4:
		return h, errors.New("a hook is: name url secret kinds, and perhaps the word private")
	}
	if h.Name = words[0]; !namePattern.MatchString(h.Name) {
		return h, errors.New("a name has 1 … 32 lower-case letters, digits and dashes")
	}
	if h.URL, err = url.Parse(words[1]); err != nil || h.URL.Scheme != "http" && h.URL.Scheme != "https" || h.URL.Hostname() == "" ||
		h.URL.User != nil || h.URL.Fragment != "" {
		return h, errors.New("a URL is http://host/… or https://host/…, without a user")
	}
	if h.Secret = []byte(words[2]); len(h.Secret) < minSecret {
		return h, fmt.Errorf("a secret has at least %d characters", minSecret)
	}
	if words[3] == "all" {
		return h, nil
	}
	for word := range strings.SplitSeq(words[3], ",") {
		kind, known := attendance.ParseEventType(word)
		if !known {
			return h, errors.New("kinds are types of events as in GET /logs, such as attendance.accepted, divided by commas, or all")
		}
		h.Kinds = append(h.Kinds, kind)
	}
	return h, nil
}

// wants reports whether an event is to be delivered.
func (h *Hook) wants(e attendance.Event) bool {
	if note, ok := e.Detail.(attendance.AuditNote); ok && strings.HasPrefix(note.Action, auditPrefix) {
		return false
	}
	return h.Kinds == nil || slices.Contains(h.Kinds, e.Type)
}

// place is where a hook delivers to, for people: a path may hold a secret.
func (h *Hook) place() string { return h.URL.Scheme + "://" + h.URL.Host }
