package transport

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func TestTheSameSnapshotAgainAndAgain(t *testing.T) {
	var log bytes.Buffer
	w := installs{logger: slog.New(slog.NewTextHandler(&log, nil)), byID: make(map[raft.ServerID]install)}
	w.count("a", 10)
	w.count("a", 10)
	w.count("b", 10)
	w.count("a", 20) // a newer one: it may still get on
	if w.stuck("a") || w.stuck("b") || log.Len() > 0 {
		t.Fatalf("stuck too early: %s", &log)
	}
	for range 4 {
		w.count("a", 20)
	}
	if !w.stuck("a") || w.stuck("b") || strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("three times the same: stuck %v %v, log %s", w.stuck("a"), w.stuck("b"), &log)
	}
	w.progress("a")
	if w.stuck("a") {
		t.Error("still stuck after it took entries")
	}
}
