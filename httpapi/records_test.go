package httpapi_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hadir/attendance"
	"hadir/attendance/eventjson"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

// recorded has a tap decided that had waited in the outbox of n3 since a moment.
func (w *world) recorded(user uint64, kind attendance.Kind, key string, since time.Time) attendance.Outcome {
	w.t.Helper()
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	result, err := w.node.apply(cluster.Request{ReceivedAt: since, Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: key, Node: "n3",
		Body: attendance.CheckIn{UserID: user, Kind: kind, Recorded: true},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return result.Outcome
}

// rows reads CSV.
func rows(t testing.TB, body []byte) [][]string {
	t.Helper()
	in := csv.NewReader(bytes.NewReader(body))
	all, err := in.ReadAll()
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return all
}

func column(rows [][]string, name string) []string {
	i := slices.Index(rows[0], name)
	out := []string{}
	for _, r := range rows[1:] {
		out = append(out, r[i])
	}
	return out
}

func TestCSV(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(budiID)
	w.node.setUp(t, attendance.PutUser{UserID: budiID, Name: `=HYPERLINK("http://x","Budi")`, Email: "-budi@sekolah.test", Role: attendance.Student, Active: true})
	w.node.setUp(t, attendance.PutUser{UserID: citraID, Name: "Citra, \"日本\" é", Email: emails[citraID], Role: attendance.Student, Active: true})
	// 03:00 in Jakarta is the day before in UTC.
	w.clock.freeze()
	w.clock.advance(time.Date(2026, 12, 6, 20, 0, 0, 12e6, time.UTC).Sub(w.clock.Now()))
	w.want(w.tap(aniID, key1, `{"type":"in","latitude":-6.2009,"longitude":106.8451,"accuracy_m":18}`), http.StatusCreated, "")
	w.want(w.tap(budiID, key1, `{"type":"in","location_error":"denied"}`), http.StatusCreated, "")
	w.want(w.tap(citraID, key1, `{"type":"out","offline":true,"client_time":"2026-12-06T19:00:00Z"}`), http.StatusCreated, "")
	r := w.do(adminID, "GET", "/api/v1/attendances?date=2026-12-07", "", "Accept", "text/csv")
	w.want(r, http.StatusOK, "")
	for name, want := range map[string]string{
		"Content-Type": "text/csv; charset=utf-8; header=present", "Content-Disposition": `attachment; filename="attendances-2026-12-07.csv"`,
		"Vary": "Accept", "X-Hadir-As-Of": "2026-12-06T20:00:00.012Z", "X-Hadir-Stale": "false",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	want := strings.Join([]string{
		`id,user_id,name,email,type,date,time,timestamp,first_seen_at,latitude,longitude,accuracy_m,location_error,offline,claimed_at,claim_trusted,node_id,created_at,updated_at`,
		`15,5,"Citra, ""日本"" é",citra@sekolah.test,out,2026-12-07,03:00:00,T,T,,,,,true,2026-12-06T19:00:00.000Z,false,n1,T,T`,
		`14,4,"'=HYPERLINK(""http://x"",""Budi"")",'-budi@sekolah.test,in,2026-12-07,03:00:00,T,T,,,,denied,false,,,n1,T,T`,
		`13,3,Ani,ani@sekolah.test,in,2026-12-07,03:00:00,T,T,-6.2009,106.8451,18,,false,,,n1,T,T`, "",
	}, "\r\n")
	if diff := cmp.Diff(strings.ReplaceAll(want, "T,T", "2026-12-06T20:00:00.012Z,2026-12-06T20:00:00.012Z"), string(r.body)); diff != "" {
		t.Error(diff)
	}
	// Filters and scopes are those of the list.
	for _, c := range []struct {
		who         int
		query, want string
	}{
		{adminID, "", "5 4 3"}, {adminID, "type=in", "4 3"}, {adminID, "q=citra", "5"}, {adminID, "date=2026-12-06", ""}, {aniID, "", "3"},
		{teacherID, "", "4 3"}, {adminID, "from=2026-12-07&to=2026-12-08&user_id=4", "4"},
	} {
		r := w.get(c.who, "/api/v1/attendances?format=csv&"+c.query)
		w.want(r, http.StatusOK, "")
		if got := strings.Join(column(rows(t, r.body), "user_id"), " "); got != c.want {
			t.Errorf("%d asks %q: %s, want %s", c.who, c.query, got, c.want)
		}
	}
	if got := w.get(adminID, "/api/v1/attendances?format=csv&from=2026-12-07&to=2026-12-08").Header.Get("Content-Disposition"); got != `attachment; filename="attendances-2026-12-07-to-2026-12-08.csv"` {
		t.Errorf("file name: %s", got)
	}
	head := w.do(adminID, "HEAD", "/api/v1/attendances", "", "Accept", "text/csv")
	if head.StatusCode != http.StatusOK || len(head.body) != 0 || head.Header.Get("Content-Disposition") != `attachment; filename="attendances.csv"` {
		t.Errorf("HEAD: %d %v %q", head.StatusCode, head.Header, head.body)
	}
	for accept, isCSV := range map[string]bool{
		"text/csv; q=0.5, application/xml": true, "text/csv;q=0": false, "text/html,*/*;q=0.8": false, "": false, "application/json": false, "text/csv;": true,
	} {
		r := w.do(adminID, "GET", "/api/v1/attendances", "", "Accept", accept)
		if got := strings.HasPrefix(r.Header.Get("Content-Type"), "text/csv"); got != isCSV {
			t.Errorf("Accept %q: %s", accept, r.Header.Get("Content-Type"))
		}
	}
	// What is wrong is said before the file begins.
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		"format=csv&limit=5": {400, "invalid_query"}, "format=csv&cursor=1.2.3": {400, "invalid_query"}, "format=xlsx": {400, "invalid_query"},
		"format=csv&user_id=5": {403, "forbidden"}, "format=csv&min_index=9999": {503, "behind"},
	} {
		r := w.get(aniID, "/api/v1/attendances?"+path)
		w.want(r, want.status, want.code)
	}
}

// bulk has n taps of Ani and Citra decided, an hour apart.
func (w *world) bulk(n int) {
	w.t.Helper()
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	for i := range n {
		w.clock.advance(time.Hour)
		result, err := w.node.apply(cluster.Request{ReceivedAt: w.clock.Now(), Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n2",
			Body: attendance.CheckIn{UserID: []uint64{aniID, citraID}[i%2], Kind: attendance.In},
		}})
		if err != nil || result.Outcome.Status != attendance.AcceptedStatus {
			w.t.Fatalf("tap %d: %+v %v", i, result.Outcome, err)
		}
	}
}

// A long list is streamed page by page, each page in a read of its own: the rows
// are those of the list, once each, however many came meanwhile.
func TestCSVIsWhole(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	w.bulk(2*store.MaxPage + 30)
	var want []string
	for cursor := ""; ; {
		r := w.get(adminID, "/api/v1/attendances?limit=200"+cursor)
		want = append(want, ids(r, "id")...)
		next, more := r.doc["next_cursor"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	reads := 0
	w.node.set(func(n *fakeNode) {
		n.reading = func() {
			reads++
			w.bulk(1)
		}
	})
	r := w.get(adminID, "/api/v1/attendances?format=csv")
	w.node.set(func(n *fakeNode) { n.reading = nil })
	got := column(rows(t, r.body), "id")
	// The first page may hold what came before it was read.
	if got = slices.DeleteFunc(got, func(id string) bool { return !slices.Contains(want, id) }); !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	if reads < 4 { // one to sign in
		t.Errorf("%d reads for three pages", reads)
	}
}

// What fails on the way breaks the connection off: the file must not look whole.
func TestCSVBreaksOff(t *testing.T) {
	w := newWorld(t)
	w.bulk(3 * store.MaxPage)
	token := w.tokenOf(adminID)
	reads := 0
	w.node.set(func(n *fakeNode) {
		n.reading = func() {
			if reads++; reads == 3 {
				n.set(func(n *fakeNode) { n.unread = store.ErrCorrupt })
			}
		}
	})
	request, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/attendances?format=csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("status %d, then %v", response.StatusCode, err)
	}
	if n := bytes.Count(body, []byte("\n")); n == 0 || n > store.MaxPage+1 {
		t.Errorf("%d lines came", n)
	}
}

// Every decision is in the logs, by seq without a gap, in the one form.
func TestLogs(t *testing.T) {
	w := newWorld(t)
	w.tap(aniID, key1, tapIn)
	w.tap(aniID, key2, tapIn)
	w.tap(citraID, key3, `{"type":"out","location_error":"timeout"}`)
	w.want(w.do(adminID, "POST", "/api/v1/cluster/transfer", ""), http.StatusOK, "")
	var want []json.RawMessage
	if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		tx.Events(0, 1_000, func(_ uint64, b []byte) bool {
			e, err := attendance.DecodeEvent(b)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, eventjson.Append(nil, e))
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	page := func(query string) (items []json.RawMessage, next string) {
		t.Helper()
		r := w.get(adminID, "/api/v1/logs?"+query)
		w.want(r, http.StatusOK, "")
		var doc struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next_cursor"`
		}
		if err := json.Unmarshal(r.body, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Next != nil {
			next = *doc.Next
		}
		return doc.Items, next
	}
	whole, next := page("limit=200")
	if diff := cmp.Diff(want, whole); diff != "" || next != "" {
		t.Errorf("the logs are not the events, next %q:\n%s", next, diff)
	}
	backwards := slices.Clone(want)
	slices.Reverse(backwards)
	for limit := range len(want) + 2 {
		for direction, all := range map[string][]json.RawMessage{"after": want, "before": backwards} {
			at := map[string]string{"after": "0", "before": "9223372036854775807"}[direction]
			var got []json.RawMessage
			for at != "" {
				var items []json.RawMessage
				items, at = page(fmt.Sprintf("limit=%d&%s=%s", limit+1, direction, at))
				got = append(got, items...)
			}
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("%s, pages of %d:\n%s", direction, limit+1, diff)
			}
		}
	}
	for query, types := range map[string]string{
		"user_id=3": "user.created attendance.accepted attendance.duplicate", "user_id=3&event_type=attendance.duplicate": "attendance.duplicate",
		"event_type=audit.noted": "audit.noted", "node_id=n9": "", "after=11": "attendance.duplicate attendance.accepted audit.noted",
		"after=999": "", "before=1": "", "before=3": "user.created secret.rotated", "user_id=5&node_id=n1": "user.created attendance.accepted",
		"min_index=3&consistency=strong&after=13": "audit.noted",
	} {
		r := w.get(adminID, "/api/v1/logs?"+query)
		w.want(r, http.StatusOK, "")
		if got := strings.Join(ids(r, "type"), " "); got != types {
			t.Errorf("%s: %s, want %s", query, got, types)
		}
	}
	for query, field := range map[string]string{
		"event_type=tap": "event_type", "after=-1": "after", "after=x": "after", "before=0": "before", "after=1&before=2": "before", "limit=201": "limit",
		"cursor=1": "cursor", "user_id=0": "user_id",
	} {
		r := w.get(adminID, "/api/v1/logs?"+query)
		w.want(r, http.StatusBadRequest, "invalid_query")
		if !strings.Contains(string(r.body), field) {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	// The trail of a record shows the same bytes.
	trail := w.get(aniID, "/api/v1/attendances/11/logs")
	for _, item := range whole[10:12] {
		if !bytes.Contains(trail.body, item) {
			t.Errorf("%s is not in %s", item, trail.body)
		}
	}
}

// A filter that keeps nothing costs a bounded look and says where to go on.
func TestLogsAreBounded(t *testing.T) {
	w := newWorld(t)
	var noise []attendance.Body
	for i := range 250 {
		noise = append(noise, attendance.Audit{Action: "noise", Subject: fmt.Sprint(i)})
	}
	for range 21 {
		w.node.setUpAll(t, noise...)
	}
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	r := w.get(adminID, "/api/v1/logs?event_type=attendance.accepted")
	w.want(r, http.StatusOK, "")
	if len(ids(r, "seq")) != 0 || r.doc["next_cursor"] != "5000" {
		t.Fatalf("first look: %s", r.body)
	}
	r = w.get(adminID, "/api/v1/logs?event_type=attendance.accepted&after=5000")
	if got := ids(r, "user_id"); !slices.Equal(got, []string{"3"}) || r.doc["next_cursor"] != nil {
		t.Errorf("second look: %s", r.body)
	}
	r = w.get(adminID, "/api/v1/logs?event_type=user.created&before=5200")
	if len(ids(r, "seq")) != 0 || r.doc["next_cursor"] != "200" {
		t.Errorf("downwards: %s", r.body)
	}
}

func TestReviews(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	now := w.clock.Now()
	const days = 24 * time.Hour
	old := w.recorded(aniID, attendance.In, key1, now.Add(-8*days))
	near := w.recorded(aniID, attendance.In, key2, now.Add(-8*days+time.Minute))
	foreign := w.recorded(citraID, attendance.Out, key1, now.Add(-9*days))
	unknown := w.recorded(77, attendance.In, key1, now.Add(-time.Hour))
	claim := w.tap(budiID, key1, fmt.Sprintf(`{"type":"in","offline":true,"client_time":%q}`, now.Add(-30*time.Minute).UTC().Format(time.RFC3339)))
	w.want(claim, http.StatusCreated, "")
	record := fmt.Sprint(claim.at("attendance.id"))
	for who, want := range map[int]string{
		adminID: fmt.Sprint(old.Seq, near.Seq, foreign.Seq, unknown.Seq, " ", record), teacherID: fmt.Sprint(old.Seq, near.Seq, " ", record),
	} {
		whole := w.get(who, "/api/v1/reviews")
		w.want(whole, http.StatusOK, "")
		if got := strings.Join(ids(whole, "seq"), " "); got != want {
			t.Errorf("%d sees %s, want %s", who, got, want)
		}
		for limit := range 6 {
			var got []string
			for cursor := ""; ; {
				r := w.get(who, fmt.Sprintf("/api/v1/reviews?limit=%d%s", limit+1, cursor))
				got = append(got, ids(r, "seq")...)
				next, more := r.doc["next_cursor"].(string)
				if !more {
					break
				}
				cursor = "&cursor=" + next
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%d, pages of %d: %v", who, limit+1, got)
			}
		}
	}
	list := w.get(adminID, "/api/v1/reviews")
	if got := strings.Join(ids(list, "waits_for"), " "); got != "tap tap tap tap claim" {
		t.Errorf("they wait for %s", got)
	}
	resolve := func(seq any, key, body string) reply {
		t.Helper()
		return w.do(adminID, "POST", fmt.Sprintf("/api/v1/reviews/%v", seq), body, "Idempotency-Key", key)
	}
	const accept, reject = `{"decision":"accept","note":"dilihat di gerbang ✓"}`, `{"decision":"reject"}`
	// Accepting runs the neighbour check.
	r := resolve(old.Seq, key1, accept)
	w.want(r, http.StatusOK, "")
	if r.doc["became"] != "review.accepted" || r.at("attendance.node_id") != "n3" || r.at("attendance.id") != r.doc["seq"] {
		t.Errorf("accepted: %s", r.body)
	}
	first := r
	r = resolve(near.Seq, key2, accept)
	w.want(r, http.StatusOK, "")
	if r.doc["became"] != "review.duplicate" || r.doc["delta_ms"] != json.Number("60000") || r.at("attendance.id") != first.at("attendance.id") {
		t.Errorf("duplicate: %s", r.body)
	}
	r = resolve(foreign.Seq, key3, reject)
	if w.want(r, http.StatusOK, ""); r.doc["became"] != "review.rejected" || r.doc["attendance"] != nil {
		t.Errorf("rejected: %s", r.body)
	}
	r = resolve(record, "", accept)
	w.want(r, http.StatusOK, "")
	if r.doc["became"] != "claim.accepted" || r.at("attendance.first_seen_at") != now.Add(-30*time.Minute).UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z") || r.Header.Get("Idempotency-Key") == "" {
		t.Errorf("claim: %s", r.body)
	}
	// Nobody's tap can only be rejected.
	r = resolve(unknown.Seq, "", accept)
	w.want(r, http.StatusUnprocessableEntity, "unknown_user")
	r = resolve(unknown.Seq, "", reject)
	if w.want(r, http.StatusOK, ""); r.doc["became"] != "review.rejected" {
		t.Errorf("nobody's: %s", r.body)
	}
	if got := ids(w.get(adminID, "/api/v1/reviews"), "seq"); len(got) != 0 {
		t.Errorf("still open: %v", got)
	}
	// The same request again gets its decision; another one what became of it.
	before := w.node.proposals()
	r = resolve(old.Seq, key1, accept)
	w.want(r, http.StatusOK, "")
	if r.Header.Get("Idempotency-Replayed") != "true" || r.doc["seq"] != first.doc["seq"] {
		t.Errorf("again: %s", r.body)
	}
	if w.node.proposals() != before+1 {
		t.Error("a known key is proposed, to get its answer")
	}
	w.want(resolve(old.Seq, key1, reject), http.StatusUnprocessableEntity, "key_reused")
	before = w.node.proposals()
	r = resolve(old.Seq, "", reject)
	w.want(r, http.StatusConflict, "already_resolved")
	if r.doc["became"] != "review.accepted" || r.doc["seq"] != first.doc["seq"] {
		t.Errorf("resolved already: %s", r.body)
	}
	for _, path := range []string{"1", "999", "0", "x", "-1", "99999999999999999999"} {
		w.want(resolve(path, "", accept), http.StatusNotFound, "not_found")
	}
	for _, body := range []string{`{}`, `{"decision":"maybe"}`, `{"decision":true}`, `{"decision":"accept","note":5}`, `{"decision":"accept","why":"x"}`, `{"decision":"accept","note":"a\u0007b"}`, `{"decision":"accept","note":"` + strings.Repeat("x", 1001) + `"}`} {
		w.want(resolve(old.Seq, "", body), http.StatusBadRequest, "invalid_body")
	}
	w.want(w.do(teacherID, "POST", fmt.Sprintf("/api/v1/reviews/%d", old.Seq), accept), http.StatusForbidden, "forbidden")
	w.want(w.get(aniID, "/api/v1/reviews"), http.StatusForbidden, "forbidden")
	if w.node.proposals() != before {
		t.Error("a refused request was proposed")
	}
}

// Two admins decide one review at the same moment: one of them hears what became
// of it. A decision whose record may have lost its neighbours is not made.
func TestReviewRaces(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now()
	one := w.recorded(aniID, attendance.In, key1, now.Add(-8*24*time.Hour))
	w.node.set(func(n *fakeNode) {
		n.before = func(cluster.Request) error {
			n.before = nil
			_, err := n.apply(cluster.Request{Command: attendance.Command{
				Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: adminID}, Key: key3, Node: "n2", Body: attendance.Resolve{Seq: one.Seq},
			}})
			return err
		}
	})
	r := w.do(adminID, "POST", fmt.Sprintf("/api/v1/reviews/%d", one.Seq), `{"decision":"accept"}`)
	w.want(r, http.StatusConflict, "already_resolved")
	if r.doc["became"] != "review.rejected" || r.doc["key"] == nil {
		t.Errorf("the slower one hears %s", r.body)
	}
	two := w.recorded(aniID, attendance.In, key2, now.Add(-20*24*time.Hour))
	w.clock.advance(30 * 24 * time.Hour)
	w.node.mu.Lock()
	pruned, err := w.node.apply(cluster.Request{Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1",
		Body: attendance.Prune{Floor: attendance.MillisOf(now.Add(-10 * 24 * time.Hour))},
	}})
	w.node.mu.Unlock()
	if err != nil || pruned.Outcome.Status != attendance.DoneStatus {
		t.Fatalf("prune: %+v %v", pruned.Outcome, err)
	}
	w.token = map[int]string{}
	path := fmt.Sprintf("/api/v1/reviews/%d", two.Seq)
	w.want(w.do(adminID, "POST", path, `{"decision":"accept"}`), http.StatusUnprocessableEntity, "too_old")
	w.want(w.do(adminID, "POST", path, `{"decision":"reject"}`), http.StatusOK, "")
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrNoLeader })
	three := w.recorded(budiID, attendance.In, key2, now.Add(-8*24*time.Hour))
	w.want(w.do(adminID, "POST", fmt.Sprintf("/api/v1/reviews/%d", three.Seq), `{"decision":"reject"}`), http.StatusServiceUnavailable, "no_leader")
}

func TestStatsToday(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	w.clock.advance(time.Date(2026, 12, 7, 0, 1, 0, 0, time.UTC).Sub(w.clock.Now())) // 07:01 in Jakarta
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(citraID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.clock.advance(time.Minute)
	w.want(w.tap(aniID, key3, `{"type":"out"}`), http.StatusCreated, "")
	stats := func(who int, want string) {
		t.Helper()
		r := w.get(who, "/api/v1/stats/today")
		w.want(r, http.StatusOK, "")
		for _, name := range []string{"index", "as_of", "stale"} {
			delete(r.doc, name)
		}
		got, err := json.Marshal(r.doc)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal([]byte(want), &b)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%d sees:\n%s", who, diff)
		}
	}
	const totals = `"date":"2026-12-07","time_zone":"Asia/Jakarta","in":2,"out":1,"people":{"arrived":2,"left":1,"present":1},
		"types":{"attendance.accepted":3,"attendance.duplicate":1},"nodes":[{"node_id":"n1","in":2,"out":1}],
		"minutes":[{"minute":421,"in":2,"out":0},{"minute":422,"in":0,"out":1}],`
	const one, two = `{"id":1,"name":"X-1","kind":"class","member_count":2,"arrived":1,"left":1,"present":0}`,
		`{"id":2,"name":"X-2","kind":"class","member_count":1,"arrived":1,"left":0,"present":1}`
	stats(adminID, `{`+totals+`"groups":[`+one+`,`+two+`]}`)
	stats(teacherID, `{`+totals+`"groups":[`+one+`]}`)
	stats(aniID, `{`+totals+`"groups":[]}`)
	w.clock.advance(24 * time.Hour)
	stats(adminID, `{"date":"2026-12-08","time_zone":"Asia/Jakarta","in":0,"out":0,"people":{"arrived":0,"left":0,"present":0},
		"types":{},"nodes":[],"minutes":[],"groups":[{"id":1,"name":"X-1","kind":"class","member_count":2,"arrived":0,"left":0,"present":0},
		{"id":2,"name":"X-2","kind":"class","member_count":1,"arrived":0,"left":0,"present":0}]}`)
	w.want(w.get(adminID, "/api/v1/stats/today?day=1"), http.StatusBadRequest, "invalid_query")
	w.want(w.get(adminID, "/api/v1/stats/today?min_index=9999"), http.StatusServiceUnavailable, "behind")
}

// A long day is counted in several reads on the first request, and the answer is
// of one moment all the same.
func TestStatsOfALongDay(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	w.clock.advance(time.Date(2026, 12, 6, 17, 0, 0, 0, time.UTC).Sub(w.clock.Now())) // midnight in Jakarta
	var people []attendance.Body
	const crowd = 2*store.MaxPage + 50
	for i := range crowd {
		people = append(people, attendance.PutUser{Name: fmt.Sprint("P", i), Email: fmt.Sprintf("p%d@x.test", i), Role: attendance.Student, Active: true})
	}
	for len(people) > 0 {
		w.node.setUpAll(t, people[:50]...)
		people = people[50:]
	}
	for i := range crowd {
		if out := w.recorded(uint64(goneID+1+i), attendance.In, "", w.clock.Now()); out.Status != attendance.AcceptedStatus {
			t.Fatalf("%+v", out)
		}
	}
	reads := 0
	w.tokenOf(adminID)
	w.node.set(func(n *fakeNode) { n.reading = func() { reads++ } })
	for _, most := range []int{6, 2} { // one of them to sign in
		r := w.get(adminID, "/api/v1/stats/today")
		if r.at("people.arrived") != json.Number(fmt.Sprint(crowd)) || r.doc["in"] != json.Number(fmt.Sprint(crowd)) {
			t.Errorf("stats: %s", r.body)
		}
		if reads > most {
			t.Errorf("%d reads, want at most %d", reads, most)
		}
		reads = 0
	}
}

// slowClient is a client whose connection takes deadlines and breaks after some
// writes.
type slowClient struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
	writes    int
	breaks    int // at which write; 0 for never
}

func (c *slowClient) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

func (c *slowClient) Write(b []byte) (int, error) {
	if c.writes++; c.writes == c.breaks {
		return 0, os.ErrDeadlineExceeded
	}
	return c.ResponseRecorder.Write(b)
}

// A long download gets time for each page, and a client that does not take a page
// in its time is cut off.
func TestCSVDeadlines(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	w.bulk(2*store.MaxPage + 10)
	token := w.tokenOf(adminID)
	w.node.set(func(n *fakeNode) { n.reading = func() { w.clock.advance(50 * time.Second) } })
	download := func(breaks int) (c *slowClient, aborted bool) {
		r := httptest.NewRequest("GET", "/api/v1/attendances?format=csv", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{}))
		r.Header.Set("Authorization", "Bearer "+token)
		c = &slowClient{ResponseRecorder: httptest.NewRecorder(), breaks: breaks}
		defer func() {
			p := recover()
			if err, ok := p.(error); p != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
				t.Errorf("panic: %v", p)
			}
			aborted = p != nil
		}()
		w.api.ServeHTTP(c, r)
		return c, false
	}
	c, aborted := download(0)
	if aborted || c.writes != 3 || len(c.deadlines) != 4 {
		t.Fatalf("aborted %v, %d writes, deadlines %v", aborted, c.writes, c.deadlines)
	}
	for i := 1; i < len(c.deadlines); i++ {
		if step := c.deadlines[i].Sub(c.deadlines[i-1]); step < 50*time.Second {
			t.Errorf("page %d has a deadline %s later", i, step)
		}
	}
	if _, aborted := download(2); !aborted {
		t.Error("a file whose second page was not taken ends as if it were whole")
	}
}

// A client that never ends the header of its request is cut off.
func TestSlowHeader(t *testing.T) {
	w := newWorld(t)
	server := httpapi.NewServer(w.api, slog.New(slog.DiscardHandler))
	if server.ReadHeaderTimeout <= 0 || server.ReadHeaderTimeout > 10*time.Second || server.IdleTimeout <= 0 || server.MaxHeaderBytes > 64<<10 {
		t.Errorf("limits: %s, %s, %d bytes", server.ReadHeaderTimeout, server.IdleTimeout, server.MaxHeaderBytes)
	}
	server.ReadHeaderTimeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	conn := dial(t, "http://"+listener.Addr().String())
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	// The server hangs up by itself; what else ends this is the deadline of dial.
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it is still waited for")
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
