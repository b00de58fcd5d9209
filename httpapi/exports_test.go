package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/httpapi"
)

const copyName = "mysql://db.example:3306/hadir"

// fakeExports is one target.
type fakeExports struct {
	mu    sync.Mutex
	fails error
	asked []string
	begun chan struct{} // closed when Verify has begun, which then waits …
	hold  chan struct{} // … for this one; when they are there
}

func (f *fakeExports) note(s string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(s, args...))
	return f.fails
}

func (f *fakeExports) Status(context.Context) ([]httpapi.ExportStatus, error) {
	return []httpapi.ExportStatus{{
		Target: copyName, Kind: "mysql", State: "stopped", Connected: true, Watermark: 40, LagEvents: 2, Lag: 1500 * time.Millisecond,
		Failure: &httpapi.ExportFailure{At: time.UnixMilli(1_764_000_000_000), Reason: "drift", Detail: "no such column"},
		Parked:  1, Events: []httpapi.ExportParked{{Seq: 7, Type: "user.updated", Reason: "no", Attempts: 2}}, Mark: 39, Exported: 40, Batches: 3,
	}}, nil
}

func (f *fakeExports) Reset(_ context.Context, target, how string) (string, error) {
	return "kept", f.note("reset %s %q", target, how)
}

func (f *fakeExports) Retry(_ context.Context, target string, seqs []uint64) (int, error) {
	return 2, f.note("retry %s %v", target, seqs)
}

func (f *fakeExports) Verify(_ context.Context, target string) (httpapi.ExportReport, error) {
	if err := f.note("verify %s", target); err != nil {
		return httpapi.ExportReport{}, err
	}
	if f.hold != nil {
		close(f.begun)
		<-f.hold
	}
	return httpapi.ExportReport{
		Target: target, Watermark: 40, Different: 1, Days: []httpapi.ExportDay{{Day: "2026-11-23", Events: 40, Rows: 40, Want: "ab", Got: "cd"}},
		Tables:      []httpapi.ExportTable{{Table: "users", Want: 3, Rows: 3, Equal: true}},
		Differences: []httpapi.ExportDifference{{Table: "users", Key: "3", Column: "name", Want: "Ani", Got: "Anu"}},
	}, nil
}

func withExports(t *testing.T) (*world, *fakeExports) {
	t.Helper()
	f := &fakeExports{}
	return newWorld(t, func(c *httpapi.Config) { c.Exports = f }), f
}

func TestExportStatus(t *testing.T) {
	w, _ := withExports(t)
	r := w.get(adminID, "/api/v1/export")
	w.want(r, http.StatusOK, "")
	want := `{"items":[{"target":"mysql://db.example:3306/hadir","kind":"mysql","state":"stopped","connected":true,"watermark":40,"lag_events":2,` +
		`"lag_s":1.5,"last_error":{"at":"2025-11-24T16:00:00.000Z","reason":"drift","detail":"no such column"},"parked":1,` +
		`"parked_events":[{"seq":7,"event_type":"user.updated","reason":"no","attempts":2,"retry":false}],"mark":39}]}`
	if got := strings.TrimSpace(string(r.body)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	metrics := string(w.get(0, "/metrics").body)
	for _, line := range []string{
		`hadir_export_lag_events{target="` + copyName + `"} 2`, `hadir_export_lag_seconds{target="` + copyName + `"} 1.5`,
		`hadir_export_watermark{target="` + copyName + `"} 40`, `hadir_export_parked{target="` + copyName + `"} 1`,
		`hadir_export_connected{target="` + copyName + `"} 1`, `hadir_export_running{target="` + copyName + `"} 0`,
		`hadir_export_events_total{target="` + copyName + `"} 40`, `hadir_export_batches_total{target="` + copyName + `"} 3`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}

func TestExportActs(t *testing.T) {
	w, f := withExports(t)
	before := w.node.proposals()
	r := w.do(adminID, "POST", "/api/v1/export/reset", `{"target":"`+copyName+`","how":"empty"}`)
	w.want(r, http.StatusOK, "")
	if r.at("decision") != "kept" || w.node.proposals() != before+1 {
		t.Errorf("%s, %d proposals", r.body, w.node.proposals()-before)
	}
	w.want(w.do(adminID, "POST", "/api/v1/export/reset", `{"target":"`+copyName+`"}`), http.StatusOK, "")
	r = w.do(adminID, "POST", "/api/v1/export/retry", `{"target":"`+copyName+`","seqs":[9,7]}`)
	w.want(r, http.StatusOK, "")
	if fmt.Sprint(r.at("retried")) != "2" {
		t.Errorf("%s", r.body)
	}
	r = w.do(adminID, "POST", "/api/v1/export/verify", `{"target":"`+copyName+`"}`)
	w.want(r, http.StatusOK, "")
	if r.at("equal") != false || !strings.Contains(string(r.body), `"want_sum":"ab"`) || !strings.Contains(string(r.body), `"column":"name"`) {
		t.Errorf("%s", r.body)
	}
	if got, want := strings.Join(f.asked, "; "), `reset `+copyName+` "empty"; reset `+copyName+` ""; retry `+copyName+` [7 9]; verify `+copyName; got != want {
		t.Errorf("asked: %s, want %s", got, want)
	}
	// What is wrong is refused before anything is written down or asked.
	before, asked := w.node.proposals(), len(f.asked)
	for _, path := range []string{"reset", "retry", "verify"} {
		for _, tc := range []struct {
			body   string
			status int
			code   string
		}{
			{`{}`, 400, "invalid_body"}, {`{"target":7}`, 400, "invalid_body"}, {`{"target":"` + copyName + `","x":1}`, 400, "invalid_body"},
			{`{"target":"` + strings.Repeat("x", 65) + `"}`, 400, "invalid_body"}, {`{"target":"mysql://other:3306/x"}`, 404, "not_found"},
		} {
			w.want(w.do(adminID, "POST", "/api/v1/export/"+path, tc.body), tc.status, tc.code)
		}
	}
	w.want(w.do(adminID, "POST", "/api/v1/export/reset", `{"target":"`+copyName+`","how":"drop"}`), 400, "invalid_body")
	w.want(w.do(adminID, "POST", "/api/v1/export/retry", `{"target":"`+copyName+`","seqs":[0]}`), 400, "invalid_body")
	if w.node.proposals() != before || len(f.asked) != asked {
		t.Error("something was done")
	}
}

func TestExportProblems(t *testing.T) {
	w, f := withExports(t)
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{httpapi.ErrInOrder, 409, "in_order"}, {httpapi.ErrNeedsEmpty, 409, "needs_empty"}, {httpapi.ErrConfigured, 409, "target_configured"},
		{httpapi.ErrUnknownTarget, 404, "not_found"}, {fmt.Errorf("%w: connection refused", httpapi.ErrTarget), 503, "target_unavailable"},
	} {
		f.fails = errors.Join(tc.err)
		w.want(w.do(adminID, "POST", "/api/v1/export/reset", `{"target":"`+copyName+`"}`), tc.status, tc.code)
	}
	w.want(w.do(adminID, "POST", "/api/v1/export/verify", `{"target":"`+copyName+`"}`), 503, "target_unavailable")
	w.want(w.do(adminID, "POST", "/api/v1/export/retry", `{"target":"`+copyName+`"}`), 503, "target_unavailable")
}

func TestOneVerificationAtATime(t *testing.T) {
	w, f := withExports(t)
	f.begun, f.hold = make(chan struct{}), make(chan struct{})
	token := w.tokenOf(adminID)
	first := make(chan int)
	go func() {
		r, err := http.NewRequest("POST", w.url+"/api/v1/export/verify", strings.NewReader(`{"target":"`+copyName+`"}`))
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			var answer *http.Response
			if answer, err = http.DefaultClient.Do(r); err == nil {
				answer.Body.Close() //nolint:errcheck // only its status counts
				first <- answer.StatusCode
				return
			}
		}
		first <- 0
	}()
	<-f.begun
	w.want(w.do(adminID, "POST", "/api/v1/export/verify", `{"target":"`+copyName+`"}`), http.StatusConflict, "busy")
	close(f.hold)
	if got := <-first; got != http.StatusOK {
		t.Errorf("the first one: %d", got)
	}
}
