package logs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"hadir/cluster/loglimit"
)

func TestALineIsWrittenOnceAMinute(t *testing.T) {
	type step struct {
		after time.Duration
		log   func(l *slog.Logger)
	}
	refused := func(peer, why string) func(*slog.Logger) {
		return func(l *slog.Logger) { l.Warn("refused", "peer", peer, "error", errors.New(why)) }
	}
	raft := func(msg string, args ...any) func(*slog.Logger) {
		return func(l *slog.Logger) { l.With("component", "raft").Warn(msg, args...) }
	}
	leader := func(term int) func(*slog.Logger) {
		return func(l *slog.Logger) { l.Info("leader", "leader", "n1", "term", term) }
	}
	for _, tc := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{"the same", []step{{0, refused("n2", "x")}, {0, refused("n2", "x")}, {30 * time.Second, refused("n2", "x")}, {30 * time.Second, refused("n2", "x")}},
			[]string{"WARN  refused peer=n2 error=x", "WARN  refused peer=n2 error=x repeated=2"}},
		{"another peer", []step{{0, refused("n2", "x")}, {0, refused("n3", "x")}}, []string{"WARN  refused peer=n2 error=x", "WARN  refused peer=n3 error=x"}},
		{"another port", []step{{0, refused("n2", "port 7401")}, {0, refused("n2", "port 53244")}}, []string{`WARN  refused peer=n2 error="port 7401"`}},
		{"another error", []step{{0, refused("n2", "timeout")}, {0, refused("n2", "refused")}}, []string{"WARN  refused peer=n2 error=timeout", "WARN  refused peer=n2 error=refused"}},
		{"terms of the library", []step{{0, raft("election", "term", 7)}, {0, raft("election", "term", 8)}}, []string{"WARN  election component=raft term=7"}},
		{"whom the library means", []step{{0, raft("no vote", "id", "n2")}, {0, raft("no vote", "id", "n3")}},
			[]string{"WARN  no vote component=raft id=n2", "WARN  no vote component=raft id=n3"}},
		{"each leader", []step{{0, leader(7)}, {0, leader(8)}}, []string{"INFO  leader leader=n1 term=7", "INFO  leader leader=n1 term=8"}},
		{"requests", []step{{0, func(l *slog.Logger) { l.Info("failed", "request", "aa") }}, {0, func(l *slog.Logger) { l.Info("failed", "request", "bb") }}},
			[]string{"INFO  failed request=aa"}},
		{"debug", []step{{0, func(l *slog.Logger) { l.Debug("a") }}, {0, func(l *slog.Logger) { l.Debug("a") }}}, []string{"DEBUG a", "DEBUG a"}},
		{"groups", []step{{0, func(l *slog.Logger) { l.WithGroup("a").Info("x", "b", 1) }}, {0, func(l *slog.Logger) { l.WithGroup("c").Info("x", "b", 1) }}},
			[]string{"INFO  x a.b=1", "INFO  x c.b=1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			now := time.Unix(0, 0)
			l := slog.New(&repeats{
				next: fixedTime{NewHandler(&out, slog.LevelDebug, false), time.Time{}}, limit: loglimit.New(func() time.Time { return now }),
			})
			for _, s := range tc.steps {
				now = now.Add(s.after)
				s.log(l)
			}
			if got, want := out.String(), strings.Join(tc.want, "\n")+"\n"; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestEveryFormIsLimited(t *testing.T) {
	for _, format := range []string{Text, JSON} {
		var out bytes.Buffer
		l, err := New(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			l.Info("again")
		}
		if n := strings.Count(out.String(), "again"); n != 1 {
			t.Errorf("%s: %d lines", format, n)
		}
	}
}
