// Package browser tests hadir's pages as people use them: a real Chromium against
// real processes.
//
//	HADIR_BIN=path               use this binary instead of building one
//	HADIR_TEST_REQUIRE=chromium  fail instead of leaving everything out
//
// One demo and one browser serve all tests that leave them healthy. Every test has
// devices of its own and people who have not tapped yet.
package browser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hadir/tests/browser/chromium"
	"hadir/tests/system/harness"
)

var (
	bin string
	tmp string // of this run
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if tmp, err = os.MkdirTemp("", "hadir-browser-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(tmp)
	bin = os.Getenv("HADIR_BIN")
	defer shared.drop()
	return m.Run(), nil
}

// scripts is the folder of what Node builds and installs.
var scripts = filepath.Join("..", "..", "ui")

// missing says why nothing of this can run; nil when it can.
var missing = sync.OnceValue(func() error {
	if _, err := chromium.Find(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(scripts, "dist", "app.js")); err != nil {
		return errors.New("the pages' scripts are not built (make assets, with Node)")
	}
	return nil
})

// built builds the binary once.
var built = sync.OnceValue(func() error {
	err := harness.NoteSources()
	if bin != "" || err != nil {
		return err
	}
	// Without the race detector, which the system tests have: the browser needs the time.
	bin, err = harness.Build(context.Background(), tmp, false)
	return err
})

// shared is what all tests use that leave it healthy. A test that failed takes it
// with it.
var shared stage

// stage is a demo and who of its people was given to a test.
type stage struct {
	mu      sync.Mutex
	browser *chromium.Browser
	demo    *show
}

func (s *stage) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demo.close()
	s.demo = nil
	if s.browser != nil {
		s.browser.Close()
		s.browser = nil
	}
}

// show is a running demo with its administrator.
type show struct {
	*harness.Demo
	admin    harness.Client
	info     harness.Info
	students []person // who have not tapped
}

type person struct {
	ID              uint64
	Name            string
	Email, Password string
}

func (s *show) close() {
	if s != nil {
		s.Close()
	}
}

// enter gives the shared browser, or leaves the test out.
func enter(t *testing.T) *chromium.Browser {
	t.Helper()
	if err := missing(); err != nil {
		harness.LeaveOut(t, "chromium", err)
	}
	must(t, built())
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.browser == nil {
		b, err := chromium.Start()
		must(t, err)
		shared.browser = b
	}
	return shared.browser
}

// theDemo gives the shared demo, healthy, and the browser.
func theDemo(t *testing.T) (*show, *chromium.Browser) {
	t.Helper()
	b := enter(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.demo == nil {
		shared.demo = startDemo(t)
	}
	d := shared.demo
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.Log())
			shared.mu.Lock()
			defer shared.mu.Unlock()
			d.close()
			shared.demo = nil
		}
	})
	d.healthy(t)
	return d, b
}

// startDemo starts one; env goes to every node.
func startDemo(t *testing.T, env ...string) *show {
	t.Helper()
	d, err := harness.StartDemo(within(t, 60*time.Second), harness.DemoOptions{
		Bin: bin, Nodes: 3, Info: filepath.Join(tmp, harness.Key()+".json"), Env: env,
	})
	s := &show{Demo: d}
	if err == nil {
		s.info, err = d.Info()
	}
	if err == nil {
		s.admin, err = d.SignIn(within(t, 20*time.Second), "admin")
	}
	if err != nil {
		if d != nil {
			t.Log(d.Log())
			d.Close()
		}
		t.Fatal(err)
	}
	items, err := s.admin.List(within(t, 20*time.Second), "/api/v1/users", map[string][]string{"role": {"student"}})
	must(t, err)
	for _, item := range items {
		var p person
		must(t, json.Unmarshal(item, &p))
		p.Password = s.account(t, "student").Password // all have one
		s.students = append(s.students, p)
	}
	return s
}

// account gives the first account of a role.
func (s *show) account(t *testing.T, role string) person {
	t.Helper()
	for _, a := range s.info.Accounts {
		if a.Role == role {
			return person{Email: a.Email, Password: a.Password}
		}
	}
	t.Fatalf("the demo names no account of role %s", role)
	return person{}
}

// student gives one who has not tapped.
func (s *show) student(t *testing.T) person {
	t.Helper()
	if len(s.students) == 0 {
		t.Fatal("all students have tapped")
	}
	last := len(s.students) - 1
	p := s.students[last]
	s.students = s.students[:last]
	return p
}

// node gives the address of the i-th node, without the front.
func (s *show) node(i int) string { return s.info.Nodes[i].URL }

// healthy waits until all nodes are there and agree.
func (s *show) healthy(t *testing.T) {
	t.Helper()
	must(t, harness.Await(within(t, 40*time.Second), func() error {
		for _, n := range s.info.Nodes {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			v, err := s.admin.At(n.URL).View(ctx)
			cancel()
			if err != nil {
				return err
			}
			if v.Leader == "" || v.CanLose != 1 {
				return fmt.Errorf("%s: leader %q, can lose %d", n.ID, v.Leader, v.CanLose)
			}
		}
		return nil
	}))
}

// process gives the process of a node, or what is wrong with it.
func (s *show) process(node string) (*harness.Foreign, error) {
	info, err := s.Info()
	if err != nil {
		return nil, err
	}
	for _, n := range info.Nodes {
		if n.ID == node {
			return harness.FindForeign(n.PID, filepath.Base(n.DataDir))
		}
	}
	return nil, fmt.Errorf("the demo has no node %s", node)
}

// kill ends a node as a power cut would, and returns when it is dead.
func (s *show) kill(t *testing.T, node string) {
	t.Helper()
	child, err := s.process(node)
	must(t, err)
	must(t, child.Signal(syscall.SIGKILL))
	must(t, harness.Await(within(t, 10*time.Second), func() error {
		if child.Alive() {
			return fmt.Errorf("%s lives", node)
		}
		return nil
	}))
}

// back starts the nodes that do not run, and waits until the cluster is whole.
func (s *show) back(t *testing.T) {
	t.Helper()
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		for _, n := range s.info.Nodes {
			if child, err := s.process(n.ID); err == nil && child.Alive() {
				continue
			}
			return errors.Join(fmt.Errorf("%s does not run", n.ID), s.Control(within(t, 10*time.Second), s.admin, n.ID, "start"))
		}
		return nil
	}))
	s.healthy(t)
}

// records gives the attendances of somebody, as the cluster has them.
func (s *show) records(t *testing.T, who person) []record {
	t.Helper()
	items, err := s.admin.List(within(t, 20*time.Second), "/api/v1/attendances", map[string][]string{
		"user_id": {fmt.Sprint(who.ID)}, "consistency": {"strong"},
	})
	must(t, err)
	var out []record
	for _, item := range items {
		var r record
		must(t, json.Unmarshal(item, &r))
		out = append(out, r)
	}
	return out
}

type record struct {
	harness.Attendance
	Latitude      *float64 `json:"latitude"`
	Longitude     *float64 `json:"longitude"`
	Accuracy      *float64 `json:"accuracy_m"`
	LocationError string   `json:"location_error"`
	Offline       bool     `json:"offline"`
}

// tab is a page of a test: what goes wrong with it fails the test.
type tab struct {
	*chromium.Page
	t    *testing.T
	base string
}

// device makes a device that ends with the test.
func device(t *testing.T, b *chromium.Browser, spec chromium.Spec) *chromium.Device {
	t.Helper()
	d, err := b.Device(spec)
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

// newTab opens a page on the device; base is the address of the node or front.
func newTab(t *testing.T, d *chromium.Device, base string) *tab {
	t.Helper()
	p, err := d.Page()
	must(t, err)
	out := &tab{Page: p, t: t, base: base}
	t.Cleanup(func() {
		for _, fault := range p.Faults() {
			t.Errorf("the page complained: %s", fault)
		}
	})
	return out
}

// open goes to a path of the site.
func (p *tab) open(path string) (status int) {
	p.t.Helper()
	status, err := p.Open(p.base + path)
	must(p.t, err)
	return status
}

// await waits until an expression of JavaScript is true, and shows the page when
// it is not in time.
func (p *tab) await(expression string) {
	p.t.Helper()
	if err := p.Await(within(p.t, 30*time.Second), expression); err != nil {
		p.fail(err)
	}
}

// fail ends the test and shows the page.
func (p *tab) fail(why any) {
	p.t.Helper()
	text, _ := chromium.Eval[string](p.Page, "location.href + '\\n' + document.body.innerText")
	p.t.Fatalf("%v\nthe page: %s", why, text)
}

// value gives the value of an expression.
func value[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromium.Eval[T](p.Page, expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (p *tab) text(selector string) string {
	p.t.Helper()
	text, err := p.Text(selector)
	must(p.t, err)
	return text
}

func (p *tab) click(selector string) {
	p.t.Helper()
	must(p.t, p.Click(selector))
}

// signIn goes to the first page and signs in as somebody, in English.
func (p *tab) signIn(who person) {
	p.t.Helper()
	p.open("/?lang=en")
	must(p.t, p.Type("#email", who.Email))
	must(p.t, p.Type("#password", who.Password))
	p.click("button.main")
	p.await("document.querySelector('form[action=\"/sign-out\"]')")
}

// within gives a context for a condition that is awaited.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
