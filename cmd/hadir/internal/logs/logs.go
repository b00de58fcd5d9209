package logs

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"hadir/cluster/loglimit"
)

// The formats of New.
const (
	Text = "text"
	JSON = "json"
)

// New returns a logger that writes to w in the given format, from the given
// level (debug, info, warn or error) on. From info on, no line is repeated more
// than once a minute.
func New(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", level)
	}
	var form slog.Handler
	switch format {
	case JSON:
		form = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least})
	case Text:
		form = NewHandler(w, least, colours(w))
	default:
		return nil, fmt.Errorf("log format %q is neither text nor json", format)
	}
	return slog.New(&repeats{next: form, limit: loglimit.New(time.Now)}), nil
}

// colours reports whether colours make sense on w.
func colours(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

// IsTerminal reports whether a person looks at what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// OneLine makes one line of s: line breaks and other control characters become
// spaces.
func OneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
