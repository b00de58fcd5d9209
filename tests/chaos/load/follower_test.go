package load

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hadir/tests/chaos/client"
)

func hello(seq uint64, resume string) client.Frame {
	return client.Frame{T: "hello", Node: "n1", Epoch: "e-1", Seq: seq, Resume: resume}
}

func event(seq uint64) client.Frame {
	return client.Frame{T: "event", Seq: seq, User: 7, Text: fmt.Sprintf(`{"t":"event","seq":%d}`, seq)}
}

// TestFollower sees the follower find what no client may see.
func TestFollower(t *testing.T) {
	log := []client.Frame{event(1), event(2), event(3), event(4)}
	all := func(client.Frame) bool { return true }
	for _, tc := range []struct {
		name, want string
		filtered   bool
		self       uint64
		frames     []client.Frame
	}{
		{name: "right", frames: []client.Frame{hello(1, "ok"), event(2), event(3), hello(3, "ok"), event(4)}},
		{name: "younger than the log", frames: []client.Frame{hello(1, "ok"), event(2), event(3), event(4), event(5)}},
		{name: "gap", want: "event 4 after 2", frames: []client.Frame{hello(1, "ok"), event(2), event(4)}},
		{name: "double", want: "event 2 after 2", frames: []client.Frame{hello(1, "ok"), event(2), event(2), event(3), event(4)}},
		{name: "order", want: "event 2 after 3", frames: []client.Frame{hello(1, "ok"), event(3), event(2), event(4)}},
		{name: "order, filtered", filtered: true, want: "event 2 after 3", frames: []client.Frame{hello(1, "ok"), event(3), event(2), event(4)}},
		{name: "double after a resume", want: "event 3 after 3", frames: []client.Frame{hello(1, "ok"), event(2), event(3), hello(3, "ok"), event(3), event(4)}},
		{name: "reset", want: "resumed at 2", frames: []client.Frame{hello(1, "ok"), event(2), hello(4, "reset")}},
		{name: "end is missing", want: "event 4 and what follows never came", frames: []client.Frame{hello(1, "ok"), event(2), event(3)}},
		{name: "gap that a mark hides", filtered: true, want: "the log has", frames: []client.Frame{hello(1, "ok"), event(2), {T: "mark", Seq: 3}, event(4)}},
		{name: "mark goes back", filtered: true, want: "mark 1 after 2", frames: []client.Frame{hello(1, "ok"), event(2), {T: "mark", Seq: 1}}},
		{name: "other bytes", want: "the log has", frames: []client.Frame{hello(1, "ok"), event(2), {T: "event", Seq: 3, Text: "x"}, event(4)}},
		{name: "somebody else's", self: 8, want: "somebody else's event", frames: []client.Frame{hello(1, "ok"), event(2)}},
	} {
		f := newFollower("it", !tc.filtered, tc.self)
		for _, frame := range tc.frames {
			f.take(frame)
		}
		got := strings.Join(f.Check(log, all), "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestMayRefuse(t *testing.T) {
	node := http.Header{"X-Hadir-Node": {"n1"}}
	for _, tc := range []struct {
		status int
		header http.Header
		want   bool
	}{{503, node, true}, {429, node, true}, {502, nil, true}, {502, node, false}, {500, nil, false}, {401, node, false}} {
		if got := mayRefuse(&client.Answer{Status: tc.status, Header: tc.header}); got != tc.want {
			t.Errorf("%d with %v: %v", tc.status, tc.header, got)
		}
	}
}
