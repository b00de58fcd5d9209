package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hadir/httpapi"
)

// TestBadInput: the 4xx of the contract, and nothing proposed.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	const tap = "/api/v1/checkins"
	long := strings.Repeat("x", 65<<10)
	type request struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, field              string
	}
	requests := []request{
		{name: "oversized", path: tap, body: `{"type":"` + long + `"}`, status: 413, code: "too_large"},
		{name: "oversized by spaces", path: tap, body: tapIn + strings.Repeat(" ", 65<<10), status: 413, code: "too_large"},
		{name: "oversized sign-in", path: "/api/v1/session", body: long, status: 413, code: "too_large"},
		{name: "no type", path: tap, body: tapIn, header: []string{"Content-Type", ""}, status: 415, code: "unsupported_type"},
		{name: "form", path: tap, body: "type=in", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "unsupported_type"},
		{name: "text", path: tap, body: tapIn, header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_type"},
		{name: "latin", path: tap, body: tapIn, header: []string{"Content-Type", "application/json; charset=iso-8859-1"}, status: 415, code: "unsupported_type"},
		{name: "broken type", path: tap, body: tapIn, header: []string{"Content-Type", "application/json; charset"}, status: 415, code: "unsupported_type"},
		{name: "compressed", path: tap, body: tapIn, header: []string{"Content-Encoding", "gzip"}, status: 415, code: "unsupported_type"},
		{name: "key in the past form", path: tap, body: tapIn, header: []string{"Idempotency-Key", "abc"}, status: 400, code: "invalid_key"},
		{name: "long key", path: tap, body: tapIn, header: []string{"Idempotency-Key", strings.Repeat("a", 5000)}, status: 400, code: "invalid_key"},
		{name: "basic", path: tap, body: tapIn, header: []string{"Authorization", "Basic YTpi"}, status: 401, code: "unauthenticated"},
		{name: "no scheme", path: tap, body: tapIn, header: []string{"Authorization", "xyz"}, status: 401, code: "unauthenticated"},
		{name: "list: unknown", method: "GET", path: "/api/v1/attendances?user=3", status: 400, code: "invalid_query"},
		{name: "list: twice", method: "GET", path: "/api/v1/attendances?type=in&type=out", status: 400, code: "invalid_query", field: "type"},
		{name: "list: type", method: "GET", path: "/api/v1/attendances?type=IN", status: 400, code: "invalid_query", field: "type"},
		{name: "list: day", method: "GET", path: "/api/v1/attendances?date=2026-02-30", status: 400, code: "invalid_query", field: "date"},
		{name: "list: range", method: "GET", path: "/api/v1/attendances?from=2026-02-02&to=2026-02-01", status: 400, code: "invalid_query", field: "from"},
		{name: "list: date and from", method: "GET", path: "/api/v1/attendances?date=2026-02-02&from=2026-02-01", status: 400, code: "invalid_query", field: "date"},
		{name: "list: limit", method: "GET", path: "/api/v1/attendances?limit=0", status: 400, code: "invalid_query", field: "limit"},
		{name: "list: big limit", method: "GET", path: "/api/v1/attendances?limit=201", status: 400, code: "invalid_query", field: "limit"},
		{name: "list: limit in words", method: "GET", path: "/api/v1/attendances?limit=ten", status: 400, code: "invalid_query", field: "limit"},
		{name: "list: negative", method: "GET", path: "/api/v1/attendances?user_id=-1", status: 400, code: "invalid_query", field: "user_id"},
		{name: "list: overflow", method: "GET", path: "/api/v1/attendances?user_id=18446744073709551617", status: 400, code: "invalid_query", field: "user_id"},
		{name: "list: cursor", method: "GET", path: "/api/v1/attendances?cursor=1.2", status: 400, code: "invalid_query", field: "cursor"},
		{name: "list: cursor with sign", method: "GET", path: "/api/v1/attendances?cursor=%2B1.2.3", status: 400, code: "invalid_query", field: "cursor"},
		{name: "list: consistency", method: "GET", path: "/api/v1/attendances?consistency=maybe", status: 400, code: "invalid_query", field: "consistency"},
		{name: "list: stale", method: "GET", path: "/api/v1/attendances?max_stale_ms=-5", status: 400, code: "invalid_query", field: "max_stale_ms"},
		{name: "list: index", method: "GET", path: "/api/v1/attendances?min_index=1e3", status: 400, code: "invalid_query", field: "min_index"},
		{name: "list: index of nowhere", method: "GET", path: "/api/v1/attendances?min_index=9223372036854775807", status: 400, code: "invalid_query", field: "min_index"},
		{name: "list: invalid UTF-8", method: "GET", path: "/api/v1/attendances?node_id=%ff", status: 400, code: "invalid_query", field: "node_id"},
		{name: "list: escape", method: "GET", path: "/api/v1/attendances?node_id=%zz", status: 400, code: "invalid_query"},
		{name: "list: semicolon", method: "GET", path: "/api/v1/attendances?a;b", status: 400, code: "invalid_query"},
		{name: "users: cursor", method: "GET", path: "/api/v1/users?cursor=x", header: []string{"Authorization", "Bearer " + w.tokenOf(adminID)}, status: 400, code: "invalid_query", field: "cursor"},
		{name: "record: word", method: "GET", path: "/api/v1/attendances/abc", status: 404, code: "not_found"},
		{name: "record: zero", method: "GET", path: "/api/v1/attendances/0", status: 404, code: "not_found"},
		{name: "record: negative", method: "GET", path: "/api/v1/attendances/-1", status: 404, code: "not_found"},
		{name: "record: huge", method: "GET", path: "/api/v1/attendances/99999999999999999999999", status: 404, code: "not_found"},
		{name: "record: none", method: "GET", path: "/api/v1/attendances/77777", status: 404, code: "not_found"},
		{name: "record: an event that is none", method: "GET", path: "/api/v1/attendances/1", status: 404, code: "not_found"},
		{name: "record: logs of none", method: "GET", path: "/api/v1/attendances/1/logs", status: 404, code: "not_found"},
		{name: "record: invalid UTF-8", method: "GET", path: "/api/v1/checkins/%ff%fe", status: 404, code: "not_found"},
		{name: "session: everywhere", method: "DELETE", path: "/api/v1/session?everywhere=perhaps", status: 400, code: "invalid_query", field: "everywhere"},
		{name: "demo: act", path: "/api/v1/demo/n2/explode", status: 404, code: "not_found"},
		{name: "demo: node", path: "/api/v1/demo/n9/kill", header: []string{"Authorization", "Bearer " + w.tokenOf(adminID)}, status: 404, code: "not_found"},
	}
	for _, c := range []struct{ name, body, field string }{
		{"empty", ``, ""}, {"blank", `  `, ""}, {"malformed", `{"type":"in"`, ""}, {"trailing", tapIn + `x`, ""},
		{"two", tapIn + tapIn, ""}, {"array", `[]`, ""}, {"string", `"in"`, ""}, {"null", `null`, ""}, {"number", `7`, ""},
		{"invalid UTF-8", "{\"type\":\"in\",\"\xff\":1}", ""}, {"invalid UTF-8 in a string", "{\"type\":\"\xc3\x28\"}", ""},
		{"byte order mark", "\ufeff" + tapIn, ""}, {"comment", `{"type":"in"} // yes`, ""}, {"single quotes", `{'type':'in'}`, ""},
		{"NaN", `{"type":"in","latitude":NaN,"longitude":1}`, ""}, {"Inf", `{"type":"in","latitude":Infinity,"longitude":1}`, ""},
		{"-Inf", `{"type":"in","latitude":-Infinity,"longitude":1}`, ""}, {"hex", `{"type":"in","user_id":0x7}`, ""},
		{"leading zero", `{"type":"in","user_id":07}`, ""}, {"control character", "{\"type\":\"i\nn\"}", ""},
		{"deep", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), ""},
		{"deep value", `{"type":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, ""},
		{"nothing", `{}`, "type"}, {"null type", `{"type":null}`, "type"}, {"empty type", `{"type":""}`, "type"},
		{"other type", `{"type":"IN"}`, "type"}, {"type as number", `{"type":1}`, "type"}, {"type as object", `{"type":{}}`, "type"},
		{"toggle", `{"type":"toggle"}`, "type"}, {"unknown field", `{"type":"in","admin":true}`, "admin"},
		{"field in capitals", `{"Type":"in"}`, "Type"}, {"twice", `{"type":"in","type":"out"}`, "type"},
		{"prototype", `{"type":"in","__proto__":{}}`, "__proto__"},
		{"latitude as text", `{"type":"in","latitude":"-6.2","longitude":1}`, "latitude"},
		{"latitude as bool", `{"type":"in","latitude":true,"longitude":1}`, "latitude"},
		{"latitude over", `{"type":"in","latitude":90.0000001,"longitude":1}`, "latitude"},
		{"latitude over by a little", `{"type":"in","latitude":90.000000000001,"longitude":1}`, "latitude"},
		{"latitude under", `{"type":"in","latitude":-91,"longitude":1}`, "latitude"},
		{"latitude huge", `{"type":"in","latitude":1e308,"longitude":1}`, "latitude"},
		{"latitude beyond floats", `{"type":"in","latitude":1e999999999999,"longitude":1}`, "latitude"},
		{"longitude over", `{"type":"in","latitude":1,"longitude":180.1}`, "longitude"},
		{"longitude under", `{"type":"in","latitude":1,"longitude":-1800000000}`, "longitude"},
		{"half a location", `{"type":"in","latitude":1}`, "latitude"},
		{"other half", `{"type":"in","longitude":1,"latitude":null}`, "latitude"},
		{"negative accuracy", `{"type":"in","latitude":1,"longitude":1,"accuracy_m":-1}`, "accuracy_m"},
		{"accuracy without location", `{"type":"in","accuracy_m":1}`, "accuracy_m"},
		{"location and error", `{"type":"in","latitude":1,"longitude":1,"location_error":"denied"}`, "location_error"},
		{"other location error", `{"type":"in","location_error":"tired"}`, "location_error"},
		{"empty location error", `{"type":"in","location_error":""}`, "location_error"},
		{"client time as number", `{"type":"in","client_time":1700000000}`, "client_time"},
		{"client time without zone", `{"type":"in","client_time":"2026-11-23T06:58:13"}`, "client_time"},
		{"client time on no day", `{"type":"in","client_time":"2026-02-30T06:58:13Z"}`, "client_time"},
		{"client time before 1970", `{"type":"in","client_time":"1969-12-31T23:59:59Z"}`, "client_time"},
		{"client time in year 0", `{"type":"in","client_time":"0000-01-01T00:00:00Z"}`, "client_time"},
		{"client time after 9999", `{"type":"in","client_time":"9999-12-31T23:59:59-12:00"}`, "client_time"},
		{"offline without a time", `{"type":"in","offline":true}`, "client_time"},
		{"offline in words", `{"type":"in","offline":"yes"}`, "offline"},
		{"user 0", `{"type":"in","user_id":0}`, "user_id"}, {"user -1", `{"type":"in","user_id":-1}`, "user_id"},
		{"user in parts", `{"type":"in","user_id":1.5}`, "user_id"}, {"user as power", `{"type":"in","user_id":1e1}`, "user_id"},
		{"user as text", `{"type":"in","user_id":"3"}`, "user_id"}, {"user beyond", `{"type":"in","user_id":18446744073709551616}`, "user_id"},
	} {
		requests = append(requests, request{name: c.name, path: tap, body: c.body, header: []string{"Content-Type", "application/json"}, status: 400, code: "invalid_body", field: c.field})
	}
	for _, body := range []string{`{"email":"a@b"}`, `{"email":1,"password":"x"}`, `{"email":"a@b","password":"x","role":"admin"}`, `{"email":"` + strings.Repeat("x", 600) + `","password":"x"}`, `[]`} {
		requests = append(requests, request{name: "session " + body[:min(20, len(body))], path: "/api/v1/session", body: body, status: 400, code: "invalid_body"})
	}
	token := w.tokenOf(aniID)
	before := w.node.proposals()
	for _, c := range requests {
		method := c.method
		if method == "" {
			method = "POST"
		}
		header := append([]string{"Authorization", "Bearer " + token}, c.header...)
		r := w.do(0, method, c.path, c.body, header...)
		if r.StatusCode != c.status || r.code() != c.code {
			t.Errorf("%s: %d %q, want %d %q: %s", c.name, r.StatusCode, r.code(), c.status, c.code, r.body)
			continue
		}
		if c.field != "" && !strings.Contains(string(r.body), fmt.Sprintf(`"field":%q`, c.field)) {
			t.Errorf("%s: %s does not name %s", c.name, r.body, c.field)
		}
	}
	if n := w.node.proposals() - before; n != 0 {
		t.Errorf("%d of the bad requests were proposed", n)
	}
	// Several mistakes are told at once.
	r := w.tap(aniID, key1, `{"type":"x","latitude":"a","longitude":200,"nonsense":1}`)
	if errs, _ := r.doc["errors"].([]any); len(errs) != 4 {
		t.Errorf("errors: %s", r.body)
	}
}

// TestSlowBody: a body that never ends is given up.
func TestSlowBody(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.BodyTimeout = 50 * time.Millisecond })
	token := w.tokenOf(aniID)
	before := w.node.proposals()
	r := raw(t, w.url, "POST /api/v1/checkins HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"+
		"Authorization: Bearer "+token+"\r\n\r\n{\"type\":")
	if r.StatusCode != http.StatusRequestTimeout || r.code() != "body_timeout" {
		t.Errorf("slow body: %d %s", r.StatusCode, r.body)
	}
	if w.node.proposals() != before {
		t.Error("it was proposed")
	}
	// A body that nobody wants holds nothing up either.
	r = raw(t, w.url, "POST /api/v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	if r.StatusCode != http.StatusNotFound || !r.Close {
		t.Errorf("unwanted slow body: %d, close %v", r.StatusCode, r.Close)
	}
}

func TestHugeHeaders(t *testing.T) {
	w := newWorld(t)
	conn := dial(t, w.url)
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n", strings.Repeat("a", 64<<10)); err != nil {
		t.Logf("the server hung up early: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("huge headers: %d", response.StatusCode)
	}
}

// TestBrokenHTTP: what net/http refuses by itself is a 4xx too.
func TestBrokenHTTP(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"no host": "GET /healthz HTTP/1.1\r\n\r\n", "bad header": "GET /healthz HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
		"two lengths": "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"bad line":    "GARBAGE\r\n\r\n", "bad escape": "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn := dial(t, w.url)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := response.Body.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// raw sends bytes and reads the answer.
func raw(t *testing.T, url, text string) reply {
	t.Helper()
	conn := dial(t, url)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	return read(t, response, err)
}
