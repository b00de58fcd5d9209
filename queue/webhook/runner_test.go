package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/store"
)

// leaping is a clock on which an hour passes between two looks, so that a mark is always due.
type leaping struct {
	clock
	now time.Time
}

func (l *leaping) Now() time.Time {
	l.now = l.now.Add(time.Hour)
	return l.now
}

// byHand is a leader whose hook turns when the test says so.
func byHand(t *testing.T, e *endpoint) (*member, *runner) {
	t.Helper()
	h := newHistory(t)
	a := h.add("a", e.line("all private"), &leaping{now: time.Now()})
	h.lead("a")
	return a, a.hooks.runners[0]
}

// restored is a history after a restore: another epoch, and a mark that came with it.
func restored(t *testing.T, mark uint64, subjects ...string) *history {
	t.Helper()
	h := newHistory(t)
	err := h.machine.State().Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Epoch = 2 })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		h.note("x", s)
	}
	h.setMark(attendance.ExportMark{Target: MarkPrefix + "h", Seq: mark})
	return h
}

// setMark is what another node, or a person, does.
func (h *history) setMark(m attendance.ExportMark) {
	h.t.Helper()
	o, err := h.apply(attendance.Command{Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "b", Body: m})
	if err != nil || o.Status != attendance.DoneStatus {
		h.t.Fatalf("%+v %v", o, err)
	}
}

func (m *member) turns(n int) {
	for range n {
		m.hooks.runners[0].turn(m.t.Context())
	}
}

func (m *member) deaf(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unheard = err
}

// TestRestoreBetweenTwoTurns: the place in the old history is not marked in the new one.
func TestRestoreBetweenTwoTurns(t *testing.T) {
	e := newEndpoint(t)
	a, r := byHand(t, e)
	a.turns(1)
	for i := range 4 {
		a.note("x", fmt.Sprint("old ", i))
	}
	a.deaf(errors.New("no answer"))
	a.turns(1)
	if r.pos != 5 || r.marked != 1 {
		t.Fatalf("at %d, marked %d", r.pos, r.marked)
	}
	a.deaf(nil)
	a.become(restored(t, 2, "1", "2", "3", "4", "5"))
	e.mu.Lock()
	e.epoch = 2
	e.mu.Unlock()
	a.turns(1)
	if at := a.mark("h"); at != 2 {
		t.Errorf("the mark that came with the restore is now %d", at)
	}
	a.turns(2)
	if want := []string{"old 0", "old 1", "old 2", "old 3", "2", "3", "4", "5"}; !slices.Equal(e.all(), want) || a.mark("h") != 6 {
		t.Errorf("%v, marked %d", e.all(), a.mark("h"))
	}
}

// TestRestoreDuringADelivery: what is left of the old history is neither delivered nor marked.
func TestRestoreDuringADelivery(t *testing.T) {
	e := newEndpoint(t)
	a, _ := byHand(t, e)
	a.turns(1)
	a.note("x", "old 0")
	a.note("x", "old 1")
	other := restored(t, 1, "1", "2", "3")
	e.set(func(subject string) int {
		if subject == "old 0" {
			a.become(other)
			e.epoch = 2
		}
		return http.StatusOK
	})
	a.turns(1)
	if at := a.mark("h"); at != 1 {
		t.Errorf("the mark that came with the restore is now %d", at)
	}
	a.turns(2)
	if want := []string{"old 0", "1", "2", "3"}; !slices.Equal(e.all(), want) || a.mark("h") != 4 {
		t.Errorf("%v, marked %d", e.all(), a.mark("h"))
	}
}

// TestAnotherTerm: who leads again goes on from where others came in between.
func TestAnotherTerm(t *testing.T) {
	e := newEndpoint(t)
	a, _ := byHand(t, e)
	a.turns(1)
	a.note("x", "by b")
	a.setMark(attendance.ExportMark{Target: MarkPrefix + "h", Seq: 2})
	a.mu.Lock()
	a.term = 3
	a.mu.Unlock()
	a.note("x", "by a")
	a.turns(1)
	if want := []string{"by a"}; !slices.Equal(e.all(), want) || a.mark("h") != 3 {
		t.Errorf("%v, marked %d", e.all(), a.mark("h"))
	}
	a.lead("b")
	a.turns(1)
	if s := a.hooks.runners[0].status(); s.State != Standby {
		t.Errorf("another leads: %+v", s)
	}
}

// TestAMarkThatIsRefused: there are as many marks as there may be. A new hook says why it
// does not begin; one that has begun tries again.
func TestAMarkThatIsRefused(t *testing.T) {
	e := newEndpoint(t)
	a, r := byHand(t, e)
	target := func(i int) string { return fmt.Sprint("other", i) }
	for i := range attendance.MaxTargets {
		a.setMark(attendance.ExportMark{Target: target(i), Seq: 1})
	}
	a.turns(1)
	if s := a.status(); s.State != Pausing || !strings.Contains(s.Reason, attendance.TooMany.String()) || s.FailedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	a.setMark(attendance.ExportMark{Target: target(0), Retired: true})
	a.turns(1)
	if s := a.status(); s.State != Delivering || s.Reason != "" || a.mark("h") != 1 {
		t.Errorf("there is room: %+v, marked %d", s, a.mark("h"))
	}
	a.setMark(attendance.ExportMark{Target: r.target, Retired: true})
	a.setMark(attendance.ExportMark{Target: target(0), Seq: 1})
	a.note("x", "1")
	a.turns(1)
	if r.marked != 1 || r.pos != 2 {
		t.Errorf("marked %d at %d", r.marked, r.pos)
	}
	a.setMark(attendance.ExportMark{Target: target(0), Retired: true})
	a.turns(1)
	if a.mark("h") != 2 || !slices.Equal(e.all(), []string{"1"}) {
		t.Errorf("marked %d, %v", a.mark("h"), e.all())
	}
}

// TestToldInOtherWords: an event of which the audit trail was told otherwise under the same
// key is handed over all the same.
func TestToldInOtherWords(t *testing.T) {
	e := newEndpoint(t)
	a, _ := byHand(t, e)
	a.turns(1)
	a.note("x", "bad")
	o, err := a.apply(attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Key: "webhook-h-2", Node: "a", Body: attendance.Audit{Action: "webhook.refused", Subject: "h 2", Note: "otherwise"},
	})
	if err != nil || o.Status != attendance.DoneStatus {
		t.Fatalf("%+v %v", o, err)
	}
	e.set(func(subject string) int {
		return map[bool]int{true: http.StatusBadRequest, false: http.StatusOK}[subject == "bad"]
	})
	a.turns(refusals)
	if !slices.Equal(a.handed, []string{"h 0102-1 2"}) {
		t.Errorf("handed over: %v", a.handed)
	}
}
