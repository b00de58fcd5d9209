package logs

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// The formats of New.
const (
	Text = "text"
	JSON = "json"
)

// New returns a logger that writes to w in the given format, from the given
// level (debug, info, warn or error) on.
func New(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", level)
	}
	switch format {
	case JSON:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least})), nil
	case Text:
		return slog.New(NewHandler(w, least, isTerminal(w))), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", format)
}

// isTerminal reports whether colours make sense on w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
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
