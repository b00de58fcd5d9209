// Package logs gives the two forms of hadir's log lines.
//
// Text is for a person at a terminal: time, level, message, then key=value, one
// line for each record, colours only where the output is a terminal. JSON is
// for collectors and is log/slog's own. Both escape what they print, so that
// nothing that came from outside can forge a line.
package logs
