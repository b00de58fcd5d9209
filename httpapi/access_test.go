package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestAccess asks for every route as everybody and expects what the table says.
func TestAccess(t *testing.T) {
	w := newWorld(t)
	r := w.tap(aniID, key1, tapIn)
	w.want(r, http.StatusCreated, "")
	fill := strings.NewReplacer("{key}", key1, "{id}", fmt.Sprint(r.at("attendance.id")), "{node}", "n2",
		"{act:kill|freeze|thaw|start|stop}", "kill", "{name}", "app.0.css")
	people := []int{0, aniID, teacherID, adminID} // as in RouteInfo.Access
	routes := w.api.RouteTable()
	if len(routes) < 25 {
		t.Fatalf("%d routes only", len(routes))
	}
	for _, route := range routes {
		path := fill.Replace(route.Path)
		for rank, who := range people {
			before, acts := w.node.proposals(), len(w.demo.acts)
			name := fmt.Sprintf("%s %s as %d", route.Method, path, rank)
			answer := w.do(who, route.Method, path, "")
			allowed := route.Access[rank]
			refused := answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden ||
				(route.Page && rank == 0 && answer.StatusCode == http.StatusSeeOther && answer.Header.Get("Location") == "/")
			public := route.Access[0]
			if !public && refused == allowed {
				t.Errorf("%s: %d", name, answer.StatusCode)
			}
			if public && answer.StatusCode == http.StatusForbidden {
				t.Errorf("%s: %d", name, answer.StatusCode)
			}
			if !allowed {
				if w.node.proposals() != before || len(w.demo.acts) != acts {
					t.Errorf("%s: it was done", name)
				}
				if want := []int{401, 403}[min(rank, 1)]; !route.Page && answer.StatusCode != want {
					t.Errorf("%s: %d, want %d", name, answer.StatusCode, want)
				}
			}
			if answer.StatusCode >= 500 {
				t.Errorf("%s: %d %s", name, answer.StatusCode, answer.body)
			}
		}
		// A token that nobody signed is nobody's.
		if !route.Access[0] && !route.Page {
			answer := w.do(0, route.Method, path, "", "Authorization", "Bearer hs1.forged")
			w.want(answer, http.StatusUnauthorized, "unauthenticated")
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	w := newWorld(t)
	for _, route := range w.api.RouteTable() {
		path := strings.NewReplacer("{key}", key1, "{id}", "1", "{node}", "n2", "{act:kill|freeze|thaw|start|stop}", "kill", "{name}", "x").Replace(route.Path)
		r := w.do(adminID, "PUT", path, "{}")
		if r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.Header.Get("Allow"), route.Method) {
			t.Errorf("PUT %s: %d, Allow %q", path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	for _, path := range []string{"/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/users", "//", "/api/v1/users/", "/api/v1//users", "/%2e%2e/x", "/favicon.ico"} {
		w.want(w.get(adminID, path), http.StatusNotFound, "not_found")
	}
	page := w.do(0, "GET", "/nothing", "", "Accept", "text/html")
	if page.StatusCode != http.StatusNotFound || !strings.Contains(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser's 404: %d %s", page.StatusCode, page.Header.Get("Content-Type"))
	}
	head := w.do(adminID, "HEAD", "/api/v1/users", "")
	if head.StatusCode != http.StatusOK || len(head.body) != 0 || head.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
}

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	for given, kept := range map[string]bool{
		"abc-DEF_1.2": true, "": false, "a b": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "<script>": false,
	} {
		got := w.do(0, "GET", "/healthz", "", "X-Request-Id", given).Header.Get("X-Request-Id")
		if (got == given) != kept {
			t.Errorf("X-Request-Id %q came back as %q", given, got)
		}
	}
	r := w.do(0, "GET", "/api/v1/nothing", "", "X-Request-Id", "abc")
	if r.doc["instance"] != "urn:hadir:request:abc" || r.Header.Get("X-Hadir-Node") != "n1" {
		t.Errorf("problem: %s", r.body)
	}
}

func TestCrossOrigin(t *testing.T) {
	w := newWorld(t)
	cookie := "hadir_session=" + w.tokenOf(aniID)
	before := w.node.proposals()
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"}, {"Origin", "null"},
	} {
		header = append(header, "Cookie", cookie)
		w.want(w.do(0, "POST", "/api/v1/checkins", tapIn, header...), http.StatusForbidden, "cross_origin")
		w.want(w.do(0, "POST", "/api/v1/session", `{}`, header...), http.StatusForbidden, "cross_origin")
		form := w.do(0, "POST", "/check-in", "type=in&key="+key1, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
		if form.StatusCode != http.StatusForbidden {
			t.Errorf("form with %v: %d", header, form.StatusCode)
		}
	}
	if w.node.proposals() != before {
		t.Error("something was proposed")
	}
	w.want(w.do(0, "POST", "/api/v1/checkins", tapIn, "Sec-Fetch-Site", "same-origin", "Cookie", cookie), http.StatusCreated, "")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Sec-Fetch-Site", "cross-site", "Cookie", cookie), http.StatusOK, "")
	w.want(w.do(budiID, "POST", "/api/v1/checkins", tapIn, "Sec-Fetch-Site", "cross-site"), http.StatusCreated, "")
}
