package gossip

import (
	"context"
	"log/slog"
	"strings"

	"hadir/cluster/loglimit"
)

const (
	maxLogLine = 300
	// logKeyLen is how much of a line makes it "the same" for the limit: the
	// kind of event and usually the node, without ports and counters.
	logKeyLen = 48
)

// logBridge is the io.Writer below memberlist's log.Logger. memberlist logs no
// key material, but it prints whole descriptions of nodes as numbers, so lines
// are cut.
type logBridge struct {
	logger *slog.Logger
	limit  *loglimit.Limit
}

// Write takes one line. It never fails: a log line is not worth an error.
func (b *logBridge) Write(p []byte) (int, error) {
	level, msg := parseLine(string(p))
	if level >= slog.LevelWarn && !b.limit.Allow("memberlist "+msg[:min(len(msg), logKeyLen)]) {
		return len(p), nil
	}
	b.logger.Log(context.Background(), level, msg)
	return len(p), nil
}

func parseLine(line string) (slog.Level, string) {
	line = strings.TrimSpace(line)
	level := slog.LevelInfo
	if tag, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(tag, "[") {
		switch tag[1:] {
		case "ERR", "ERROR", "WARN":
			// What the library calls an error, the cluster bears.
			level, line = slog.LevelWarn, rest
		case "INFO":
			line = rest
		case "DEBUG":
			level, line = slog.LevelDebug, rest
		}
	}
	line = strings.TrimPrefix(line, "memberlist: ")
	if strings.Contains(line, "unacceptable label") {
		return slog.LevelWarn, "refused a node with another cluster key: " + line
	}
	// Consequences of our own veto, which has logged its reason already.
	for _, vetoed := range []string{"ignoring alive message for", "Failed push/pull merge"} {
		if strings.HasPrefix(line, vetoed) {
			level = slog.LevelDebug
		}
	}
	if len(line) > maxLogLine {
		line = line[:maxLogLine] + "…"
	}
	return level, line
}
