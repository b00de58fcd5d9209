package httpapi_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
)

// paced lets so much time pass between two requests of one account that it is no
// flood; longToken outlives that.
const paced = 500 * time.Millisecond

func (w *world) longToken(user uint64) string {
	return httpapi.SignToken(bytes.Repeat([]byte{7}, 32), user, 0, 0, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
}

func FuzzCheckInBody(f *testing.F) {
	for _, s := range []string{
		tapIn, `{}`, `{"type":"out","location_error":"timeout"}`, `{"type":"in","latitude":1e-9,"longitude":-0.0}`,
		`{"type":"in","latitude":90,"longitude":-180,"accuracy_m":1e12}`, `{"type":"in","latitude":NaN}`, "{\"type\":\"\xff\"}",
		`{"type":"in","user_id":3,"offline":true,"client_time":"2026-11-23T06:58:13.902+07:00"}`, `[1,{"a":[]}]`, tapIn + tapIn,
	} {
		f.Add([]byte(s))
	}
	w := newWorld(f)
	token := w.longToken(aniID)
	f.Fuzz(func(t *testing.T, body []byte) {
		w.clock.advance(paced)
		before := w.node.proposals()
		r := httptest.NewRequest(http.MethodPost, "/api/v1/checkins", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		to := httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		switch proposed := w.node.proposals() - before; to.Code {
		case 201, 409, 422, 202:
			if proposed != 1 {
				t.Errorf("%d with %d proposals", to.Code, proposed)
			}
		case 400, 403, 413:
			if proposed != 0 {
				t.Errorf("%d, and proposed: %s", to.Code, to.Body)
			}
		default:
			t.Errorf("%d for %q: %s", to.Code, body, to.Body)
		}
	})
}

// FuzzRecordQueries: whatever stands behind the question mark, a list answers with
// a page or says what is wrong, and never with a 5xx.
func FuzzRecordQueries(f *testing.F) {
	paths := []string{"attendances", "attendances/11/logs", "logs", "reviews", "journal", "stats/today", "checkins/" + key1}
	for i, s := range []string{
		"", "limit=1", "cursor=20000.1770000000000.11", "after=3&limit=2", "before=9&event_type=user.created", "from=2026-01-01&to=2026-12-31",
		"date=0001-01-01", "from=9999-12-31", "min_index=18446744073709551615", "after=9223372036854775807", "before=9223372036854775807",
		"cursor=-2147483648.0.18446744073709551615", "cursor=2147483647.253402300799999.0", "user_id=9223372036854775807&format=csv",
		"q=%00&node_id=%ff", "q=i&limit=200&type=out", "consistency=strong&max_stale_ms=86400000", "a=1;b=2", "&&&=", "format=csv&user_id=0",
	} {
		f.Add(uint8(i), s)
	}
	w := newWorld(f)
	w.tap(aniID, key1, tapIn)
	w.tap(budiID, key1, `{"type":"in","offline":true,"client_time":"2026-01-05T06:58:13Z"}`)
	tokens := []string{w.tokenOf(adminID), w.tokenOf(teacherID), w.tokenOf(aniID)}
	f.Fuzz(func(t *testing.T, where uint8, query string) {
		before := w.node.proposals()
		for _, token := range tokens {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/"+paths[int(where)%len(paths)], nil)
			r.URL.RawQuery = query
			r.Header.Set("Authorization", "Bearer "+token)
			to := httptest.NewRecorder()
			w.api.ServeHTTP(to, r)
			switch to.Code {
			case 200, 400, 403, 404:
			case 503:
				if !strings.Contains(to.Body.String(), `"code":"behind"`) { // min_index of the future
					t.Errorf("%s?%s: %s", r.URL.Path, query, to.Body)
				}
			default:
				t.Errorf("%s?%s: %d %s", r.URL.Path, query, to.Code, to.Body)
			}
		}
		if w.node.proposals() != before {
			t.Errorf("%q proposed something", query)
		}
	})
}

// FuzzReview: a decision is one proposal, and everything else none.
func FuzzReview(f *testing.F) {
	for _, s := range []string{
		`{"decision":"accept"}`, `{"decision":"reject","note":"x"}`, `{}`, `{"decision":"accept","note":""}`, "{\"decision\":\"reject\",\"note\":\"\\u0000\"}",
		`{"decision":"reject","note":"é ✓"}`, `[]`, `{"decision":null}`, `{"decision":"ACCEPT"}`,
	} {
		f.Add("11", []byte(s))
		f.Add("12", []byte(s))
	}
	for _, path := range []string{"0", "-1", "99999999999999999999", "1e3", "%31", "é", " "} {
		f.Add(path, []byte(`{"decision":"reject"}`))
	}
	w := newWorld(f)
	w.recorded(aniID, attendance.In, key1, w.clock.Now().Add(-8*24*time.Hour))
	claim := `{"type":"in","offline":true,"client_time":"2026-01-05T06:58:13Z"}`
	w.tap(budiID, key1, claim)
	token := w.longToken(adminID)
	f.Fuzz(func(t *testing.T, seq string, body []byte) {
		w.clock.advance(paced)
		before := w.node.proposals()
		r := httptest.NewRequest(http.MethodPost, "/api/v1/reviews/x", strings.NewReader(string(body)))
		r.URL.Path = "/api/v1/reviews/" + seq
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		to := httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		switch proposed := w.node.proposals() - before; to.Code {
		case 200:
			if proposed != 1 {
				t.Errorf("%d with %d proposals", to.Code, proposed)
			}
		case 400, 404, 409, 413, 422:
			if proposed != 0 {
				t.Errorf("%d, and proposed: %s", to.Code, to.Body)
			}
		default:
			t.Errorf("%d for %q %q: %s", to.Code, seq, body, to.Body)
		}
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{key1, strings.ToUpper(key1), `"` + key1 + `"`, "01JDQ8Z5T3W1X9V7K2M4N6P8R0", "01jdq8z5t3w1x9v7k2m4n6p8r0", "", "x", "é", `""`} {
		f.Add(s)
	}
	w := newWorld(f)
	token := w.longToken(aniID)
	f.Fuzz(func(t *testing.T, key string) {
		w.clock.advance(paced)
		if canonical, ok := httpapi.ParseKey(key); ok {
			if again, ok := httpapi.ParseKey(canonical); !ok || again != canonical {
				t.Errorf("%q is canonically %q, and that is %q", key, canonical, again)
			}
		}
		r := httptest.NewRequest(http.MethodPost, "/api/v1/checkins", strings.NewReader(`{"type":"in"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header["Idempotency-Key"] = []string{key}
		to := httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		if _, ok := httpapi.ParseKey(key); ok != (to.Code == 201 || to.Code == 409) || (!ok && to.Code != 400) {
			t.Errorf("key %q: %d %s", key, to.Code, to.Body)
		}
	})
}

func TestFixedPoint(t *testing.T) {
	const most = 900_000_000
	for s, want := range map[string]int64{
		"0": 0, "-0": 0, "0.0": 0, "0e999999999999": 0, "1": 10_000_000, "-6.2009": -62_009_000, "106.8451e-1": 106_845_100,
		"0.00000005": 1, "0.00000004": 0, "-0.00000005": -1, "0.00000000000000000000000001": 0, "1e-400": 0, "-1e-99999999999": 0,
		"90": most, "-90": -most, "9e1": most, "900e-1": most, "89.99999995": most, "0.9E+2": most, "90.000000": most,
	} {
		if got, ok := httpapi.FixedPoint(s, 7, -most, most); !ok || got != want {
			t.Errorf("%s = %d %v, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"90.00000001", "-90.00000000000000001", "1e2", "1e18", "1e19", "1e400", "-1e99999999999999999999", "123456789012345678901234567890"} {
		if got, ok := httpapi.FixedPoint(s, 7, -most, most); ok {
			t.Errorf("%s = %d", s, got)
		}
	}
	if _, ok := httpapi.FixedPoint("-0.001", 2, 0, 100); ok {
		t.Error("a little below 0 is not 0")
	}
	// Against floats, where those are exact enough.
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		v := (rnd.Float64() - 0.5) * 180
		s := strconv.FormatFloat(v, "fe"[rnd.IntN(2)], rnd.IntN(12), 64)
		v, _ = strconv.ParseFloat(s, 64)
		got, ok := httpapi.FixedPoint(s, 7, -most, most)
		if !ok || math.Abs(float64(got)-v*1e7) > 0.5001 {
			t.Fatalf("%s = %d %v", s, got, ok)
		}
	}
}

func TestKeys(t *testing.T) {
	for in, want := range map[string]string{
		key1: key1, strings.ToUpper("abcdef12-0000-7000-8000-00000000000a"): "abcdef12-0000-7000-8000-00000000000a",
		"01jdq8z5t3w1x9v7k2m4n6p8r0": "01JDQ8Z5T3W1X9V7K2M4N6P8R0", `"` + key1 + `"`: key1,
		"": "", "x": "", key1 + "0": "", key1[1:]: "", strings.ReplaceAll(key1, "-", ""): "", "{" + key1[1:35] + "}": "",
		"81JDQ8Z5T3W1X9V7K2M4N6P8R0": "", "01JDQ8Z5T3W1X9V7K2M4N6P8RU": "", "01JDQ8Z5T3W1X9V7K2M4N6P8RI": "", key1[:35] + "g": "",
		`""` + key1 + `""`: "",
	} {
		if got, ok := httpapi.ParseKey(in); got != want || ok != (want != "") {
			t.Errorf("ParseKey(%q) = %q %v", in, got, ok)
		}
	}
	at := time.UnixMilli(1_770_000_000_123)
	key, err := httpapi.NewKey(at, strings.NewReader("0123456789abcdef"))
	if err != nil || key != "019c1c38-a47b-7031-b233-343536373839" {
		t.Errorf("NewKey: %q %v", key, err)
	}
	if got, ok := httpapi.ParseKey(key); !ok || got != key {
		t.Errorf("a made key is not canonical: %q", got)
	}
	if _, err := httpapi.NewKey(at, strings.NewReader("")); err == nil {
		t.Error("a key was made without chance")
	}
}
