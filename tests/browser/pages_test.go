package browser_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hadir/tests/browser/chromium"
	"hadir/tests/browser/tour"
	"hadir/tests/system/harness"
)

// readAxe gives the script of axe-core, which Node installs.
func readAxe() (string, error) {
	script, err := os.ReadFile(filepath.Join(scripts, "node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("axe-core is not installed (make assets, with Node)")
	}
	return string(script), err
}

// axe gives the same, or leaves the test out.
func axe(t *testing.T) string {
	t.Helper()
	script, err := readAxe()
	if err != nil {
		harness.LeaveOut(t, "chromium", err)
	}
	return script
}

// finding is what axe has found on a page.
type finding struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"`
	Help   string   `json:"help"`
	Where  []string `json:"where"`
}

// runAxe leaves out articles after the third in a row: the documentation has hundreds
// of the same make, and axe would take longer for them than for all other pages.
const runAxe = `axe.run({ include: document, exclude: [["article:nth-of-type(n+4)"]] }, { resultTypes: ["violations"]%s }).then(({ violations }) => violations.map(({ id, impact, help, nodes }) => ({
	id, impact: impact ?? "", help, where: nodes.slice(0, 3).map((n) => n.target.join(" ") + ": " + n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")) })))`

// examine looks at the page that is open in light and in dark colours. It fails the
// test on what axe calls serious or critical, and on a page that scrolls sideways.
func (p *tab) examine(script, name string) (lesser int) {
	p.t.Helper()
	if !value[bool](p, "'axe' in window") {
		value[bool](p, script+"; true")
	}
	for _, dark := range []bool{true, false} {
		must(p.t, p.Become(chromium.Spec{Width: chromium.Phone.Width, Height: chromium.Phone.Height, Dark: dark}))
		scheme, rules := "light", ""
		if dark { // nothing else depends on it
			scheme, rules = "dark", `, runOnly: ["color-contrast"]`
		}
		lesser += p.judge(value[[]finding](p, fmt.Sprintf(runAxe, rules)), name+" in "+scheme)
	}
	p.fits(name)
	return lesser
}

// fits fails the test on a page that scrolls sideways.
func (p *tab) fits(name string) {
	p.t.Helper()
	if wide := value[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		p.t.Errorf("%s scrolls sideways by %d px", name, wide)
	}
}

func (p *tab) judge(found []finding, name string) (lesser int) {
	p.t.Helper()
	for _, f := range found {
		if f.Impact != "serious" && f.Impact != "critical" {
			lesser++
			p.t.Logf("%s: %s, %s: %s: %v", name, f.Impact, f.ID, f.Help, f.Where)
			continue
		}
		p.t.Errorf("%s: %s, %s: %s\n%s", name, f.Impact, f.ID, f.Help, strings.Join(f.Where, "\n"))
	}
	return lesser
}

// TestEveryPage: nothing serious by axe, nothing sideways at 390 px, no exception
// and no breach of the policy, on every page that there is a link to. Axe takes long
// and looks at each kind of page once, as the role that has the most on it.
func TestEveryPage(t *testing.T) {
	demo, b := theDemo(t)
	script := axe(t)
	demo.tap(t, demo.student(t), "in") // so that lists have something
	var seen []string
	examined, lesser := map[string]bool{}, 0
	for _, role := range []string{"", "admin", "teacher", "student"} {
		p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
		from := []tour.Stop{tour.Home()}
		if role == "" {
			from = append(from, tour.Public()...)
		} else {
			p.signIn(demo.account(t, role))
		}
		must(t, tour.Walk(p.Page, p.base, func(s tour.Stop) error {
			seen = append(seen, strings.TrimPrefix(role+":"+s.Name, ":"))
			if value[bool](p, "!!document.querySelector('[x-cloak]')") {
				p.await("!document.querySelector('[x-cloak]')") // its script has it
			}
			name := fmt.Sprintf("%s for %q", s.Path, role)
			if examined[s.Name] {
				p.fits(name)
				return nil
			}
			examined[s.Name] = role != "" // the first page is another one for nobody
			lesser += p.examine(script, name)
			return nil
		}, from...))
	}
	t.Logf("%d pages, %d lesser findings: %s", len(seen), lesser, strings.Join(seen, " "))
}

// TestReceipts: the looks of a receipt that a walk does not come across.
func TestReceipts(t *testing.T) {
	demo, b := theDemo(t)
	script := axe(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(demo.student(t))
	p.live()
	p.click(tapIn)
	p.becomes("accepted")
	p.examine(script, "the receipt accepted")
	p.click(tapIn)
	p.becomes("duplicate")
	p.examine(script, "the receipt duplicate")
	must(t, p.GoOffline(true))
	p.await("!navigator.onLine")
	p.click("button.tap.out")
	p.becomes("waiting")
	p.examine(script, "the receipt waiting")
	must(t, p.GoOffline(false))
	p.becomes("accepted")
}

// TestWeight: what a phone must fetch for the check-in page, compressed.
func TestWeight(t *testing.T) {
	demo, b := theDemo(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(demo.account(t, "admin"))
	const kilobyte = 1000
	for _, page := range []struct {
		path        string
		script, css int // limits in bytes
	}{
		{"/", 60 * kilobyte, 15 * kilobyte},
		{"/dashboard", 60 * kilobyte, 15 * kilobyte},
		{"/cluster", 60 * kilobyte, 15 * kilobyte},
	} {
		p.open(page.path)
		files := value[[]string](p, "[...new Set(performance.getEntriesByType('resource').map((r) => new URL(r.name).pathname))].filter((n) => /[.](js|css)$/.test(n))")
		script, css := 0, 0
		for _, file := range files {
			if size := weight(t, demo.Client.Base+file); strings.HasSuffix(file, ".css") {
				css += size
			} else {
				script += size
			}
		}
		t.Logf("%s: %d bytes of scripts, %d bytes of style", page.path, script, css)
		if script == 0 || css == 0 || script > page.script || css > page.css {
			t.Errorf("%s: %d bytes of scripts and %d bytes of style in %v", page.path, script, css, files)
		}
	}
}

// weight gives how many bytes come over the wire for a file, as for a browser.
func weight(t *testing.T, address string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodGet, address, nil)
	must(t, err)
	request.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd") // and no unpacking by net/http
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Encoding") == "" {
		t.Errorf("%s: %s, not compressed", address, answer.Status)
	}
	return len(body)
}
