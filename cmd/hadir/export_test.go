package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// copies is a node with one SQL copy.
func copies(t *testing.T, report string) (url string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
		}
		*asked = append(*asked, fmt.Sprint(r.URL.Path, " ", in["target"], " ", in["how"]))
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/v1/export":
			fmt.Fprint(w, `{"items":[{"target":"mysql://db:3306/h","state":"running"},{"target":"mysql://gone:3306/h","state":"unknown"}]}`)
		case "/api/v1/export/verify":
			fmt.Fprint(w, report)
		case "/api/v1/export/reset":
			fmt.Fprint(w, `{"target":"x","decision":"kept: goes on after event 7"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestExportVerify(t *testing.T) {
	equal := `{"target":"mysql://db:3306/h","watermark":9,"equal":true,"days":[{"day":"2026-11-23","equal":true,"events":9,"rows":9,"got_sum":"abc"}]}`
	url, asked := copies(t, equal)
	code, out, errs := try(t, "export", "verify", "--url", url, "--token", "t")
	if code != 0 || !strings.Contains(out, "2026-11-23") || !strings.Contains(out, "\nequal; 0 parked") || len(*asked) != 2 {
		t.Errorf("%d %s %s, asked %q", code, out, errs, *asked)
	}
	code, out, _ = try(t, "export", "verify", "--json", "--url", url, "--token", "t", "mysql://db:3306/h")
	if code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("%d %s", code, out)
	}
	differs := `{"target":"mysql://db:3306/h","watermark":9,"equal":false,"different":3,"differences":[
		{"table":"users","key":"3","column":"name","want":"Ani","got":"Anu"},{"table":"users","key":"4","column":"","want":"there","got":"missing"}]}`
	url, _ = copies(t, differs)
	code, out, errs = try(t, "export", "verify", "--url", url, "--token", "t")
	for _, want := range []string{`users 3: name should be "Ani", is "Anu"`, "users 4: should be there, is missing", "and 1 more", "\ndifferent; "} {
		if code != 1 || !strings.Contains(out, want) || !strings.Contains(errs, "differs") {
			t.Errorf("%d %s %s: no %q", code, out, errs, want)
		}
	}
}

func TestExportReset(t *testing.T) {
	url, asked := copies(t, "")
	for _, flags := range [][]string{{}, {"--empty"}, {"--retire"}} {
		code, out, errs := try(t, append([]string{"export", "reset", "mysql://db:3306/h", "--url", url, "--token", "t"}, flags...)...)
		if code != 0 || !strings.Contains(out, "goes on after event 7") {
			t.Errorf("%q: %d %s %s", flags, code, out, errs)
		}
	}
	if got := strings.Join(*asked, ";"); got != "/api/v1/export/reset mysql://db:3306/h ;/api/v1/export/reset mysql://db:3306/h empty;/api/v1/export/reset mysql://db:3306/h retire" {
		t.Errorf("asked %s", got)
	}
	for _, args := range [][]string{{"export", "reset"}, {"export", "reset", ""}, {"export", "reset", "x", "--empty", "--retire"}, {"export"}} {
		if code, _, errs := try(t, args...); code != 2 || errs == "" {
			t.Errorf("%q: %d %s", args, code, errs)
		}
	}
}

func TestServeRefusesABadExportURL(t *testing.T) {
	for _, url := range []string{"postgres://u:s3cret@h/d", "mysql://u:s3cret@h/{node}", "mysql://u:s3%zzcret@h/d"} {
		code, _, errs := try(t, "serve", "--node-id", "n1", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0", "--export-url", url)
		if code != 2 || strings.Contains(errs, "s3") || !strings.Contains(errs, "--export-url") {
			t.Errorf("%s: %d %s", url, code, errs)
		}
	}
}
