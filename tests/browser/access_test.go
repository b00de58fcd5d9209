package browser_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/browser/chromium"
)

// TestTeacherSeesOwnGroup: no page shows a teacher somebody of another group.
func TestTeacherSeesOwnGroup(t *testing.T) {
	demo, b := theDemo(t)
	teacher := demo.account(t, "teacher")
	p := newTab(t, device(t, b, chromium.Desktop), demo.Client.Base)
	p.signIn(teacher)

	// One of theirs and one of somebody else's have just come.
	mine, err := demo.Client.SignIn(within(t, 10*time.Second), teacher.Email, teacher.Password)
	must(t, err)
	items, err := mine.List(within(t, 10*time.Second), "/api/v1/users", nil)
	must(t, err)
	var own []uint64
	for _, item := range items {
		var who person
		must(t, json.Unmarshal(item, &who))
		own = append(own, who.ID)
	}
	pick := func(ours bool) person {
		i := slices.IndexFunc(demo.students, func(s person) bool { return slices.Contains(own, s.ID) == ours })
		if i < 0 {
			t.Fatal("no student is left")
		}
		who := demo.students[i]
		demo.students = slices.Delete(demo.students, i, i+1)
		demo.tap(t, who, "in")
		return who
	}
	ours, theirs := pick(true), pick(false)

	groups, err := demo.admin.List(within(t, 10*time.Second), "/api/v1/groups", nil)
	must(t, err)
	refused := 0
	for _, path := range []string{"/", "/groups", "/dashboard", "/history"} {
		if status := p.open(path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		if path == "/" || path == "/dashboard" {
			p.await(fmt.Sprintf("document.body.innerText.includes(%q)", ours.Name))
		}
		if text := p.text("body"); strings.Contains(text, theirs.Name) {
			t.Errorf("%s names %s of another group", path, theirs.Name)
		}
	}
	for _, item := range groups {
		var g struct {
			ID   uint64
			Name string
		}
		must(t, json.Unmarshal(item, &g))
		status := p.open(fmt.Sprintf("/groups/%d", g.ID))
		text := p.text("main")
		switch status {
		case 200:
			if !strings.Contains(text, ours.Name) || strings.Contains(text, theirs.Name) {
				t.Errorf("the page of %s: %q", g.Name, text)
			}
		case 403:
			refused++
			if strings.Contains(text, theirs.Name) || strings.Contains(text, g.Name) {
				t.Errorf("the refusal tells of the group: %q", text)
			}
		default:
			t.Errorf("the page of %s: %d", g.Name, status)
		}
	}
	if refused != len(groups)-1 {
		t.Errorf("%d of %d groups were refused", refused, len(groups))
	}
}

// TestStudentOpensNothingElse: what other roles are offered, a student is neither
// offered nor given.
func TestStudentOpensNothingElse(t *testing.T) {
	demo, b := theDemo(t)
	d := device(t, b, chromium.Desktop)
	p := newTab(t, d, demo.Client.Base)
	p.signIn(demo.account(t, "admin"))
	const links = "[...document.querySelectorAll('nav.rail a')].map((a) => a.getAttribute('href'))"
	everything := value[[]string](p, links)
	p.click("form[action='/sign-out'] button")
	p.await("document.querySelector('#email')")
	p.signIn(demo.student(t))
	offered := value[[]string](p, links)
	if len(everything) < 5 || len(offered) != 2 {
		t.Errorf("an administrator is offered %v, a student %v", everything, offered)
	}
	for _, path := range everything {
		if slices.Contains(offered, path) {
			continue
		}
		if status := p.open(path); status != 403 {
			t.Errorf("%s: %d for a student", path, status)
		}
		if text := p.text("main"); !strings.Contains(text, "This account may not do that") {
			t.Errorf("%s: %q", path, text)
		}
	}
	if status := value[int](p, "fetch('/api/v1/users').then((r) => r.status)"); status != 403 {
		t.Errorf("the list of users: %d for a student", status)
	}
}
