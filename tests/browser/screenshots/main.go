// Command screenshots takes pictures of every page of hadir, for people to look at.
//
//	go run ./tests/browser/screenshots [-dir screenshots] [-bin path]
//
// A demo runs on this machine, with a school morning under way. Each page that
// somebody can get to is taken at 390 px and at 1440 px, in Indonesian and in
// English, in light and in dark colours, whole as far as it is not very long; then
// the receipts of taps and the cluster page while nodes are dead. It fails when a
// page scrolls sideways or complains.
//
// The folder seen in it holds what is seen of a page without scrolling, for the
// README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hadir/tests/browser/chromium"
	"hadir/tests/browser/tour"
	"hadir/tests/system/harness"
)

func main() {
	dir := flag.String("dir", "screenshots", "where the pictures go")
	bin := flag.String("bin", "", "binary to run (default: built from this source)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *dir, *bin)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, bin string) (err error) {
	tmp, err := os.MkdirTemp("", "hadir-screenshots-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if bin == "" {
		if bin, err = harness.Build(ctx, tmp, false); err != nil {
			return err
		}
	}
	demo, err := harness.StartDemo(ctx, harness.DemoOptions{Bin: bin, Nodes: 3, Info: filepath.Join(tmp, "info.json")})
	if demo != nil {
		defer demo.Close()
	}
	if err != nil {
		return err
	}
	browser, err := chromium.Start()
	if err != nil {
		return err
	}
	defer browser.Close()
	s := &studio{ctx: ctx, dir: dir, demo: demo, browser: browser}
	if s.admin, err = demo.SignIn(ctx, "admin"); err != nil {
		return err
	}
	for _, lang := range []string{"en", "id"} {
		if err := inOrder(s.morning, func() error { return s.pages(lang) }, func() error { return s.taps(lang) }); err != nil {
			return err
		}
	}
	fmt.Printf("%d pictures in %s\n", s.taken, dir)
	return s.ugly
}

// studio is what the pictures are taken with.
type studio struct {
	ctx     context.Context
	dir     string
	demo    *harness.Demo
	admin   harness.Client
	browser *chromium.Browser
	taken   int
	ugly    error // what is wrong with pages
}

// rows that there are before the first picture.
const rows = 30

// morning begins a school morning and waits until there is something to see.
func (s *studio) morning() error {
	if err := s.demo.Control(s.ctx, s.admin, "school", "start"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	return harness.Await(ctx, func() error {
		items, err := s.admin.List(ctx, "/api/v1/attendances", nil)
		if err == nil && len(items) < rows {
			err = fmt.Errorf("%d of %d rows", len(items), rows)
		}
		return err
	})
}

var (
	sizes   = []chromium.Spec{chromium.Phone, chromium.Desktop}
	schemes = map[bool]string{false: "light", true: "dark"}
)

// longest is how much of a page is taken, in CSS pixels.
const longest = 2600

// shoot takes the page that is open; anew prepares it for each size and scheme.
func (s *studio) shoot(p *chromium.Page, lang, name string, anew func() error) error {
	for _, size := range sizes {
		for _, dark := range []bool{false, true} {
			size.Dark = dark
			if err := errors.Join(p.Become(size), anew(), s.settled(p)); err != nil {
				return err
			}
			file := fmt.Sprintf("%s-%s-%s-%d.png", name, lang, schemes[dark], size.Width)
			wide, err := chromium.Eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth")
			if err != nil {
				return err
			}
			if wide > 0 {
				s.ugly = errors.Join(s.ugly, fmt.Errorf("%s scrolls sideways by %d px", file, wide))
			}
			whole, err := p.Whole(size, longest)
			if err != nil {
				return err
			}
			seen, err := p.Screenshot()
			if err := errors.Join(err, s.save(file, whole), s.save(filepath.Join("seen", file), seen)); err != nil {
				return err
			}
		}
	}
	for _, fault := range p.Faults() {
		s.ugly = errors.Join(s.ugly, fmt.Errorf("%s: %s", name, fault))
	}
	return nil
}

// settled waits until the page's script has it and what it fetches is there.
func (s *studio) settled(p *chromium.Page) error {
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	return p.Await(ctx, `document.readyState === "complete" && !document.querySelector("[x-cloak]") &&
		(!document.querySelector(".verdict") || document.querySelector(".verdict").dataset.verdict) &&
		![...document.querySelectorAll("[data-poll]")].some((part) => part.children.length === 0)`)
}

func (s *studio) save(file string, picture []byte) error {
	path := filepath.Join(s.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	s.taken++
	return os.WriteFile(path, picture, 0o644)
}

// visit gives a new phone at the front, somewhere, signed in as somebody, or not
// with "".
func (s *studio) visit(lang, email, password string) (*chromium.Page, func(), error) {
	d, err := s.browser.Device(chromium.Phone)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.Page()
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(d.AllowPlace(true), p.StandAt(-6.2009, 106.8451, 14))
	if err == nil {
		_, err = p.Open(s.demo.Client.Base + "/?lang=" + lang)
	}
	if err == nil && email != "" {
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		err = errors.Join(p.Type("#email", email), p.Type("#password", password), p.Click("button.main"),
			p.Await(ctx, "document.querySelector('nav.rail')"))
	}
	return p, d.Close, err
}

// account gives the first one of a role.
func (s *studio) account(role string) (email, password string, err error) {
	info, err := s.demo.Info()
	if err != nil {
		return "", "", err
	}
	for _, a := range info.Accounts {
		if a.Role == role {
			return a.Email, a.Password, nil
		}
	}
	return "", "", fmt.Errorf("there is no %s", role)
}

// pages takes every page of every role.
func (s *studio) pages(lang string) error {
	for _, role := range []string{"", "student", "teacher", "admin"} {
		email, password := "", ""
		var err error
		if role != "" {
			if email, password, err = s.account(role); err != nil {
				return err
			}
		}
		p, done, err := s.visit(lang, email, password)
		if err != nil {
			return err
		}
		from := []tour.Stop{tour.Home()}
		if role == "" {
			from = append(from, tour.Public()...)
		}
		err = tour.Walk(p, s.demo.Client.Base, func(stop tour.Stop) error {
			again := func() error {
				_, err := p.Open(s.demo.Client.Base + stop.Path)
				return err
			}
			return s.shoot(p, lang, strings.TrimPrefix(role+"-"+stop.Name, "-"), again)
		}, from...)
		done()
		if err != nil {
			return fmt.Errorf("as %q: %w", role, err)
		}
	}
	return nil
}

const receipt = "document.querySelector('#receipt').dataset.look"

// tap presses the button of an arrival and waits for how the receipt looks.
func (s *studio) tap(p *chromium.Page, look string) error {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	return inOrder(
		func() error { return p.Await(ctx, "document.querySelector('.place p')?.innerText") },
		func() error { return p.Click("button.tap.in") },
		func() error { return p.Await(ctx, receipt+" === '"+look+"'") },
	)
}

// asItIs is for a page that is taken without loading it again.
func asItIs() error { return nil }

// inOrder runs steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// newcomer makes a student who has not tapped, and has no part in the morning.
func (s *studio) newcomer(name string) (email, password string, err error) {
	email, password = strings.ReplaceAll(strings.ToLower(name), " ", ".")+"@sekolah.example", harness.Key()
	a, err := s.admin.Do(s.ctx, http.MethodPost, "/api/v1/users", "", map[string]string{
		"name": name, "email": email, "role": "student", "password": password,
	})
	if err == nil && a.Status != http.StatusCreated {
		err = errors.New(a.String())
	}
	return email, password, err
}

// taps takes what a tap may come to: accepted, duplicate, and kept on the phone;
// then, with two nodes dead, recorded. The cluster page is taken beside it.
func (s *studio) taps(lang string) error {
	email, password, err := s.newcomer(map[string]string{"id": "Sari Puspita", "en": "Bima Sakti"}[lang])
	if err != nil {
		return err
	}
	p, done, err := s.visit(lang, email, password)
	if err != nil {
		return err
	}
	defer done()
	shoot := func(name string) func() error {
		return func() error { return s.shoot(p, lang, "receipt-"+name, asItIs) }
	}
	tap := func(look string) func() error { return func() error { return s.tap(p, look) } }
	offline := func(offline bool) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
			defer cancel()
			return errors.Join(p.GoOffline(offline), p.Await(ctx, fmt.Sprintf("navigator.onLine === %t", !offline)))
		}
	}
	if err := inOrder(
		tap("accepted"), s.spread(p), shoot("accepted"), tap("duplicate"), shoot("duplicate"),
		offline(true), tap("waiting"), shoot("waiting"), offline(false),
	); err != nil {
		return err
	}
	return s.failures(p, lang)
}

// spread waits until the ladder says that every node has the record.
func (s *studio) spread(p *chromium.Page) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		return p.Await(ctx, "!document.querySelector('.ladder li:not([data-done=true])')")
	}
}

// failures kills the leader, then another node, and brings them back.
func (s *studio) failures(phone *chromium.Page, lang string) error {
	email, password, err := s.account("admin")
	if err != nil {
		return err
	}
	p, done, err := s.visit(lang, email, password)
	if err != nil {
		return err
	}
	defer done()
	view, err := s.admin.View(s.ctx)
	if err != nil {
		return err
	}
	other := "n1"
	if view.Leader == other {
		other = "n2"
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	verdict := func(v string) func() error {
		return func() error { return p.Await(ctx, "document.querySelector('.verdict').dataset.verdict === '"+v+"'") }
	}
	control := func(node, act string) func() error {
		return func() error {
			return harness.Await(ctx, func() error { return s.demo.Control(ctx, s.admin, node, act) })
		}
	}
	shoot := func(name string) func() error {
		return func() error { return s.shoot(p, lang, name, asItIs) }
	}
	return inOrder(
		func() error { _, err := p.Open(s.demo.Client.Base + "/cluster"); return err },
		verdict("healthy"),
		control(view.Leader, "kill"), verdict("fragile"), shoot("cluster-leader-killed"),
		control(other, "kill"), verdict("stopped"), shoot("cluster-no-quorum"),
		func() error { return s.tap(phone, "recorded") },
		func() error { return s.shoot(phone, lang, "receipt-recorded", asItIs) },
		control(view.Leader, "start"), control(other, "start"), verdict("healthy"),
		control("school", "stop"),
		func() error {
			return p.Await(ctx, "/^\\d/.test(document.querySelector('.proof [data-key=lost] strong').innerText)")
		},
		shoot("cluster-proof"),
	)
}
