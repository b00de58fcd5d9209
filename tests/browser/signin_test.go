package browser_test

import (
	"strings"
	"testing"

	"hadir/tests/browser/chromium"
)

// TestSignIn: a wrong password, the right one, the way out, and one click.
func TestSignIn(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)

	p.open("/?lang=en")
	must(t, p.Type("#email", who.Email))
	must(t, p.Type("#password", "not "+who.Password))
	p.click("button.main")
	p.await("document.querySelector('[role=alert]')")
	if p.text("[role=alert]") == "" || value[string](p, "document.querySelector('#email').value") != who.Email {
		t.Errorf("after a wrong password: %q", p.text("main"))
	}

	p.signIn(who)
	if !strings.Contains(p.text("main"), who.Name) {
		t.Errorf("%s is not greeted: %q", who.Name, p.text("main"))
	}
	p.click("form[action='/sign-out'] button")
	p.await("document.querySelector('#email')")
	if status := p.open("/history"); status != 200 || p.text("#email") != "" || value[bool](p, "!document.querySelector('#email')") {
		t.Errorf("after signing out, /history is %d: %q", status, p.text("main"))
	}

	// The demo offers one account of each role.
	buttons := value[int](p, "document.querySelectorAll('form:has([type=hidden]) button').length")
	if buttons != 3 {
		t.Errorf("%d accounts are offered", buttons)
	}
	p.click("form:has([value^='admin@']) button")
	p.await("document.querySelector('nav a[href=\"/cluster\"]')")
}

// TestLanguages: the whole page changes where one is, and the next one is in the
// language too.
func TestLanguages(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(who)
	for _, tc := range []struct{ lang, in, history string }{
		{"id", "Absen masuk", "Riwayat"}, {"en", "Check in", "History"},
	} {
		p.open("/history")
		p.click("footer a[hreflang=" + tc.lang + "]")
		p.await("location.pathname === '/history' && document.documentElement.lang === '" + tc.lang + "'")
		if got := p.text("nav a[aria-current]"); got != tc.history {
			t.Errorf("%s: the navigation says %q", tc.lang, got)
		}
		p.click("nav a[href='/']")
		p.await("document.documentElement.lang === '" + tc.lang + "' && document.querySelector('.place p')?.innerText")
		if got := p.text("button.tap.in"); !strings.Contains(got, tc.in) {
			t.Errorf("%s: the button says %q", tc.lang, got)
		}
	}
}
