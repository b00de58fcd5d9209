package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/queue/redistest"
	"hadir/store"
)

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// history is what all nodes of a cluster have: a real state machine over a real state.
type history struct {
	t       *testing.T
	machine *fsm.Machine

	mu      sync.Mutex
	applied uint64
	leader  string
	term    uint64
	nodes   map[string]*member
}

// member is one of its nodes.
type member struct {
	*history
	name    string
	answers map[string]cluster.Answerer
	hooks   *Hooks
	handed  []string
	refuse  error // to be handed anything
	unheard error // what becomes of proposals
	stop    func()
}

func newHistory(t *testing.T) *history {
	t.Helper()
	state, err := store.OpenState(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &history{t: t, term: 1, nodes: make(map[string]*member)}
	h.machine = fsm.New(state, fsm.Options{Halt: func(reason error) { t.Errorf("the state machine halted: %v", reason) }})
	h.note("first", "of all")
	return h
}

func (h *history) apply(c attendance.Command) (attendance.Outcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, err := attendance.EncodeEntry(attendance.Entry{
		Level: 1, Cluster: attendance.ClusterID{1, 2, 3}, ProposedAt: attendance.MillisOf(time.Now()), Commands: []attendance.Command{c},
	})
	if err != nil {
		return attendance.Outcome{}, err
	}
	out, err := h.machine.Apply([]fsm.Entry{{Index: h.applied + 1, Term: 1, Data: data}})
	if err != nil {
		return attendance.Outcome{}, err
	}
	h.applied++
	return out[0][0], nil
}

// note makes an event.
func (h *history) note(action, subject string) {
	h.t.Helper()
	o, err := h.apply(attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "a", Body: attendance.Audit{Action: action, Subject: subject},
	})
	if err != nil || o.Status != attendance.DoneStatus {
		h.t.Fatalf("%+v %v", o, err)
	}
}

func (h *history) lead(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leader = name
}

// become is a restore: of a history that has another epoch.
func (h *history) become(other *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.machine, h.applied = other.machine, other.applied
}

func (h *history) state() *store.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machine.State()
}

func (h *history) mark(hook string) (seq uint64) {
	err := h.state().View(func(tx *store.ReadTx) error {
		seq = tx.Marks()[MarkPrefix+hook]
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
	return seq
}

func (m *member) Name() string { return m.name }

func (m *member) Status() cluster.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cluster.Status{Node: m.name, Leader: m.leader}
}

func (m *member) IsLeader() (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.term, m.leader == m.name
}

func (m *member) Read(_ context.Context, _ cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error) {
	return cluster.Freshness{}, m.state().View(f)
}

func (m *member) Propose(_ context.Context, req cluster.Request) (cluster.Result, error) {
	if _, ok := m.IsLeader(); !ok {
		return cluster.Result{}, cluster.ErrNoLeader
	}
	m.mu.Lock()
	unheard := m.unheard
	m.mu.Unlock()
	if unheard != nil {
		return cluster.Result{}, unheard
	}
	o, err := m.apply(req.Command)
	return cluster.Result{Outcome: o}, err
}

func (m *member) Ask(ctx context.Context, name, question string, body []byte) ([]byte, error) {
	m.mu.Lock()
	other := m.nodes[name]
	m.mu.Unlock()
	if other == nil {
		return nil, cluster.ErrUnknownServer
	}
	return other.answers[question](ctx, body)
}

func (m *member) Answer(question string, f cluster.Answerer) { m.answers[question] = f }

// join adds a node that runs.
func (h *history) join(name, hooks string) *member {
	h.t.Helper()
	m := h.add(name, hooks, clock{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.hooks.Run(ctx) })
	m.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	h.t.Cleanup(m.stop)
	return m
}

// add adds a node that does not run.
func (h *history) add(name, hooks string, at Clock) *member {
	h.t.Helper()
	parsed, err := Parse(hooks)
	if err != nil {
		h.t.Fatal(err)
	}
	m := &member{history: h, name: name, answers: make(map[string]cluster.Answerer)}
	m.hooks, err = New(Config{Cluster: m, Clock: at, Log: slog.New(slog.DiscardHandler), Hooks: parsed, Pace: 50,
		HandOver: func(_ context.Context, hook, epoch string, seq uint64) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if m.refuse != nil {
				return m.refuse
			}
			m.handed = append(m.handed, fmt.Sprint(hook, " ", epoch, " ", seq))
			return nil
		}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.nodes[name] = m
	h.mu.Unlock()
	return m
}

func (m *member) status() Status {
	m.t.Helper()
	all, err := m.hooks.Status(m.t.Context())
	if err != nil || len(all) == 0 {
		m.t.Fatal(all, err)
	}
	return all[0]
}

func (m *member) ready() {
	m.t.Helper()
	redistest.Await(m.t, m.name+" delivers", func() bool { s := m.status(); return s.State == Delivering && s.Node == m.name && m.mark("h") > 0 })
}

const secret = "0123456789abcdef-secret"

// endpoint notes what it gets.
type endpoint struct {
	t *testing.T
	*httptest.Server

	mu     sync.Mutex
	got    []string // subjects of notes
	tries  int
	epoch  int
	answer func(subject string) int
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{t: t, epoch: 1, answer: func(string) int { return http.StatusNoContent }}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		e.t.Error(err)
	}
	at := r.Header.Get("X-Hadir-Timestamp")
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write([]byte(at + "."))
	sum.Write(body)
	if got, want := r.Header.Get("X-Hadir-Signature"), "v1="+hex.EncodeToString(sum.Sum(nil)); got != want {
		e.t.Errorf("signature %s, want %s", got, want)
	}
	var event struct {
		Seq  uint64
		Type string
		Data struct{ Subject string }
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := json.Unmarshal(body, &event); err != nil || r.Header.Get("X-Hadir-Id") != fmt.Sprintf("0102-%d/%d", e.epoch, event.Seq) ||
		r.Header.Get("X-Hadir-Event") != event.Type || r.Header.Get("Content-Type") != "application/json" || r.Method != http.MethodPost {
		e.t.Errorf("%s %v: %s, %v", r.Method, r.Header, body, err)
	}
	e.tries++
	status := e.answer(event.Data.Subject)
	if status/100 == 2 {
		e.got = append(e.got, event.Data.Subject)
	}
	if status == http.StatusFound {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = w.Write(make([]byte, 1<<10)) // not for 204, and not asked for
}

func (e *endpoint) set(f func(subject string) int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

func (e *endpoint) tried() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tries
}

func (e *endpoint) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.got)
}

func (e *endpoint) await(want ...string) {
	e.t.Helper()
	redistest.Await(e.t, fmt.Sprintf("%v, got %v", want, e.all()), func() bool { return slices.Equal(e.all(), want) })
}

func (e *endpoint) line(more string) string {
	return "# a comment\n\nh " + e.URL + "/hook?x=1 " + secret + " " + more + "\n"
}

// TestDelivery: from the event after it was first seen on, in order, through a leader
// change, and only what is wanted.
func TestDelivery(t *testing.T) {
	e, h := newEndpoint(t), newHistory(t)
	hooks := e.line("audit.noted private")
	a, b := h.join("a", hooks), h.join("b", hooks)
	if s := b.status(); s.State != Standby || s.Place != e.URL || strings.Contains(fmt.Sprint(s), secret) {
		t.Errorf("nobody leads: %+v", s)
	}
	h.lead("a")
	a.ready()
	h.note("x", "1")
	if _, err := h.apply(attendance.Command{Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "a", Body: attendance.PutGroup{Name: "X", Kind: attendance.Class}}); err != nil {
		t.Fatal(err)
	}
	h.note(auditPrefix+"refused", "by itself")
	h.note("x", "2")
	e.await("1", "2")
	redistest.Await(t, "the mark follows", func() bool { return h.mark("h") == 5 })
	h.lead("b")
	h.note("x", "3")
	e.await("1", "2", "3")
	redistest.Await(t, "the mark follows again", func() bool { return h.mark("h") == 6 })
	if s := a.status(); s.Node != "b" || s.Seq != 6 || s.Lag != 0 || s.Reason != "" || !slices.Equal(s.Kinds, []string{"audit.noted"}) {
		t.Errorf("as a sees it: %+v", s)
	}
	if err := a.hooks.Redeliver(t.Context(), "h", "0102-1", 2); err != nil {
		t.Error(err)
	}
	e.await("1", "2", "3", "1")
	for _, bad := range []struct {
		hook, epoch string
		seq         uint64
		want        error
	}{
		{"other", "0102-1", 2, ErrUnknown}, {"h", "0102-1", 0, ErrUnknown}, // not kept
		{"h", "0102-2", 2, ErrUnknown}, {"h", "", 2, ErrUnknown}, // another history
		{"h", "0102-2", 99, ErrUnknown}, {"h", "0102-1", 99, cluster.ErrBehind},
		{"h", "0102-1", 3, ErrUnknown}, {"h", "0102-1", 4, ErrUnknown}, // not wanted: a group, and what it tells itself
	} {
		err := a.hooks.Redeliver(t.Context(), bad.hook, bad.epoch, bad.seq)
		if !errors.Is(err, bad.want) || errors.Is(err, ErrUnknown) != errors.Is(bad.want, ErrUnknown) {
			t.Errorf("%s %s %d: %v", bad.hook, bad.epoch, bad.seq, err)
		}
	}
	e.await("1", "2", "3", "1")
}

// TestEndpointDown: nothing is skipped while an endpoint does not answer, or says that
// it cannot.
func TestEndpointDown(t *testing.T) {
	e, h := newEndpoint(t), newHistory(t)
	hang := make(chan struct{})
	a := h.join("a", e.line("all private"))
	h.lead("a")
	a.ready()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, 0} {
		e.set(func(string) int {
			if status == 0 {
				<-hang
				return http.StatusOK
			}
			return status
		})
		before := len(e.all())
		e.mu.Lock()
		tries := e.tries
		e.mu.Unlock()
		h.note("x", fmt.Sprint(status))
		redistest.Await(t, "it waits", func() bool { s := a.status(); return s.State == Pausing && s.Lag == 1 && s.Reason != "" })
		if strings.Contains(a.status().Reason, "hook?x=1") {
			t.Errorf("the URL is told: %s", a.status().Reason)
		}
		if status == 0 {
			close(hang)
		} else {
			redistest.Await(t, "it is tried more often than a refusal would be", func() bool {
				e.mu.Lock()
				defer e.mu.Unlock()
				return e.tries-tries > refusals+1
			})
		}
		e.set(func(string) int { return http.StatusOK })
		redistest.Await(t, "it is delivered", func() bool { return len(e.all()) > before && a.status().Lag == 0 })
	}
	if len(a.handed) != 0 {
		t.Errorf("handed over: %v", a.handed)
	}
}

// TestRefusal: what an endpoint refuses is handed over, and told once to the audit
// trail, and the next event has its turn.
func TestRefusal(t *testing.T) {
	e, h := newEndpoint(t), newHistory(t)
	a := h.join("a", e.line("all private"))
	h.lead("a")
	a.ready()
	a.mu.Lock()
	a.refuse = errors.New("full")
	a.mu.Unlock()
	e.set(func(subject string) int {
		return map[string]int{"bad": http.StatusBadRequest, "moved": http.StatusFound, "worse": http.StatusInternalServerError}[subject] + map[bool]int{true: 200}[subject == "good"]
	})
	h.note("x", "bad")
	redistest.Await(t, "nobody takes it", func() bool { return strings.Contains(a.status().Reason, "full") })
	tries := e.tried()
	e.set(func(subject string) int { // in another way
		return map[string]int{"bad": http.StatusGone, "moved": http.StatusFound, "worse": http.StatusInternalServerError}[subject] + map[bool]int{true: 200}[subject == "good"]
	})
	redistest.Await(t, "it says so", func() bool {
		s := a.status()
		return s.State == Pausing && strings.Contains(s.Reason, "full") && e.tried() > tries+1
	})
	if s := a.status(); s.Lag < 1 || s.Seq != 1 {
		t.Errorf("it was passed: %+v", s)
	}
	a.mu.Lock()
	a.refuse = nil
	a.mu.Unlock()
	h.note("x", "good")
	h.note("x", "moved")
	h.note("x", "worse")
	h.note("x", "good")
	e.await("good", "good")
	redistest.Await(t, "all are handed over", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.handed) == 3 && a.handed[0] == "h 0102-1 2"
	})
	told := 0
	err := h.state().View(func(tx *store.ReadTx) error {
		for seq := uint64(1); seq <= tx.Meta().Seq; seq++ {
			event, err := tx.Event(seq)
			if err != nil {
				return err
			}
			if event.Type == attendance.ActRefused {
				t.Errorf("event %d: %+v", seq, event.Detail)
			}
			if n, ok := event.Detail.(attendance.AuditNote); ok && n.Action == "webhook.refused" {
				told++
			}
		}
		return nil
	})
	if err != nil || told != 3 {
		t.Errorf("the audit trail was told %d times, %v", told, err)
	}
	if err := a.hooks.Redeliver(t.Context(), "h", "0102-1", 2); !errors.Is(err, errRefused) {
		t.Errorf("once more: %v", err)
	}
}

func TestPrivateAddress(t *testing.T) {
	e, h := newEndpoint(t), newHistory(t)
	a := h.join("a", e.line("all"))
	h.lead("a")
	a.ready()
	h.note("x", "1")
	redistest.Await(t, "it says why", func() bool { return strings.Contains(a.status().Reason, "not public") })
	if len(e.all()) != 0 {
		t.Error("it was delivered")
	}
	for address, ok := range map[string]bool{
		"127.0.0.1:80": false, "10.1.2.3:80": false, "192.168.0.1:443": false, "169.254.169.254:80": false, "0.0.0.0:1": false, "100.64.0.1:1": false,
		"[::1]:80": false, "[fe80::1]:80": false, "[fd00::1]:80": false, "[::ffff:127.0.0.1]:80": false, "224.0.0.1:80": false, "[64:ff9b::7f00:1]:80": false,
		"[2002:7f00:1::1]:80": false, "[2001::1]:80": false, "[64:ff9b:1::7f00:1]:80": false, "240.0.0.1:80": false, "192.0.0.8:80": false,
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true, "x": false,
	} {
		if err := public(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestParse(t *testing.T) {
	hooks, err := Parse("a https://h.test/x " + secret + " attendance.accepted,review.rejected\r\n\n #c\nb-1 http://h.test:81 " + secret + " all private\n")
	if err != nil || len(hooks) != 2 || hooks[0].Private || !hooks[1].Private || len(hooks[0].Kinds) != 2 || hooks[1].Kinds != nil || string(hooks[0].Secret) != secret {
		t.Fatalf("%+v %v", hooks, err)
	}
	line := func(name, url, word, kinds string) string { return strings.Join([]string{name, url, word, kinds}, " ") }
	for _, bad := range []string{
		"a", line("A", "https://h", secret, "all"), line("a", "ftp://h", secret, "all"), line("a", "https://", secret, "all"),
		line("a", "https://u:p@h/", secret, "all"), line("a", "https://h/#x", secret, "all"), line("a", "https://h", "short-secret", "all"),
		line("a", "https://h", secret, "attendance.*"), line("a", "https://h", secret, "all public"), line("a", "https://h", secret, "all private x"),
		line("a", "https://h", secret, "all") + "\n" + line("a", "https://h", secret, "all"), line(strings.Repeat("a", 33), "https://h", secret, "all"),
	} {
		if _, err := Parse(bad); err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	var many strings.Builder
	for i := range maxHooks + 1 {
		fmt.Fprintln(&many, line(fmt.Sprint("h", i), "https://h", secret, "all"))
	}
	if _, err := Parse(many.String()); err == nil {
		t.Error("too many hooks")
	}
}
