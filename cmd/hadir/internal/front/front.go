package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what New needs. Fields without "optional" are required.
type Config struct {
	Nodes []Node
	Log   *slog.Logger
	// MaxBody is how much of a body is kept for another try. Optional: 64 KiB.
	MaxBody int
	// Patience bounds the wait for the beginning of an answer that another node
	// could give instead. It must be longer than a node needs to say "no leader".
	// Optional: 4 s.
	Patience time.Duration
	// ProbeEvery is the time between two probes of a node that is out of turn.
	// Optional: 250 ms.
	ProbeEvery time.Duration
}

const (
	defaultMaxBody    = 64 << 10
	defaultPatience   = 4 * time.Second
	defaultProbeEvery = 250 * time.Millisecond

	dialTimeout = time.Second
	// slowPatience is for what must not be tried twice: a sign-in may queue, a
	// report may take long.
	slowPatience = time.Minute
)

var errNoNode = errors.New("no node answers")

// Front is an http.Handler. Close it to end its probes.
type Front struct {
	cfg   Config
	turns []*turn
	next  atomic.Uint64

	proxy       *httputil.ReverseProxy
	quick, slow *http.Transport

	life context.Context
	end  context.CancelFunc
	mu   sync.Mutex // no probe begins after life has ended
	wg   sync.WaitGroup
}

// New returns a front for the nodes; all are in turn at first.
func New(cfg Config) *Front {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = defaultProbeEvery
	}
	f := &Front{cfg: cfg, quick: transport(cfg.Patience), slow: transport(slowPatience)}
	f.life, f.end = context.WithCancel(context.Background())
	for _, n := range cfg.Nodes {
		f.turns = append(f.turns, &turn{Node: n})
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    f,
		ErrorHandler: f.explain,
		// Streams are pushed out as they come.
		FlushInterval: -1,
		ErrorLog:      log.New(debugLog{cfg.Log}, "", 0),
	}
	return f
}

// Close ends the probes and the idle connections. Requests that are under way
// go on.
func (f *Front) Close() {
	f.mu.Lock()
	f.end()
	f.mu.Unlock()
	f.wg.Wait()
	f.quick.CloseIdleConnections()
	f.slow.CloseIdleConnections()
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.proxy.ServeHTTP(w, r) }

func transport(patience time.Duration) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: patience,
		// What the node sent is what the browser gets.
		DisableCompression: true,
	}
}

func rewrite(p *httputil.ProxyRequest) {
	p.SetXForwarded()
	// Nodes compare Origin and Host: keep what the browser asked for.
	p.Out.Host = p.In.Host
}

// explain answers for a request that no node answered.
func (f *Front) explain(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is there to read it
	}
	status, code, detail := http.StatusBadGateway, "no_node", "No node answered. Reads and keyed check-ins were tried on every node; anything else may or may not have been done."
	if errors.Is(err, errUnknownNode) {
		status, code, detail = http.StatusNotFound, "not_found", "There is no node of that name behind this front."
	}
	f.cfg.Log.Debug("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusBadGateway {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{ //nolint:errcheck // the client is gone then
		"type": "about:blank", "title": http.StatusText(status), "status": status,
		"code": code, "detail": detail, "instance": r.URL.Path,
	})
}

var errUnknownNode = errors.New("unknown node")

// RoundTrip implements http.RoundTripper: it picks the node, and another one
// where that is allowed. req is a copy that is this method's own.
func (f *Front) RoundTrip(req *http.Request) (*http.Response, error) {
	if id, path, ok := byName(req.URL); ok {
		return f.named(req, id, path)
	}
	if !mayMoveOn(req) {
		order, _ := f.order()
		t := order[0]
		resp, err := f.slow.RoundTrip(aim(req, t.URL))
		if err != nil && req.Context().Err() == nil {
			f.fail(t, err)
		}
		return resp, err
	}
	return f.moveOn(req)
}

func (f *Front) moveOn(req *http.Request) (*http.Response, error) {
	rewind, whole, err := keep(req, f.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	last := errNoNode
	order, in := f.order()
	if !whole {
		order, in = order[:1], 1
	}
	for i, t := range order {
		resp, err := f.quick.RoundTrip(aim(rewind(), t.URL))
		switch {
		case err != nil && req.Context().Err() != nil:
			return nil, err
		case err != nil:
			f.fail(t, err)
			last = err
		case i < in-1 && (resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable):
			// Drained a little, so that the connection can be used again.
			io.CopyN(io.Discard, resp.Body, 4<<10) //nolint:errcheck // best effort
			resp.Body.Close()                      //nolint:errcheck // only the status counted
		default:
			return resp, nil
		}
	}
	return nil, last
}

// order gives the nodes to try: those in turn, from the next one on, and how many
// these are. The others come last instead of never, because what the front
// thinks of them may be out of date; an answer of a node in turn is not passed
// over for them.
func (f *Front) order() (order []*turn, in int) {
	n := len(f.turns)
	start := int(f.next.Add(1) % uint64(n))
	var out []*turn
	for i := range n {
		if t := f.turns[(start+i)%n]; t.out.Load() {
			out = append(out, t)
		} else {
			order = append(order, t)
		}
	}
	if len(order) == 0 {
		return out, n
	}
	return append(order, out...), len(order)
}

func (f *Front) named(req *http.Request, id, path string) (*http.Response, error) {
	for _, t := range f.turns {
		if t.ID == id {
			out := aim(req, t.URL)
			u := *out.URL
			var err error
			if u.Path, err = url.PathUnescape(path); err != nil {
				return nil, err
			}
			u.RawPath = path
			out.URL = &u
			if req.Method == http.MethodGet || req.Method == http.MethodHead {
				return f.quick.RoundTrip(out)
			}
			return f.slow.RoundTrip(out)
		}
	}
	return nil, errUnknownNode
}

// byName takes /n/{id}/rest apart; path is escaped.
func byName(u *url.URL) (id, path string, ok bool) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), "/n/")
	if !ok {
		return "", "", false
	}
	id, path, _ = strings.Cut(rest, "/")
	return id, "/" + path, id != ""
}

// mayMoveOn reports whether a request may be sent to a second node although the
// first one may have done it.
func mayMoveOn(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodPost:
		return r.URL.Path == "/api/v1/checkins" && r.Header.Get("Idempotency-Key") != ""
	}
	return false
}

// keep reads the body so that it can be sent again. rewind gives the request
// anew each time; whole is false when the body was too large to keep, and then
// rewind may be called once.
func keep(req *http.Request, most int) (rewind func() *http.Request, whole bool, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return func() *http.Request { return req }, true, nil
	}
	head, err := io.ReadAll(io.LimitReader(req.Body, int64(most)+1))
	if err != nil {
		return nil, false, err
	}
	if len(head) > most {
		rest := req.Body
		return func() *http.Request {
			req.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(head), rest), rest}
			return req
		}, false, nil
	}
	req.Body.Close() //nolint:errcheck // read to its end
	return func() *http.Request {
		again := *req
		again.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(head)), nil }
		again.Body, _ = again.GetBody()
		again.ContentLength = int64(len(head))
		again.TransferEncoding = nil
		return &again
	}, true, nil
}

// aim sends a copy of the request to a node.
func aim(req *http.Request, node *url.URL) *http.Request {
	out := *req
	u := *req.URL
	u.Scheme, u.Host = node.Scheme, node.Host
	out.URL = &u
	return &out
}

// debugLog turns the proxy's own lines into debug records.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
