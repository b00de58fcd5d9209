package httpapi

import (
	"log/slog"
	"net/http"
	"time"
)

// Limits of a connection. Reading a body and writing an answer have deadlines of
// their own in each request, because a stream has neither.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// NewServer gives a server that is hard to hold up: headers must arrive soon and
// be small, and idle connections end. Its complaints about clients go to the log
// at level debug, because anybody can cause them.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
