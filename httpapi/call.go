package httpapi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// maxBody is the most that a request body may hold, but for a file of people.
const maxBody = 64 << 10

func (r *route) maxBody() int64 {
	switch r.path {
	case importPath:
		return maxImport
	case importsPath:
		return maxImportJob
	case importPagePath:
		return maxUpload
	case restorePath:
		return noLimit
	}
	return maxBody
}

// call is one request on its way through the door.
type call struct {
	api   *API
	w     *answer
	r     *http.Request
	route *route // nil when there is none for the path
	id    string
	began time.Time
	who   *visitor // nil when nobody is signed in
	note  attemptNote

	// What the handler took, for the check of the contract.
	params []string
	in     *object
}

// answer notes what is sent.
type answer struct {
	http.ResponseWriter
	status  int
	cleared func() error // whether the call may succeed
}

// WriteHeader implements http.ResponseWriter. It panics when a handler is about
// to answer what it did not ask whether it may; call.end makes a problem of it.
func (w *answer) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		if err := w.cleared(); err != nil {
			panic(err)
		}
	}
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The policy of everything that is served: own scripts, styles and images, and
// nothing else from anywhere.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// serve is the way of every request: what every answer has, then the router.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, w: &answer{ResponseWriter: w}, r: r, began: a.Clock.Now()}
	c.w.cleared = c.cleared
	c.id = c.requestID()
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("X-Hadir-Node", a.Node.Name())
	c.index(a.Node.Applied()) // the least that any read in this request sees
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	// What takes no deadline, such as a recorder in a test, has none.
	_ = http.NewResponseController(w).SetWriteDeadline(c.began.Add(answerTimeout))
	if r.ContentLength != 0 {
		// Also for a body that nobody reads: the server wants to see its end.
		_ = http.NewResponseController(w).SetReadDeadline(c.began.Add(a.BodyTimeout))
	}
	defer c.end()
	var match mux.RouteMatch
	if !a.router.Match(r, &match) || match.MatchErr != nil || match.Handler == nil {
		c.fail(notFound("There is nothing at this address."))
		return
	}
	c.r = mux.SetURLVars(r, match.Vars)
	methods, ok := match.Handler.(methods)
	if !ok {
		c.fail(notFound("There is nothing at this address."))
		return
	}
	c.dispatch(methods)
}

// dispatch checks what the route demands and calls it.
func (c *call) dispatch(m methods) {
	route, ok := m[c.r.Method]
	if !ok {
		p := newProblem(codeMethod, "")
		p.allow = m.allow()
		c.fail(p)
		return
	}
	c.route = route
	if err := c.enter(); err != nil {
		c.fail(err)
		return
	}
	if err := route.do(c); err != nil {
		c.fail(err)
	}
}

// enter is everything between the address and the handler.
func (c *call) enter() error {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, c.route.maxBody())
	// A browser cannot be made to send a bearer token by another site; a cookie
	// it can, and a sign-in, or an answer to nobody, too.
	if c.r.Header.Get("Authorization") == "" {
		if err := c.api.origin.Check(c.r); err != nil {
			return newProblem(codeCrossOrigin, "")
		}
	}
	if c.route.access.public() && !c.route.page {
		return nil // such as health, which is to answer when nothing can be read
	}
	who, err := c.authenticate()
	// A cookie that has run out is no reason to refuse a page that needs none.
	if err != nil && (!c.route.access.public() || !errors.Is(err, errNoSession)) {
		return err
	}
	if who != nil {
		who.reach = c.route.access.reach[kindOf(who)]
	}
	c.who = who
	if err := c.route.access.check(who); err != nil {
		return err
	}
	return c.inPace()
}

// end turns a panic into an answer, counts and logs.
func (c *call) end() {
	p := recover()
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	if p != nil {
		c.api.Log.Error("a request made the door panic", "request", c.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if c.w.status != 0 {
			panic(http.ErrAbortHandler) // too late for an answer
		}
		c.fail(newProblem(codeInternal, "The request id says where to look in the log."))
	}
	if c.api.trace != nil {
		c.api.trace(c)
	}
	c.remember()
	took := c.api.Clock.Now().Sub(c.began)
	path := "none"
	if c.route != nil {
		path = c.route.path
	}
	c.api.Metrics.served(c.r.Method, path, c.w.status, took)
	if !c.api.Log.Enabled(c.r.Context(), slog.LevelDebug) {
		return
	}
	c.api.Log.Debug("request", "request", c.id, "method", c.r.Method, "route", path, "status", c.w.status,
		"ms", took.Milliseconds(), "from", c.address())
}

// requestID takes the client's, if it is harmless, or makes one.
func (c *call) requestID() string {
	id := c.r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= 64
	for i := 0; ok && i < len(id); i++ {
		b := id[i]
		ok = b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
	}
	if ok {
		return id
	}
	var b [12]byte
	if _, err := io.ReadFull(c.api.Rand, b[:]); err != nil {
		c.api.Log.Error("no random bytes", "error", err)
	}
	return hex.EncodeToString(b[:])
}

func (c *call) index(index uint64) {
	c.w.Header().Set("X-Hadir-Index", strconv.FormatUint(index, 10))
}

// body reads the whole body, of one media type, in bounded time.
func (c *call) body(mediaType string) ([]byte, error) {
	got, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	if err != nil || got != mediaType || (given && !strings.EqualFold(charset, "utf-8")) {
		return nil, newProblem(codeUnsupportedType, "Send "+mediaType+" in UTF-8.")
	}
	if coding := c.r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, newProblem(codeUnsupportedType, "Send the body without a content encoding.")
	}
	body, err := io.ReadAll(c.r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		// The connection may be used again, at its leisure.
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, newProblem(codeTooLarge, fmt.Sprintf("A body holds at most %d KiB here.", tooLarge.Limit>>10))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newProblem(codeTimeout, "")
	}
	return nil, invalidField("", "ended early")
}

// object reads a JSON body.
func (c *call) object() (*object, error) {
	body, err := c.body("application/json")
	if err != nil {
		return nil, err
	}
	c.in, err = parseObject(body)
	return c.in, err
}

// json sends an answer.
func (c *call) json(status int, v any) error { return c.send(status, "application/json", v) }

func (c *call) send(status int, mediaType string, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", mediaType)
	return c.bytes(status, b.Bytes())
}

func (c *call) bytes(status int, b []byte) error {
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(status)
	// A client that has gone away is no error of ours.
	_, _ = c.w.Write(b)
	return nil
}

// plain sends lines of text.
func (c *call) plain(status int, text string) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return c.bytes(status, []byte(text))
}

// fail sends a problem, as a document or, to somebody who looks at a page, in
// plain words.
func (c *call) fail(err error) {
	p := *problemOf(err)
	c.failed(&p, err)
	if c.w.status != 0 {
		return // an answer is on its way
	}
	h := c.w.Header()
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="hadir"`)
	}
	if c.wantsPage() {
		c.notice(&p)
		return
	}
	p.Instance = "urn:hadir:request:" + c.id
	if err := c.send(p.Status, "application/problem+json", &p); err != nil {
		c.api.Log.Error("a problem could not be encoded", "request", c.id, "error", err)
	}
}

// failed notes and logs a problem, and says when to try again.
func (c *call) failed(p *problem, err error) {
	c.note.why = p.Code
	if p.Status >= http.StatusInternalServerError {
		// While there is no leader every tap comes here: that is counted, not told.
		level := slog.LevelDebug
		switch p.Code {
		case codeInternal, codeStorage:
			level = slog.LevelError
		case codeDemo, codeTransfer:
			level = slog.LevelWarn
		}
		c.api.Log.Log(c.r.Context(), level, "request failed", "request", c.id, "code", string(p.Code), "error", err)
	}
	if p.retry > 0 && c.w.status == 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
}

// wantsPage reports whether a person with a browser waits for the answer.
func (c *call) wantsPage() bool {
	if c.route != nil {
		return c.route.page
	}
	return !strings.HasPrefix(c.r.URL.Path, apiPrefix+"/") && strings.Contains(c.r.Header.Get("Accept"), "text/html")
}
