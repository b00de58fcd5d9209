// Package logs gives the two forms of hadir's log lines.
//
// Text is for a person at a terminal: time, level, message, then key=value, one
// line for each record, colours only where the output is a terminal. JSON is
// for collectors and is log/slog's own. Both escape what they print, so that
// nothing that came from outside can forge a line.
//
// The levels mean: error, a person has to act; warn, something is wrong that ends by
// itself or that the cluster bears; info, what changed; debug, for who looks for a
// mistake. From info on, no line is repeated more than once a minute.
package logs
