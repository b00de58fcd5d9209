package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
)

func bodyOf(n *Node, topic, from string) string {
	for _, note := range n.Notes(topic) {
		if note.Node == from {
			return string(note.Body)
		}
	}
	return ""
}

func TestNotesReachTheOthers(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	g.startAll()
	for i, n := range g.nodes {
		if err := n.Post("presence", []byte(fmt.Sprint("from ", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range g.nodes {
		g.await("everybody else's note", func() bool { return len(n.Notes("presence")) == 2 })
		for _, note := range n.Notes("presence") {
			if note.Node == n.Name() || string(note.Body) != "from "+strings.TrimPrefix(note.Node, "n") || nameOf(note.ID) != note.Node || note.At.IsZero() {
				t.Errorf("n%d has %+v %q", i+1, note, note.Body)
			}
		}
	}
	// A new body replaces the old one and wakes the others; other topics stay.
	changed := g.nodes[1].Changed()
	big := bytes.Repeat([]byte("x"), MaxNote)
	if err := errors.Join(g.nodes[0].Post("presence", big), g.nodes[0].Post("outbox", []byte("3"))); err != nil {
		t.Fatal(err)
	}
	g.await("the new one", func() bool { return bodyOf(g.nodes[1], "presence", "n1") == string(big) })
	g.await("the other topic", func() bool { return bodyOf(g.nodes[1], "outbox", "n1") == "3" })
	select {
	case <-changed:
	case <-time.After(40 * time.Second):
		t.Error("a note came and nobody was woken")
	}
	if got := bodyOf(g.nodes[1], "presence", "n3"); got != "from 3" {
		t.Errorf("n3's note is %q", got)
	}
	if err := g.nodes[0].Post("presence", nil); err != nil {
		t.Fatal(err)
	}
	g.await("it is withdrawn", func() bool { return bodyOf(g.nodes[1], "presence", "n1") == "" })
}

func TestANoteEndsWithItsNode(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	g.startAll()
	follower := (g.leader() + 1) % 3
	other := (follower + 1) % 3
	if err := g.nodes[follower].Post("presence", []byte("old")); err != nil {
		t.Fatal(err)
	}
	name := g.configs[follower].Name
	g.await("it is heard", func() bool { return bodyOf(g.nodes[other], "presence", name) == "old" })
	g.stop(follower)
	g.start(follower)
	if err := g.nodes[follower].Post("else", []byte("new")); err != nil {
		t.Fatal(err)
	}
	g.await("its next life is heard", func() bool { return bodyOf(g.nodes[other], "else", name) == "new" })
	if got := bodyOf(g.nodes[other], "presence", name); got != "" {
		t.Errorf("the note %q outlived its node", got)
	}
}

func TestNotesThatCannotBePosted(t *testing.T) {
	n := &Node{}
	for what, err := range map[string]error{
		"too large":  n.Post("presence", make([]byte, MaxNote+1)),
		"no topic":   n.Post("", []byte("x")),
		"long topic": n.Post(strings.Repeat("x", maxTopicName+1), []byte("x")),
	} {
		if !errors.Is(err, ErrNote) {
			t.Errorf("%s: %v, want ErrNote", what, err)
		}
	}
	for i := range MaxNoteTopics {
		if err := n.Post(fmt.Sprint(i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Post("one more", []byte("x")); !errors.Is(err, ErrNote) {
		t.Errorf("one topic too many: %v, want ErrNote", err)
	}
}

func TestNotesTravelOnce(t *testing.T) {
	var says, hears notes
	at := time.Unix(100, 0)
	pass := func(generation uint64) int {
		t.Helper()
		raw := says.news(generation, hears.known("n1")[headerNotes])
		if err := hears.hear("n1", raw, at); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		return len(raw)
	}
	body := func(topic string) string { n, _ := hears.of("n1", topic); return string(n.Body) }
	if err := errors.Join(says.post("a", make([]byte, 1000)), says.post("b", []byte("first"))); err != nil {
		t.Fatal(err)
	}
	late := says.news(1, "") // an answer that comes after newer ones
	if n := pass(1); n < 1000 {
		t.Errorf("the first answer has %d bytes", n)
	}
	if n := pass(1); n > 20 {
		t.Errorf("an answer without news has %d bytes", n)
	}
	if err := says.post("b", []byte("second")); err != nil {
		t.Fatal(err)
	}
	if n := pass(1); n > 40 || body("b") != "second" {
		t.Errorf("an answer with one small note has %d bytes, b is %q", n, body("b"))
	}
	before := hears.heardChanges()
	if err := says.post("b", []byte("second")); err != nil {
		t.Fatal(err)
	}
	if pass(1); hears.heardChanges() != before {
		t.Error("the same body again is told as a change")
	}
	if err := hears.hear("n1", late, at); err != nil || body("b") != "second" {
		t.Errorf("an answer that was overtaken: %v, b is %q", err, body("b"))
	}
	// A new start knows nothing of the old one, whatever its versions are.
	says = notes{}
	if err := says.post("c", []byte("third")); err != nil {
		t.Fatal(err)
	}
	pass(2)
	if body("a") != "" || body("b") != "" || body("c") != "third" {
		t.Errorf("after a restart: a %q, b %q, c %q", body("a"), body("b"), body("c"))
	}
	if err := hears.hear("n1", late, at); err != nil || body("a") != "" {
		t.Errorf("an answer from before the restart: %v, a %q", err, body("a"))
	}
	hears.keep(func(string) bool { return false })
	if body("c") != "" {
		t.Error("a server that is no member is remembered")
	}
}

func TestBadNotesOnTheWire(t *testing.T) {
	note := func(count uint64, size int) []byte {
		w := attendance.NewWriter(nil)
		w.Uint(1)
		w.Uint(1)
		w.Uint(1)
		w.Uint(count)
		for i := range count {
			w.String(fmt.Sprint(i))
			w.Uint(1)
			w.Bytes(make([]byte, size))
		}
		return w.Data()
	}
	for what, raw := range map[string][]byte{
		"too many": note(MaxNoteTopics+1, 1), "too large": note(1, MaxNote+1), "cut off": note(1, 9)[:8], "no version": {0},
	} {
		var s notes
		if err := s.hear("n1", raw, time.Now()); !errors.Is(err, errWire) {
			t.Errorf("%s: %v, want errWire", what, err)
		}
	}
}

func TestChangedIsClosed(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	g.startAll()
	leader := g.leader()
	g.await("the leader may act", func() bool { _, ok := g.nodes[leader].IsLeader(); return ok })
	term, _ := g.nodes[leader].IsLeader()
	rest := (leader + 1) % 3
	if term, ok := g.nodes[rest].IsLeader(); ok || term != 0 {
		t.Errorf("a follower leads in term %d", term)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		deadline := time.After(40 * time.Second)
		for {
			changed := g.nodes[rest].Changed()
			if ok() {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("nobody was woken: %s", what)
			}
		}
	}
	name := g.configs[leader].Name
	g.stop(leader)
	until("another leader", func() bool { l := g.nodes[rest].Status().Leader; return l != "" && l != name })
	until("the old one is down", func() bool {
		for _, s := range g.nodes[rest].Status().Nodes {
			if s.Name == name {
				return !s.Reachable
			}
		}
		return false
	})
	next := g.leader()
	g.await("the next leader may act", func() bool { _, ok := g.nodes[next].IsLeader(); return ok })
	if now, _ := g.nodes[next].IsLeader(); now <= term {
		t.Errorf("term %d after %d", now, term)
	}
	g.start(leader)
	until("it is back", func() bool {
		for _, s := range g.nodes[rest].Status().Nodes {
			if s.Name == name {
				return s.Reachable
			}
		}
		return false
	})
	changed := g.nodes[rest].Changed()
	g.stop(rest)
	select {
	case <-changed:
	default:
		t.Error("a node that stops leaves waiters behind")
	}
}
