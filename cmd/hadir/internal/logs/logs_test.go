package logs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestHandlerWritesOneReadableLine(t *testing.T) {
	at := time.Date(2026, 11, 23, 6, 58, 14, 11_000_000, time.Local)
	for _, tc := range []struct {
		name string
		log  func(l *slog.Logger)
		want string
	}{
		{"plain", func(l *slog.Logger) { l.Info("node is up", "node", "n1", "took", 1234567*time.Nanosecond) },
			"INFO  node is up node=n1 took=1.23ms"},
		{"quoted", func(l *slog.Logger) { l.Warn("odd", "error", errors.New("a b\nc=d"), "empty", "") },
			`WARN  odd error="a b\nc=d" empty=""`},
		{"no forged line", func(l *slog.Logger) { l.Error("first\nINFO second") }, "ERROR first INFO second"},
		{"with and group", func(l *slog.Logger) {
			l.With("component", "raft").WithGroup("peer").With("id", 3).Info("x", slog.Group("at", "term", 7))
		}, "INFO  x component=raft peer.id=3 peer.at.term=7"},
		{"below the level", func(l *slog.Logger) { l.Debug("nothing") }, ""},
		{"broken text", func(l *slog.Logger) { l.Info("x", "name", "\xff") }, `INFO  x name="\xff"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.log(slog.New(fixedTime{NewHandler(&out, slog.LevelInfo, false), at}))
			got := strings.TrimSuffix(out.String(), "\n")
			if want := tc.want; want == "" && got != "" || want != "" && got != "06:58:14.011 "+want {
				t.Fatalf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestNewRefusesUnknownWords(t *testing.T) {
	for _, tc := range []struct{ format, level string }{{"xml", "info"}, {"text", "loud"}} {
		if _, err := New(&bytes.Buffer{}, tc.format, tc.level); err == nil {
			t.Errorf("New(%q, %q) gave no error", tc.format, tc.level)
		}
	}
	var out bytes.Buffer
	l, err := New(&out, JSON, "warn")
	if err != nil {
		t.Fatal(err)
	}
	l.Info("hidden")
	l.Warn("shown")
	if got := out.String(); !strings.Contains(got, `"msg":"shown"`) || strings.Contains(got, "hidden") {
		t.Fatalf("got %q", got)
	}
}

func TestOneLine(t *testing.T) {
	if got := OneLine(" a\tb\r\n\x1b[2Jc "); got != "a b [2Jc" {
		t.Fatalf("got %q", got)
	}
}
