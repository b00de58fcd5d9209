package ui_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/ui"
)

func TestLanguages(t *testing.T) {
	for header, want := range map[string]ui.Lang{
		"": ui.Indonesian, "en": ui.English, "EN-gb": ui.English, "id-ID,en;q=0.5": ui.Indonesian, "fr, en;q=0.3": ui.English,
		"en;q=0.2, id;q=0.9": ui.Indonesian, "en;q=0": ui.Indonesian, "en;q=x": ui.Indonesian, "en;q=NaN": ui.Indonesian,
		"fr": ui.Indonesian, ";;;,,,": ui.Indonesian, "in": ui.Indonesian,
	} {
		if got := ui.PreferredLang(header); got != want {
			t.Errorf("%q: %s", header, got)
		}
	}
}

var (
	wib = time.FixedZone("WIB", 7*3600)
	at  = time.Date(2026, 11, 23, 6, 58, 14, 0, wib)
)

// pages renders every page in every state.
func pages(t *testing.T, lang ui.Lang) map[string]string {
	t.Helper()
	p, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	keep := func(name string, render func(*bytes.Buffer) error) {
		t.Helper()
		var b bytes.Buffer
		if err := render(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.String()
	}
	f := ui.Frame{Lang: lang, User: &ui.User{Name: "<Ani>", Role: "student"}, Nav: []ui.NavItem{{Key: "home", Href: "/"}, {Key: "cluster", Href: "/cluster"}}, Active: "home", Pulse: ui.Pulse{Node: "n1", Leader: "n2", Voters: 3, Answer: 3}}
	nobody := f
	nobody.User, nobody.Pulse = nil, ui.Pulse{Node: "n1", Voters: 3, Answer: 1, Stale: true}
	for _, trouble := range []string{"", "error.wrong", "error.limited", "error.busy", "error.not_ready"} {
		d := ui.SignIn{Email: `"><script>`, Error: trouble}
		if trouble == "" {
			for _, role := range []string{"student", "teacher", "admin"} {
				d.Accounts = append(d.Accounts, ui.Account{Name: "A", Email: "a@b", Password: "p", Role: role})
			}
		}
		keep("signin "+trouble, func(b *bytes.Buffer) error { return p.SignIn(b, nobody, d) })
	}
	today := ui.Today{Now: at, Names: true, More: true, Stale: true, AsOf: at, Rows: []ui.Row{
		{Name: "Ani", Kind: "in", At: at, Node: "n1"}, {Name: "Budi", Kind: "out", At: at, Seen: at.Add(-time.Minute), Node: "n2"},
	}}
	keep("home", func(b *bytes.Buffer) error { return p.Home(b, f, ui.Home{KeyIn: "k1", KeyOut: "k2", Today: today}) })
	keep("empty", func(b *bytes.Buffer) error { return p.Home(b, f, ui.Home{Today: ui.Today{Now: at}}) })
	rows := []ui.Row{{Name: "Ani", Kind: "in", At: at, Seen: at.Add(-time.Minute), Node: "n1", ID: 7}}
	keep("history", func(b *bytes.Buffer) error {
		return p.History(b, f, ui.History{Days: []ui.Day{{Rows: rows}, {Rows: rows}}, Older: "1.2.3", Stale: true})
	})
	keep("no history", func(b *bytes.Buffer) error { return p.History(b, f, ui.History{First: true}) })
	keep("groups", func(b *bytes.Buffer) error {
		return p.Groups(b, f, ui.Groups{Rows: []ui.GroupRow{{ID: 3, Name: "X-1"}, {ID: 4, Name: "X-2", Members: 30, Arrived: 20}}, Stale: true})
	})
	keep("no groups", func(b *bytes.Buffer) error { return p.GroupsPart(b, f, ui.Groups{}) })
	members := []ui.Member{{ID: 1, Name: "Budi", Active: true}, {ID: 2, Name: "Ani", Active: true, In: at, Out: at.Add(time.Hour), Node: "n1", Offline: true}}
	keep("group", func(b *bytes.Buffer) error {
		return p.Group(b, f, ui.Group{ID: 3, Name: "X-1", Now: at, Members: members, Arrived: 1, Stale: true})
	})
	keep("empty group", func(b *bytes.Buffer) error { return p.GroupPart(b, f, ui.Group{ID: 3, Name: "X-1"}) })
	keep("dashboard", func(b *bytes.Buffer) error {
		return p.Dashboard(b, f, ui.Dashboard{Now: at, Arrived: 3, Minutes: [][2]int{{415, 3}}, Rows: rows, Stale: true})
	})
	keep("offline", func(b *bytes.Buffer) error { return p.Offline(b, lang) })
	keep("today", func(b *bytes.Buffer) error { return p.TodayPart(b, f, today) })
	keep("pulse", func(b *bytes.Buffer) error { return p.PulsePart(b, f) })
	for _, outcome := range []string{"accepted", "duplicate", "review", "rejected", "queued", "unrecorded", "unknown"} {
		for _, reason := range []string{"", "unknown_user", "inactive_user", "key_reused", "too_old", "clock_suspect", "of_tomorrow"} {
			d := ui.Result{Outcome: outcome, Kind: "in", Reason: reason, At: at, Winner: ui.Row{At: at}, Replay: true, Key: "k", Node: "n1", Leader: "n2", Took: 4100 * time.Microsecond}
			keep(outcome+" "+reason, func(b *bytes.Buffer) error { return p.Result(b, f, d) })
		}
	}
	c := ui.Cluster{Node: "n1", ID: "c7f2-1", Leader: "n2", Term: 7, Quorum: 2, CanLose: 1, Decides: true, Transfer: true, Demo: true,
		Elections: []ui.Election{{Term: 7, Leader: "n2", At: at, Leaderless: time.Second}}}
	for _, state := range []string{"leader", "follower", "candidate", "joining", "down", "stopping"} {
		c.Nodes = append(c.Nodes, ui.Node{Name: "n-" + state, URL: "javascript:alert(1)", State: state, Reachable: true, Started: at})
	}
	keep("cluster", func(b *bytes.Buffer) error { return p.Cluster(b, f, c) })
	c.Decides, c.Leader, c.Nodes[0].URL = false, "", ""
	keep("no quorum", func(b *bytes.Buffer) error { return p.ClusterPart(b, f, c) })
	op := ui.DocOperation{
		ID: "getThings", Method: "GET", Path: "/things/{id}", Summary: "<Things>", Detail: "They are.",
		Params:   []ui.DocField{{Name: "id", Where: "path", Says: "The id.", Type: ui.DocType{Text: "integer"}}, {Name: "q", Where: "query", Optional: true}, {Name: "Key", Where: "header"}},
		Body:     &ui.DocBody{Media: "application/json", Type: ui.DocType{Text: "array of", Name: "Thing", Link: "shape-thing"}, Example: `{"a":"<b>"}`},
		Answers:  []ui.DocAnswer{{Status: "200", Says: "Here.", Headers: []string{"Location", "Set-Cookie"}, Bodies: []ui.DocBody{{Media: "text/plain", Fields: []ui.DocField{{Name: "a"}}}}}},
		Problems: []ui.DocProblem{{Status: "404", Codes: []string{"not_found", "gone"}}},
	}
	for _, kind := range []string{"student", "teacher", "admin", "device"} {
		for _, reach := range []string{"", "own", "group", "all"} {
			op.Access = append(op.Access, ui.DocAccess{Kind: kind, Reach: reach})
		}
	}
	open := op
	open.Public = true
	docs := ui.Docs{
		Title: "hadir", Version: "1.0", Link: "/openapi.json", Intro: []string{"One.", "Two."}, Shapes: []ui.DocShape{{ID: "shape-thing", Name: "Thing", Fields: op.Params}},
		Areas: []ui.DocArea{{ID: "area-things", Name: "Things", Says: "All of them.", Operations: []ui.DocOperation{op, open}}},
	}
	keep("docs", func(b *bytes.Buffer) error { return p.Docs(b, nobody, docs) })
	for name, d := range adminPages() {
		keep(name, func(b *bytes.Buffer) error { return p.Screen(b, f, d) })
	}
	keep("online list", func(b *bytes.Buffer) error { return p.OnlinePart(b, f, ui.Online{}) })
	for _, status := range []int{400, 403, 404, 429, 503} {
		keep("notice", func(b *bytes.Buffer) error {
			return p.Notice(b, nobody, ui.Notice{Status: status, Code: "x", Request: "r"})
		})
	}
	return out
}

func TestPages(t *testing.T) {
	inline := regexp.MustCompile(`<style|<script>|<script [^st]| style=| on[a-z]+=|javascript:`)
	for _, lang := range []ui.Lang{ui.Indonesian, ui.English, "xx"} {
		for name, page := range pages(t, lang) {
			if strings.Contains(page, "%!") || strings.Contains(page, "<Ani>") || inline.MatchString(page) {
				t.Errorf("%s, %s:\n%s", lang, name, page)
			}
			if strings.Contains(page, "<title>") && !regexp.MustCompile(`<title>[^<]+ · hadir</title>`).MatchString(page) {
				t.Errorf("%s, %s: the title says nothing of the page", lang, name)
			}
		}
	}
	id, en := pages(t, ui.Indonesian), pages(t, ui.English)
	for page, parts := range map[string][]string{
		id["home"]:      {"Senin, 23 November 2026", "06.58.14 WIB", "hadir sejak 06.57.14 WIB", "2026-11-22T23:58:14.000Z"},
		en["home"]:      {"Monday, 23 November 2026", "06:58:14 WIB", "present since"},
		id["accepted "]: {"Tercatat 06.58.14 WIB", "4,1 ms"}, en["accepted "]: {"4.1 ms"}, id["accepted of_tomorrow"]: {"of_tomorrow"},
		id["group"]: {"1 dari 2 sudah hadir", "pulang 07.58.14 WIB"}, en["dashboard"]: {`data-minutes="[[415,3]]"`}, en["history"]: {"/history?cursor=1.2.3"},
		id["unknown "]: {"tidak akan tercatat dua kali", "Coba lagi"}, en["no quorum"]: {"No quorum: nothing can be decided."},
	} {
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%q is not in\n%s", part, page)
			}
		}
	}
}

// TestWords: each key that a template names is there, each that is there is
// named, and no template says anything by itself.
func TestWords(t *testing.T) {
	var all, go_ strings.Builder
	if err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		b, err := fs.ReadFile(os.DirFS("."), path)
		if strings.HasSuffix(path, ".html") {
			all.Write(b)
		} else if strings.HasPrefix(path, "words") {
			go_.Write(b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	text := all.String()
	keys := regexp.MustCompile(`(?m)^\t"([a-z_.0-9x]+)":`).FindAllStringSubmatch(go_.String(), -1)
	scripts := make(map[string]bool) // groups that scripts say
	for _, m := range regexp.MustCompile(`\{\{words ([^}]*)\}\}`).FindAllStringSubmatch(text, -1) {
		for _, prefix := range regexp.MustCompile(`"([a-z]+)\."`).FindAllStringSubmatch(m[1], -1) {
			scripts[prefix[1]] = true
		}
	}
	checkScripts(t, scripts, keys)
	seen := make(map[string]bool)
	for _, m := range keys {
		if seen[m[1]] {
			t.Errorf("%s stands in the catalogue twice", m[1])
		}
		seen[m[1]] = true
	}
	if len(keys) < 50 {
		t.Fatalf("%d keys only", len(keys))
	}
	for _, m := range keys {
		key := strings.TrimSuffix(m[1], ".one") // said by count
		if key != m[1] && !strings.Contains(go_.String(), `"`+key+`":`) {
			t.Errorf("%s is one of nothing", m[1])
		}
		group, _, _ := strings.Cut(key, ".")
		byPattern := strings.Contains(text, `"`+group+`.%`) || group == "error" || scripts[group]
		if !byPattern && !strings.Contains(text, `"`+key+`"`) {
			t.Errorf("nobody says %s", key)
		}
	}
	bare := regexp.MustCompile(`\{\{[^}]*\}\}|<[^>]*>`).ReplaceAllString(text, "")
	for word := range strings.FieldsSeq(bare) {
		switch {
		case regexp.MustCompile(`^[^\pL]*$`).MatchString(word), word == "Bahasa", word == "Indonesia", word == "English":
		default:
			t.Errorf("a template says %q by itself", word)
		}
	}
}

// checkScripts: what scripts say is in the catalogue, and what is there for them
// alone they say, if only by its beginning.
func checkScripts(t *testing.T, groups map[string]bool, keys [][]string) {
	var source strings.Builder
	if err := fs.WalkDir(os.DirFS("."), "src", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ts") && !strings.HasSuffix(path, ".test.ts") {
			b, err := fs.ReadFile(os.DirFS("."), path)
			source.Write(b)
			return err
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, m := range keys {
		known[m[1]] = true
	}
	said := make(map[string]bool)
	for _, m := range regexp.MustCompile("[\"`]((?:"+strings.Join(slices.Sorted(maps.Keys(groups)), "|")+")\\.[a-z_.]*)(\\$\\{[a-z.]+\\}[a-z.]*)?[\"`]").FindAllStringSubmatch(source.String(), -1) {
		if said[m[1]] = true; m[2] == "" && !known[m[1]] {
			t.Errorf("a script says %s, which is not in the catalogue", m[1])
		}
	}
	for key := range known {
		group, _, _ := strings.Cut(key, ".")
		if groups[group] && !said[strings.TrimSuffix(key, ".one")] && !said[group+"."] {
			t.Errorf("no script says %s", key)
		}
	}
}

func TestAssets(t *testing.T) {
	p, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	page := pages(t, ui.English)["home"]
	links := regexp.MustCompile(`/assets/([^"]+)`).FindAllStringSubmatch(page, -1)
	want := 2 // style sheet and icon; the scripts only where Node has built them
	if p.Built() {
		want = 4
	}
	if len(links) != want {
		t.Errorf("links: %v", links)
	}
	if strings.Contains(page, "make build") == p.Built() {
		t.Error("a page says how to build the scripts if, and only if, they are missing")
	}
	for _, m := range links {
		a, exact, err := p.Asset(m[1])
		if err != nil || !exact || a.Type == "" || len(a.Content) == 0 {
			t.Errorf("%s: %v %v", m[1], exact, err)
		}
		if strings.HasSuffix(m[1], ".css") && (!bytes.Contains(a.Content, []byte("@layer print")) || bytes.Contains(a.Content, []byte("@import"))) {
			t.Errorf("%s is not whole", m[1])
		}
		if a.Gzip != nil {
			in, err := gzip.NewReader(bytes.NewReader(a.Gzip))
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := io.ReadAll(in); err != nil || !bytes.Equal(plain, a.Content) {
				t.Errorf("%s: the compressed form is another: %v", m[1], err)
			}
		}
	}
	if _, exact, err := p.Asset("app.0000000000.css"); err != nil || exact {
		t.Errorf("another version: %v %v", exact, err)
	}
	for _, name := range []string{"", "app.css", "app", "..", "words.0.go", "app.x.exe"} {
		if _, _, err := p.Asset(name); err == nil {
			t.Errorf("%q is served", name)
		}
	}
}
