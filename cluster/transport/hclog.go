package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// NewHCLog returns an hclog.Logger that writes to logger with the attribute
// component=name. It is for raft.Config.Logger and for this package.
func NewHCLog(logger *slog.Logger, name string) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{
		// Everything reaches the sink and only the sink; slog decides.
		Level:  hclog.Off,
		Output: io.Discard,
	})
	l.RegisterSink(slogSink{logger.With("component", name)})
	return l
}

type slogSink struct{ logger *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	args = slices.Clone(args)
	for i, a := range args {
		// What the library formats late, such as lists of servers.
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.logger.Log(context.Background(), slogLevel(level), msg, args...)
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error, hclog.Warn:
		// What raft calls an error, such as a peer that does not answer, the cluster
		// bears. Where a person has to act, this program says so itself.
		return slog.LevelWarn
	case hclog.Info, hclog.NoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}
