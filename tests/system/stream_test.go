package system_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// streamTime is how long clients move between nodes while leaders die: a minute
// with HADIR_LONG=1.
func streamTime() time.Duration {
	if os.Getenv("HADIR_LONG") == "1" {
		return time.Minute
	}
	return 20 * time.Second
}

const streamRate = 100 // check-ins a second

// TestStreamSwitchesNodes: clients move from node to node while leaders are killed
// and 100 check-ins a second run. Each gets every event that it may see once and in
// order, the very bytes that the logs of all nodes have.
func TestStreamSwitchesNodes(t *testing.T) {
	c := cluster(t)
	user, kind := c.Fresh()
	me := student(t, c, user, c.Nodes[0])
	teacher, err := harness.Client{HTTP: c.Admin.HTTP, Base: c.Nodes[0].URL}.SignIn(within(t, 30*time.Second), harness.TeacherEmail, harness.StudentPassword)
	must(t, err)
	followers := []*harness.Follower{
		c.Follow("an admin", c.Admin, true, 0), c.Follow("another admin", c.Admin, true, 0),
		c.Follow("a teacher", teacher, false, 0), c.Follow("a student", me, false, user),
	}
	for _, f := range followers {
		t.Cleanup(f.Stop)
		must(t, f.Reached(within(t, 20*time.Second), 1)) // it has its place
	}
	load := c.Load(harness.LoadConfig{Rate: streamRate})
	t.Cleanup(func() { load.Stop() })
	kills, own := 0, 0
	for end := time.Now().Add(streamTime()); time.Now().Before(end); kills++ {
		must(t, load.Progress(within(t, 30*time.Second), 2*streamRate))
		// The student taps too, through any node; a duplicate is an event as well.
		a := do(t, me.At(c.Nodes[own%3].URL), "POST", "/api/v1/checkins", harness.Key(), harness.Tap{Type: kind})
		if a.Status == 201 || a.Status == 409 {
			own++
		}
		leader, _, err := c.Leader(within(t, 20*time.Second), "")
		must(t, err)
		leader.Kill()
		_, _, err = c.Leader(within(t, 30*time.Second), leader.ID)
		must(t, err)
		must(t, load.Progress(within(t, 30*time.Second), streamRate))
		must(t, leader.Start())
		must(t, c.Ready(within(t, 40*time.Second)))
	}
	ops := load.Stop()
	must(t, c.Healthy(within(t, 40*time.Second)))
	// One more event, which is the last: everybody has to come that far.
	var last uint64
	key := harness.Key()
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		a := do(t, me.At(c.Nodes[0].URL), "POST", "/api/v1/checkins", key, harness.Tap{Type: kind})
		if a.Status != 201 && a.Status != 409 {
			return fmt.Errorf("the last check-in: %s", a)
		}
		last = decision(t, a).Sync.Seq
		return nil
	}))
	for _, f := range followers {
		must(t, f.Reached(within(t, 30*time.Second), last))
		f.Stop()
		t.Log(f)
	}
	var log []harness.Frame
	for i, n := range c.Nodes {
		must(t, harness.Await(within(t, 20*time.Second), func() error {
			events, err := c.At(n).Events(within(t, 30*time.Second), 0)
			if err == nil && (len(events) == 0 || events[len(events)-1].Seq < last) {
				err = fmt.Errorf("%s has not applied event %d", n.ID, last)
			}
			if err == nil && i > 0 && !slices.EqualFunc(log, events[:min(len(log), len(events))], func(a, b harness.Frame) bool { return a.Text == b.Text }) {
				t.Errorf("%s has other events than %s", n.ID, c.Nodes[0].ID)
			}
			if i == 0 {
				log = events
			}
			return err
		}))
	}
	tap := func(e harness.Frame) bool {
		return strings.HasPrefix(e.Type, "attendance.") || strings.HasPrefix(e.Type, "review.") || strings.HasPrefix(e.Type, "claim.")
	}
	var faults []string
	for i, want := range []func(harness.Frame) bool{
		func(harness.Frame) bool { return true }, func(harness.Frame) bool { return true },
		tap, // the teacher is responsible for all classes
		func(e harness.Frame) bool { return tap(e) && e.User == user },
	} {
		faults = append(faults, followers[i].Check(log, want)...)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
	t.Logf("%d leaders were killed; %s", kills, harness.Summary(ops))
	judge(t, c, ops)
}

// TestStreamAtTheDoor: who gets in and who does not, as a browser or a program
// meets it.
func TestStreamAtTheDoor(t *testing.T) {
	c := cluster(t)
	user, _ := c.Fresh()
	me := student(t, c, user, c.Nodes[0])
	host := strings.TrimPrefix(c.Nodes[0].URL, "http://")
	cookie := "hadir_session=" + me.Token
	browser := harness.Client{HTTP: me.HTTP, Base: me.Base}
	connect := func(c harness.Client, query url.Values, header ...string) (*harness.Socket, int) {
		s, err := c.Stream(within(t, 10*time.Second), query, header...)
		var refused *harness.Refused
		switch {
		case errors.As(err, &refused):
			return nil, refused.Answer.Status
		case err != nil:
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		if _, err := s.Await(10*time.Second, func(f harness.Frame) bool { return f.T == "hello" }); err != nil {
			t.Fatal(err)
		}
		return s, http.StatusSwitchingProtocols
	}
	for _, tc := range []struct {
		what   string
		client harness.Client
		query  url.Values
		header []string
		want   int
	}{
		{"a page of ours", browser, nil, []string{"Cookie", cookie, "Origin", "http://" + host}, 101},
		{"a page of another site", browser, nil, []string{"Cookie", cookie, "Origin", "https://evil.example"}, 403},
		{"a page of another port", browser, nil, []string{"Cookie", cookie, "Origin", "http://127.0.0.1:1"}, 403},
		{"nobody", browser, nil, nil, 401},
		{"a program", me, nil, nil, 101},
		{"a student who wants to see the cluster", me, url.Values{"topics": {"cluster"}}, nil, 403},
	} {
		if _, got := connect(tc.client, tc.query, tc.header...); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.what, got, tc.want)
		}
	}
	a := do(t, me, "POST", "/api/v1/stream-ticket", "", nil)
	ticket, _ := fields(t, a)["ticket"].(string)
	for i, want := range []int{101, 401} {
		if _, got := connect(browser, url.Values{"ticket": {ticket}}); got != want {
			t.Errorf("ticket, use %d: %d, want %d", i+1, got, want)
		}
	}
	if ticket == "" || strings.Contains(c.Log(), ticket) || strings.Contains(c.Log(), me.Token) {
		t.Errorf("ticket %s; it or the session is in a log", a)
	}
}

// TestStreamTells: progress, presence and the cluster, across nodes, and where to go
// when a node ends.
func TestStreamTells(t *testing.T) {
	c := cluster(t)
	user, kind := c.Fresh()
	me := student(t, c, user, c.Nodes[1])
	open := func(who harness.Client, topics string) *harness.Socket {
		s, err := who.Stream(within(t, 10*time.Second), url.Values{"topics": {topics}})
		must(t, err)
		t.Cleanup(s.Close)
		return s
	}
	await := func(s *harness.Socket, what string, ok func(harness.Frame) bool) harness.Frame {
		t.Helper()
		f, err := s.Await(20*time.Second, ok)
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		return f
	}
	admin := open(c.At(c.Nodes[0]), "cluster,presence")
	mine := open(me, "attendance,progress")
	await(mine, "hello", func(f harness.Frame) bool { return f.T == "hello" })

	// A tap at one node, told at another one until all have it.
	first := tap(t, me.At(c.Nodes[2].URL), "", harness.Tap{Type: kind})
	await(mine, "progress", func(f harness.Frame) bool {
		var p struct {
			Seq uint64
			On  int `json:"applied_on"`
			Of  int
		}
		return f.T == "progress" && json.Unmarshal(f.Data, &p) == nil && p.Seq == first.Sync.Seq && p.On == 3 && p.Of == 3
	})
	await(admin, "the student's presence at the other node", func(f harness.Frame) bool {
		var p struct {
			Nodes []struct {
				ID    string   `json:"node_id"`
				Users []uint64 `json:"user_ids"`
			}
		}
		if f.T != "presence" || json.Unmarshal(f.Data, &p) != nil {
			return false
		}
		for _, n := range p.Nodes {
			if n.ID == c.Nodes[1].ID && slices.Contains(n.Users, user) {
				return true
			}
		}
		return false
	})
	if a := do(t, c.At(c.Nodes[2]), "GET", "/api/v1/presence?limit=200", "", nil); a.Status != 200 || !strings.Contains(string(a.Body), fmt.Sprintf(`"user_id":%d,`, user)) {
		t.Errorf("presence at a third node: %s", a)
	}

	// The node of the student ends: they are told to go, and the others see it.
	began := time.Now()
	code := make(chan int, 1)
	go func() { code <- mine.Code(20 * time.Second) }()
	status, _, err := c.Nodes[1].Stop(within(t, 20*time.Second))
	must(t, err)
	if got := <-code; got != 4001 || status != 0 {
		t.Errorf("closed with %d, the node ended with %d", got, status)
	}
	await(admin, "the end of the node", func(f harness.Frame) bool {
		var v harness.View
		if f.T != "cluster" || json.Unmarshal(f.Data, &v) != nil || v.Leader == "" || v.Leader == c.Nodes[1].ID {
			return false
		}
		return slices.ContainsFunc(v.Nodes, func(n harness.ViewedNode) bool { return n.ID == c.Nodes[1].ID && !n.Reachable })
	})
	t.Logf("the others' view changed %.2f s after the node was asked to stop", time.Since(began).Seconds())
	must(t, c.Nodes[1].Start())
	must(t, c.Healthy(within(t, 40*time.Second)))
}
