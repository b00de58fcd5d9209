package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/browser/chromium"
	"hadir/tests/system/harness"
)

// tap records somebody's tap without a browser. After an election a slow node may not
// be sure of the leader yet: then it waits, and the event comes all the same.
func (s *show) tap(t *testing.T, who person, kind string) {
	t.Helper()
	a, err := s.admin.Do(within(t, 20*time.Second), http.MethodPost, "/api/v1/checkins", harness.Key(), harness.Tap{Type: kind, User: who.ID})
	must(t, err)
	if a.Status != http.StatusCreated && a.Status != http.StatusAccepted {
		t.Fatalf("the tap of %s: %s", who.Name, a)
	}
}

// TestServerDiesBeforeItAnswers: the node of the page is killed between the tap and
// its answer, before the tap arrived and after it was decided. Either way the
// receipt turns green by itself, and there is one record.
func TestServerDiesBeforeItAnswers(t *testing.T) {
	demo, b := theDemo(t)
	t.Run("before it was decided", func(t *testing.T) {
		who := demo.student(t)
		p := newTab(t, device(t, b, chromium.Phone), demo.node(1))
		p.signIn(who)
		p.live()
		node, err := demo.process("n2")
		must(t, err)
		must(t, node.Freeze(within(t, 10*time.Second)))
		t.Cleanup(func() { demo.back(t) })
		p.click(tapIn)
		p.becomes("sending") // it is on its way, to a node that does nothing
		demo.kill(t, "n2")
		p.becomes("waiting")
		demo.back(t)
		p.becomes("accepted")
		once(t, demo, who)
	})
	t.Run("after it was decided", func(t *testing.T) {
		who := demo.student(t)
		p := newTab(t, device(t, b, chromium.Phone), demo.node(1))
		p.signIn(who)
		p.live()
		answers, err := p.Hold("*/api/v1/checkins")
		must(t, err)
		t.Cleanup(func() { demo.back(t) })
		p.click(tapIn)
		var answer *chromium.Held
		select {
		case answer = <-answers:
		case <-within(t, 20*time.Second).Done():
			p.fail("no answer to the tap")
		}
		before := once(t, demo, who)
		demo.kill(t, "n2")
		must(t, answer.Lose())
		p.becomes("waiting")
		demo.back(t)
		p.becomes("accepted")
		if after := once(t, demo, who); after.ID != before.ID {
			t.Errorf("the record was %+v and is %+v", before, after)
		}
	})
}

// TestNoQuorum: with two of three nodes dead, a tap gets an amber receipt, which
// turns green when they are back. Another device of the same person is told that it
// waits, and when it no longer does.
func TestNoQuorum(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(who)
	p.live()
	other := newTab(t, device(t, b, chromium.Desktop), demo.node(2))
	other.signIn(who)
	other.live()
	t.Cleanup(func() { demo.back(t) })
	demo.kill(t, "n1")
	demo.kill(t, "n2")
	p.click(tapIn)
	p.becomes("recorded")
	if got := p.text("#receipt"); !strings.Contains(got, "n3") {
		t.Errorf("the receipt does not say where it is recorded: %q", got)
	}
	const waits = "document.querySelector('.checkin').innerText.includes('1 check-in is not decided yet')"
	other.await(waits)
	at := time.Now()
	demo.back(t)
	p.becomes("accepted")
	other.await("!" + waits)
	r := once(t, demo, who)
	if r.Timestamp.After(at) || r.Node != "n3" {
		t.Errorf("recorded before %s at n3, decided as %+v", at, r)
	}
}

// TestClusterPageWithoutFront: at a node of its own, the cluster page shows what that
// node says, steadily, and that another one is dead.
func TestClusterPageWithoutFront(t *testing.T) {
	demo, b := theDemo(t)
	p := newTab(t, device(t, b, chromium.Desktop), demo.node(0))
	p.signIn(demo.account(t, "admin"))
	p.open("/cluster")
	const verdict = "document.querySelector('.verdict').dataset.verdict"
	p.await(verdict + " === 'healthy'")
	value[bool](p, watchVerdicts)
	t.Cleanup(func() { demo.back(t) })
	demo.kill(t, "n3")
	p.await("document.querySelector('.node[data-role=down]')?.innerText.includes('n3')")
	p.await(verdict + " === 'fragile'")
	demo.back(t)
	p.await(verdict + " === 'healthy' && !document.querySelector('.node[data-role=down]')")
	if verdicts := value[[]string](p, "window.verdicts"); slices.Contains(verdicts, "unreachable") || slices.Contains(verdicts, "stopped") {
		t.Errorf("two of three nodes were there at all times, and the page has said %v", verdicts)
	}
}

// watchRows makes a page remember every row that was ever in a list, by who and
// what, in the order in which they came, oldest first.
const watchRows = `(() => {
	const list = document.getElementById("arrivals");
	const text = (li) => li.querySelector(".name").dataset.user + " " + li.querySelector(".kind").className.replace("kind ", "") + " " + li.querySelector("time").getAttribute("datetime");
	window.rows = [];
	new MutationObserver((changes) => {
		for (const change of changes) for (const li of [...change.addedNodes].reverse()) if (li.nodeName === "LI") window.rows.push(text(li));
	}).observe(list, { childList: true });
	return true;
})()`

// watchVerdicts makes the cluster page remember every verdict.
const watchVerdicts = `(() => {
	const at = document.querySelector(".verdict");
	window.verdicts = [at.dataset.verdict];
	new MutationObserver(() => window.verdicts.push(at.dataset.verdict)).observe(at, { attributeFilter: ["data-verdict"] });
	return true;
})()`

// mostRows is how many rows the dashboard holds, whatever comes in.
const mostRows = 50

// lead has a node lead, if need be by several transfers.
func (s *show) lead(t *testing.T, node string) {
	t.Helper()
	for range 20 {
		s.healthy(t) // nobody speaks of an earlier leader
		v, err := s.admin.View(within(t, 5*time.Second))
		must(t, err)
		if v.Leader == node {
			return
		}
		// That it was not done in time is no fault: the next round sees who leads.
		_, err = s.admin.Do(within(t, 10*time.Second), http.MethodPost, "/api/v1/cluster/transfer", "", nil)
		must(t, err)
	}
	t.Fatalf("%s never leads", node)
}

// everybody has all students come and go who have not yet.
func (s *show) everybody(t *testing.T) {
	t.Helper()
	for _, who := range s.students {
		for _, kind := range []string{"in", "out"} {
			a, err := s.admin.Do(within(t, 20*time.Second), http.MethodPost, "/api/v1/checkins", harness.Key(), harness.Tap{Type: kind, User: who.ID})
			must(t, err)
			if a.Status != http.StatusCreated && a.Status != http.StatusConflict && a.Status != http.StatusAccepted {
				t.Fatalf("the tap of %s: %s", who.Name, a)
			}
		}
	}
}

// TestSchoolMorning: taps come in, the leader is killed with a click while the
// dashboard and the cluster page are open, and both go on: no row is missing and
// none is there twice, the election is seen, and the proof strip says lost 0.
func TestSchoolMorning(t *testing.T) {
	b := enter(t)
	demo := startDemo(t) // of its own: everybody taps
	defer demo.close()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(demo.Log())
		}
	})
	admin := demo.account(t, "admin")
	d := device(t, b, chromium.Desktop)
	board := newTab(t, d, demo.Client.Base)
	board.signIn(admin)
	view := newTab(t, d, demo.Client.Base)

	board.open("/dashboard")
	board.await("document.querySelector('.plot canvas')")
	value[bool](board, watchRows)
	view.open("/cluster")
	view.await("document.querySelector('.verdict').dataset.verdict === 'healthy'")
	value[bool](view, watchVerdicts)

	view.click("button.main[data-act=start]")
	board.await("window.rows.length >= 5")
	demo.lead(t, board.Stream()) // what is killed is what the dashboard hangs on
	leads := "document.querySelector('.node[data-role=leader] h2')?.innerText.trim()"
	view.await(leads + " === '" + board.Stream() + "'")
	// An election may be over before anybody has looked: then somebody else took over.
	const elections = "[...document.querySelectorAll('.feed li')].filter((li) => /leads, term|took over, term/.test(li.innerText)).length"
	before := value[int](view, elections)
	cut := board.Stream()
	view.click("button.danger")
	view.await("document.querySelector('.node[data-role=down]')")
	dead := value[string](view, "document.querySelector('.node[data-role=down] h2').innerText.trim()")
	view.await(fmt.Sprintf("%s && %s !== '%s' && %s > %d", leads, leads, dead, elections, before))
	if verdicts := value[[]string](view, "window.verdicts"); slices.Contains(verdicts, "stopped") || slices.Contains(verdicts, "unreachable") {
		t.Errorf("two of three nodes were there at all times, and the page has said %v", verdicts)
	}

	// Rows go on coming, and the dead node comes back.
	rows := value[int](board, "window.rows.length")
	a, err := demo.admin.Do(within(t, 20*time.Second), http.MethodPost, "/api/v1/checkins", harness.Key(), harness.Tap{Type: "in"})
	must(t, err)
	// A slow node may not be sure of the leader again: then it records, and the row
	// comes all the same.
	if a.Status != http.StatusCreated && a.Status != http.StatusAccepted {
		t.Fatalf("a tap after the election: %s", a)
	}
	board.await(fmt.Sprintf("window.rows.length > %d", rows))
	if cut == dead && board.Stream() == dead {
		t.Errorf("the dashboard's stream is still that of %s", dead)
	}
	view.click(fmt.Sprintf("button[data-node=%s][data-act=start]", dead))
	view.await(fmt.Sprintf("document.querySelector('.feed').innerText.includes('%s answers again')", dead))
	view.click("button[data-node=school][data-act=stop]")
	// Nobody knows before the end.
	view.await("/^\\d/.test(document.querySelector('.proof [data-key=lost] strong')?.innerText ?? '')")
	if lost := view.text(".proof [data-key=lost] strong"); lost != "0" {
		t.Errorf("lost: %s", lost)
	}
	demo.healthy(t)
	demo.everybody(t)

	items, err := demo.admin.List(within(t, 20*time.Second), "/api/v1/attendances", map[string][]string{"consistency": {"strong"}})
	must(t, err)
	var want []string
	for _, item := range items {
		var r record
		must(t, json.Unmarshal(item, &r))
		want = append(want, fmt.Sprintf("%d %s %s", r.User, r.Type, r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	board.await(fmt.Sprintf("window.rows.length >= %d", len(want)))
	got := value[[]string](board, "window.rows")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("the cluster has\n%s\nand the dashboard has shown\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	if listed := value[int](board, "document.getElementById('arrivals').children.length"); len(got) <= mostRows || listed > mostRows {
		t.Errorf("%d rows have come and the list holds %d", len(got), listed)
	}
	feed := value[string](view, "document.querySelector('.feed').innerText")
	if !value[bool](view, "[...document.querySelectorAll('.feed time')].every((at) => at.innerText.endsWith(' WIB'))") {
		t.Errorf("the feed is not in the site's zone:\n%s", feed)
	}
	t.Logf("%d rows; %s", len(got), feed)
}
