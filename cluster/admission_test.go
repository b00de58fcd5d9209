package cluster

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/gossip"
	"hadir/cluster/transport"
)

func TestAdmissionIsRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, alone)
	g.startAll()
	n := g.nodes[0]
	g.await("it may act", func() bool { _, ok := n.IsLeader(); return ok })
	for what, c := range map[string]struct {
		id      string
		a       application
		refusal bool
		says    string
	}{
		"a voter without its log": {n.id, application{addr: "127.0.0.1:1", level: 9}, true, "lost its log"},
		"an old program":          {"n2-0000000000000002", application{addr: "127.0.0.1:1", level: 0}, true, "install a newer one"},
		"an address that is shut": {"n2-0000000000000002", application{addr: "127.0.0.1:1", level: 9}, false, "cannot reach it at 127.0.0.1:1"},
		"an address of another":   {"n2-0000000000000002", application{addr: n.listener.Addr().String(), level: 9}, false, "cannot reach it"},
	} {
		err := n.change(g.ctx(), func(m members) error { return n.admitServer(g.ctx(), m, c.id, c.a) })
		var no *refusal
		if err == nil || errors.As(err, &no) != c.refusal || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if m := n.mustConfiguration(t); len(m.servers) != 1 {
		t.Errorf("members are %+v", m.servers)
	}
}

func TestOneChangeAtATime(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, alone)
	g.startAll()
	n := g.nodes[0]
	g.await("it may act", func() bool { _, ok := n.IsLeader(); return ok })
	unlock, err := n.lockMembers(g.ctx())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := n.change(ctx, func(members) error { t.Error("two at a time"); return nil }); !errors.Is(err, ErrNoLeader) {
		t.Errorf("beside another change: %v", err)
	}
	unlock()
	// What was judged by a configuration that is not the newest any more is refused.
	err = n.change(g.ctx(), func(m members) error {
		for _, id := range []raft.ServerID{"a-1", "b-1"} {
			if err := n.awaitChange(n.raft.AddNonvoter(id, "127.0.0.1:1", m.index, changeTimeout)); err != nil {
				return err
			}
		}
		return nil
	})
	if _, known := n.mustConfiguration(t).find("b-1"); err == nil || known {
		t.Errorf("a change of an old configuration: %v", err)
	}
}

func TestAutopilotPromotesNobodyWhoWasRemoved(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, alone)
	g.startAll()
	n := g.nodes[0]
	g.await("it may act", func() bool { _, ok := n.IsLeader(); return ok })
	p := pilotRaft{n.raft, n}
	// Known from the probes as fit, and not a member.
	n.peers.put("a-1", peerProbe{probe: probe{settled: true}, at: time.Now(), answer: true})
	if err := p.AddVoter("a-1", "127.0.0.1:1", 0, 0).Error(); err == nil {
		t.Error("a server that is no member was promoted")
	}
	// A member that has not noted that it may not lose its log, and one that wants no vote.
	if err := n.change(g.ctx(), func(m members) error {
		return n.awaitChange(n.raft.AddNonvoter("a-1", "127.0.0.1:1", m.index, changeTimeout))
	}); err != nil {
		t.Fatal(err)
	}
	for what, said := range map[string]probe{"without a note of its log": {}, "a replica": {settled: true, nonVoter: true}} {
		n.peers.put("a-1", peerProbe{probe: said, at: time.Now(), answer: true})
		if err := p.AddVoter("a-1", "127.0.0.1:1", 0, 0).Error(); err == nil {
			t.Errorf("%s: promoted", what)
		}
	}
	for what, f := range map[string]raft.Future{
		"add": p.AddNonvoter("b-1", "", 0, 0), "demote": p.DemoteVoter("n1", 0, 0), "remove": p.RemoveServer("a-1", 0, 0),
		"transfer": p.LeadershipTransferToServer("a-1", ""),
	} {
		if err := f.Error(); !errors.Is(err, errNotPilots) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if m := n.mustConfiguration(t); m.voters() != 1 || len(m.servers) != 2 {
		t.Errorf("members are %+v", m.servers)
	}
}

func TestPlanReplica(t *testing.T) {
	own := gossip.Member{Meta: gossip.Meta{ID: "r-1", ClusterID: ""}, Self: true}
	fresh := gossip.Member{Meta: gossip.Meta{ID: "a-1"}}
	founded := gossip.Member{Meta: gossip.Meta{ID: "b-1", ClusterID: "c7f2"}}
	if p := planReplica([]gossip.Member{own, fresh}); p.agreed || p.foreign != "" {
		t.Errorf("without a cluster: %+v", p)
	}
	if p := planReplica([]gossip.Member{own, fresh, founded}); p.agreed || p.foreign != "b-1" {
		t.Errorf("with one: %+v", p)
	}
}

func TestFoundersOfOneName(t *testing.T) {
	members := []gossip.Member{{Meta: gossip.Meta{ID: "n1-1"}, Self: true}, {Meta: gossip.Meta{ID: "n1-2"}}}
	if p := planFoundation(members, 2, raft.Configuration{}); p.agreed || p.twins != "n1" {
		t.Errorf("%+v", p)
	}
}

func TestMessagesOfMembership(t *testing.T) {
	a := application{addr: "127.0.0.1:7400", nonVoter: true, level: 3}
	if got, err := decodeApplication(a.encode()); err != nil || got != a {
		t.Errorf("%+v, %v", got, err)
	}
	answer := admission{
		verdict: elsewhere, reason: "because", leader: transport.Target{ID: "n1-1", Addr: "a:1"}, cluster: attendance.ClusterID{1, 2}, epoch: 7,
	}
	if got, err := decodeAdmission(answer.encode()); err != nil || got != answer {
		t.Errorf("%+v, %v", got, err)
	}
	p := probe{
		name: "n1", role: Leader, term: 3, leader: "n1-1", commit: 9, applied: 8, seq: 7, wall: 6, version: "v", level: 2, startedAt: 5,
		http: "http://x", lastIndex: 11, lastTerm: 3, settled: true, nonVoter: true, diskLow: true, free: 1 << 40,
		health: Health{Known: true, Healthy: true, Tolerance: 2}, unhealthy: []string{"n2-2", "n3-3"},
	}
	if got, err := decodeProbe(p.encode()); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, %v", got, err)
	}
	// What later versions add is left alone; what earlier ones did not send is empty.
	sections, err := decodeSections(encodeSections([]byte("a"), nil, []byte("from later")), 2)
	if err != nil || len(sections) != 3 || string(sections[0]) != "a" || sections[1] != nil {
		t.Errorf("%q, %v", sections, err)
	}
	if sections, err = decodeSections(encodeSections([]byte("a")), 2); err != nil || len(sections) != 2 || sections[1] != nil {
		t.Errorf("%q, %v", sections, err)
	}
	for what, c := range map[string]struct {
		whole  []byte
		decode func([]byte) error
	}{
		"application": {a.encode(), func(b []byte) error { _, err := decodeApplication(b); return err }},
		"admission":   {answer.encode(), func(b []byte) error { _, err := decodeAdmission(b); return err }},
		"probe":       {p.encode(), func(b []byte) error { _, err := decodeProbe(b); return err }},
	} {
		for i := range c.whole {
			if err := c.decode(c.whole[:i]); !errors.Is(err, errWire) && !errors.Is(err, attendance.ErrCanon) {
				t.Errorf("%s, cut after %d bytes: %v", what, i, err)
			}
		}
	}
}
