package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hadir/cmd/hadir/internal/api"
)

// asked is a request that the office has got.
type asked struct {
	what, key string
	body      map[string]string
	file      string
}

// office is a server that knows two people and notes what it is asked.
type office struct {
	*httptest.Server
	asked   []asked
	answers []func(w http.ResponseWriter) // to writes, one after another; then the usual one
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := asked{what: r.Method + " " + r.URL.RequestURI(), key: r.Header.Get("Idempotency-Key")}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Header.Get("Content-Type") == "application/json" {
			if err := json.Unmarshal(body, &a.body); err != nil {
				t.Errorf("%s: %v", a.what, err)
			}
		} else {
			a.file = string(body)
		}
		o.asked = append(o.asked, a)
		w.Header().Set("Content-Type", "application/json")
		const admin, ani = `{"id":1,"name":"Admin","email":"admin@sekolah.test","role":"admin"}`, `{"id":3,"name":"Ani","email":"ani@sekolah.test","role":"student"}`
		switch {
		case a.what == "POST /api/v1/session":
			fmt.Fprint(w, `{"token":"t"}`)
		case a.what == "GET /api/v1/session":
			fmt.Fprint(w, `{"user":`+admin+`}`)
		case strings.HasPrefix(a.what, "GET /api/v1/users?"):
			fmt.Fprint(w, `{"items":[`+admin+`,`+ani+`],"next_cursor":null}`)
		case len(o.answers) > 0:
			answer := o.answers[0]
			o.answers = o.answers[1:]
			answer(w)
		case a.what == "POST /api/v1/users":
			w.WriteHeader(201)
			fmt.Fprintf(w, `{"id":7,"name":%q,"email":%q,"role":%q}`, a.body["name"], a.body["email"], a.body["role"])
		case strings.HasSuffix(a.what, "/password"):
			w.WriteHeader(204)
		default:
			t.Errorf("not expected: %s", a.what)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// problem answers with one.
func problem(status int, code, detail string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":%q,"errors":[{"field":"email","reason":"is another person's"}]}`, status, code, detail)
	}
}

// user runs hadir user with answers for what is asked at the terminal.
func (o *office) user(t *testing.T, typed []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	signals := make(chan os.Signal)
	close(signals)
	code = run(append([]string{"user"}, append(args, "--url="+o.URL)...), &world{
		stdout: &out, stderr: &errs, rand: rand.Reader, getenv: func(string) string { return "" },
		program: os.Args[0], signals: signals, exit: func(int) { panic("exit") },
		ask: func(context.Context, string) (string, error) {
			if len(typed) == 0 {
				return "", errors.New("there is no terminal")
			}
			line := typed[0]
			typed = typed[1:]
			return line, nil
		},
	})
	http.DefaultClient.CloseIdleConnections()
	return code, out.String(), errs.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUserAdd(t *testing.T) {
	o := newOffice(t)
	file := write(t, "word", "kata-sandi\n")
	for _, c := range []struct {
		typed    []string
		args     []string
		code     int
		says     string
		password string
	}{
		{nil, []string{"add", "dewi@sekolah.test", "Dewi Sartika", "--role=teacher", "--new-password-file=" + file}, 0, "created 7: Dewi Sartika <dewi@sekolah.test>, teacher\n", "kata-sandi"},
		{[]string{"typed one", "typed one"}, []string{"add", "dewi@sekolah.test", "Dewi"}, 0, "student", "typed one"},
		{[]string{"typed one", "typed two"}, []string{"add", "dewi@sekolah.test", "Dewi"}, 1, "differ", ""},
		{nil, []string{"add", "dewi@sekolah.test", "Dewi"}, 1, "--new-password-file", ""},
		{nil, []string{"add", "dewi@sekolah.test", "Dewi", "--no-password", "--json"}, 0, `"id": 7`, ""},
		{nil, []string{"add", "dewi@sekolah.test", "Dewi", "--no-password", "--new-password-file=x"}, 2, "--no-password", ""},
		{nil, []string{"add", "dewi@sekolah.test", "Dewi", "--role=boss"}, 2, "--role", ""},
		{nil, []string{"add", "dewi@sekolah.test"}, 2, "<name>", ""},
		{nil, []string{"add", "dewi@sekolah.test", "Dewi", "--no-password", "--email=a@b"}, 2, "--password-file", ""},
	} {
		o.asked = nil
		code, out, errs := o.user(t, c.typed, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) || strings.Contains(out+errs, "kata-sandi") {
			t.Errorf("%v: code %d, %q %q", c.args, code, out, errs)
		}
		var sent []asked
		for _, a := range o.asked {
			if a.what == "POST /api/v1/users" {
				sent = append(sent, a)
			}
		}
		if (len(sent) == 1) != (c.code == 0) || (len(sent) == 1 && (sent[0].body["password"] != c.password || sent[0].key == "")) {
			t.Errorf("%v: sent %v", c.args, sent)
		}
	}
}

// TestUserPersists: what the cluster could not decide is sent again under its
// key, and what it refused is not.
func TestUserPersists(t *testing.T) {
	o := newOffice(t)
	o.answers = []func(http.ResponseWriter){problem(503, "no_leader", "Wait."), problem(503, "unknown_outcome", "Wait.")}
	if code, out, errs := o.user(t, nil, "add", "dewi@sekolah.test", "Dewi", "--no-password"); code != 0 {
		t.Errorf("code %d, %s %s", code, out, errs)
	}
	keys := make(map[string]int)
	for _, a := range o.asked {
		if a.what == "POST /api/v1/users" {
			keys[a.key]++
		}
	}
	if len(keys) != 1 || keys[o.asked[len(o.asked)-1].key] != 3 {
		t.Errorf("keys %v", keys)
	}
	o.answers = []func(http.ResponseWriter){problem(409, "email_taken", "Another person has it.")}
	code, _, errs := o.user(t, nil, "add", "ani@sekolah.test", "Ani", "--no-password")
	if want := "hadir: 409 email_taken Another person has it.; email is another person's\n"; code != 1 || errs != want {
		t.Errorf("code %d, %q, want %q", code, errs, want)
	}
}

func TestUserPasswd(t *testing.T) {
	o := newOffice(t)
	file, own, token := write(t, "word", "kata-sandi\n"), write(t, "own", "rahasia\n"), write(t, "token", "t\n")
	for _, c := range []struct {
		typed         []string
		args          []string
		code          int
		says          string
		what, current string
	}{
		{nil, []string{"ANI@sekolah.test", "--new-password-file=" + file}, 0, "ani@sekolah.test is set", "POST /api/v1/users/3/password", ""},
		{nil, []string{"--email=admin@sekolah.test", "--password-file=" + own, "--new-password-file=" + file}, 0, "admin@sekolah.test is set", "POST /api/v1/users/1/password", "rahasia"},
		{nil, []string{"Admin@sekolah.test", "--new-password-file=" + file}, 0, "is set", "POST /api/v1/users/1/password", "hadir-demo-admin"},
		{[]string{"now", "typed one", "typed one"}, []string{"--token-file=" + token}, 0, "is set", "POST /api/v1/users/1/password", "now"},
		{nil, []string{"--token-file=" + token, "--new-password-file=" + file}, 1, "--password-file", "", ""},
		{nil, []string{"nobody@sekolah.test", "--new-password-file=" + file}, 1, "nobody with the address", "", ""},
		{nil, []string{"ani@sekolah.test", "--new-password-file=" + file + "x"}, 1, "--new-password-file", "", ""},
		{nil, []string{"ani@sekolah.test", "kata-sandi"}, 2, "kata-sandi", "", ""}, // never an argument
	} {
		o.asked = nil
		code, out, errs := o.user(t, c.typed, append([]string{"passwd"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: code %d, %q %q", c.args, code, out, errs)
		}
		at := slices.IndexFunc(o.asked, func(a asked) bool { return strings.HasSuffix(a.what, "/password") })
		switch {
		case at < 0 && c.what != "", at >= 0 && o.asked[at].what != c.what:
			t.Errorf("%v: asked %v", c.args, o.asked)
		case at >= 0 && (o.asked[at].body["current_password"] != c.current || len(o.asked[at].body["password"]) < 8):
			t.Errorf("%v: sent %v", c.args, o.asked[at].body)
		}
	}
}

// reports answers with an import's.
func reports(r api.ImportReport) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		r := r // it may be the answer more than once
		r.Rows = len(r.Items)
		for _, row := range r.Items {
			switch row.Status {
			case "created":
				r.Created++
			case "updated":
				r.Updated++
			case "unchanged":
				r.Unchanged++
			case "error":
				r.Errors++
			case "unknown":
				r.Unknown++
			case "skipped":
				r.Skipped++
			}
		}
		json.NewEncoder(w).Encode(r) //nolint:errcheck // test
	}
}

func rows(statuses ...string) (items []api.ImportRow) {
	for i, s := range statuses {
		row := api.ImportRow{Row: i + 2, Status: s}
		if s == "error" {
			row.Field, row.Reason = "email", "is missing"
		}
		items = append(items, row)
	}
	return items
}

func TestUserImport(t *testing.T) {
	stopped := &api.Stopped{Code: "out_of_time", Detail: "Send the same file again."}
	for name, c := range map[string]struct {
		answers []func(http.ResponseWriter)
		args    []string
		code    int
		out     string
		says    string // on stderr
		rounds  int
	}{
		"all": {
			[]func(http.ResponseWriter){reports(api.ImportReport{Items: rows("created", "updated", "unchanged")})}, nil,
			0, "3 rows: 1 created, 1 updated, 1 unchanged, 0 refused\n", "", 1,
		},
		"bad rows": {
			[]func(http.ResponseWriter){reports(api.ImportReport{Items: rows("created", "error", "created", "error")})}, nil,
			1, "FILE:3: email is missing\nFILE:5: email is missing\n4 rows: 2 created, 0 updated, 0 unchanged, 2 refused\n", "2 of 4 rows were refused", 1,
		},
		"dry": {
			[]func(http.ResponseWriter){reports(api.ImportReport{DryRun: true, Items: rows("created")})}, []string{"--dry-run"},
			0, "1 rows: 1 would be created, 0 would be updated, 0 unchanged, 0 refused\n", "", 1,
		},
		"in rounds": {
			[]func(http.ResponseWriter){
				problem(503, "no_leader", "Wait."),
				reports(api.ImportReport{Stopped: stopped, Items: rows("created", "unknown", "skipped", "skipped")}),
				reports(api.ImportReport{Stopped: stopped, Items: rows("unchanged", "unchanged", "created", "skipped")}),
				reports(api.ImportReport{Items: rows("unchanged", "unchanged", "unchanged", "created")}),
			}, nil,
			0, "4 rows: 3 created, 1 updated, 0 unchanged, 0 refused\n", "3 of 4 rows are done", 4,
		},
		"refused as a whole": {
			[]func(http.ResponseWriter){problem(400, "invalid_body", "Correct it.")}, nil, 1, "", "400 invalid_body", 1,
		},
		"never a quorum": {
			slices.Repeat([]func(http.ResponseWriter){problem(503, "no_leader", "Nothing was changed.")}, patience), nil,
			1, "", "503 no_leader Nothing was changed.", patience,
		},
		"no end": {
			slices.Repeat([]func(http.ResponseWriter){reports(api.ImportReport{Stopped: stopped, Items: rows("unchanged", "skipped")})}, patience), nil,
			1, "2 rows: 0 created, 0 updated, 1 unchanged, 0 refused, 1 not done\n", "stopped before its end: Send the same file again.", patience,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			o.answers = c.answers
			file := write(t, "people.csv", "\ufeffname,email,role\nAni,ani@sekolah.test,student\n")
			code, out, errs := o.user(t, nil, append([]string{"import", file}, c.args...)...)
			if out = strings.ReplaceAll(out, file, "FILE"); code != c.code || out != c.out || !strings.Contains(errs, c.says) {
				t.Errorf("code %d, %q, %q", code, out, errs)
			}
			sent := 0
			for _, a := range o.asked {
				if strings.HasPrefix(a.what, "POST /api/v1/users/import") {
					sent++
					if a.file != "\ufeffname,email,role\nAni,ani@sekolah.test,student\n" || strings.Contains(a.what, "dry_run=true") != (name == "dry") {
						t.Errorf("sent %+v", a)
					}
				}
			}
			if sent != c.rounds || len(o.answers) != 0 {
				t.Errorf("sent %d times, %d answers left", sent, len(o.answers))
			}
		})
	}
	if code, _, errs := try(t, "user", "import", filepath.Join(t.TempDir(), "no.csv")); code != 1 || !strings.Contains(errs, "check the name") {
		t.Errorf("no file: %d %q", code, errs)
	}
}
