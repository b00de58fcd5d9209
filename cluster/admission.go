package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/gossip"
	"hadir/cluster/transport"
)

// verdict is what the leader makes of a node that asks to be admitted, or of a
// member that asks whether it still is one. Numbers are append only.
type verdict uint8

const (
	admitted  verdict = 0
	elsewhere verdict = 1 // ask the leader that is named
	later     verdict = 2 // ask again
	refused   verdict = 3 // asking again is in vain until a person acts
	removed   verdict = 4 // the asker was a member and is none any more
)

// application is what a node says when it asks. Who it is, its certificate and
// preamble say.
type application struct {
	addr     string
	nonVoter bool
	level    uint32
}

// admission is the answer.
type admission struct {
	verdict verdict
	reason  string           // for people, where it is no or not yet
	leader  transport.Target // of elsewhere
	cluster attendance.ClusterID
	epoch   uint64
}

func (a application) encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.String(a.addr)
	w.Bool(a.nonVoter)
	w.Uint(uint64(a.level))
	return encodeSections(w.Data())
}

func decodeApplication(b []byte) (application, error) {
	sections, err := decodeSections(b, 1)
	if err != nil {
		return application{}, err
	}
	r := attendance.NewReader(sections[0])
	r.Version(1)
	a := application{addr: r.String(), nonVoter: r.Bool(), level: r.Uint32()}
	if err := r.Err(); err != nil {
		return application{}, fmt.Errorf("%w: %w", errWire, err)
	}
	return a, nil
}

func (a admission) encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(a.verdict))
	w.String(a.reason)
	w.String(a.leader.ID)
	w.String(a.leader.Addr)
	w.Bytes(a.cluster[:])
	w.Uint(a.epoch)
	return encodeSections(w.Data())
}

func decodeAdmission(b []byte) (admission, error) {
	sections, err := decodeSections(b, 1)
	if err != nil {
		return admission{}, err
	}
	r := attendance.NewReader(sections[0])
	r.Version(1)
	a := admission{verdict: verdict(r.Small()), reason: r.String(), leader: transport.Target{ID: r.String(), Addr: r.String()}}
	id := r.Bytes()
	a.epoch = r.Uint()
	if err := r.Err(); err != nil {
		return admission{}, fmt.Errorf("%w: %w", errWire, err)
	}
	if len(id) != len(a.cluster) {
		return admission{}, fmt.Errorf("%w: a cluster id of %d bytes", errWire, len(id))
	}
	a.cluster = attendance.ClusterID(id)
	return a, nil
}

const (
	askEvery     = 500 * time.Millisecond
	askTimeout   = 5 * time.Second
	reachTimeout = time.Second
	// goneAfter is how long an old server must not have answered before another
	// one of its name, at another address, takes its place.
	goneAfter = 10 * time.Second
)

// serveAdmit answers a node that asks to be admitted or whether it still is a
// member. Only the transport has looked at it so far: it holds the cluster key and
// is of this cluster or of none.
func (n *Node) serveAdmit(w http.ResponseWriter, r *http.Request) {
	peer, ok := transport.PeerFrom(r.Context())
	own := n.clusterID()
	if !ok || own.IsZero() || !n.member() || (peer.ClusterID != "" && peer.ClusterID != own.String()) {
		http.Error(w, "not a member of that cluster", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxApplication))
	if err != nil {
		http.Error(w, "body cannot be read", http.StatusBadRequest)
		return
	}
	a, err := decodeApplication(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	reply(w, n.answerApplication(ctx, peer, a).encode())
}

const maxApplication = 4 << 10

func (n *Node) answerApplication(ctx context.Context, peer transport.Peer, a application) admission {
	if to, known := n.leaderTarget(); known {
		return admission{verdict: elsewhere, leader: to}
	}
	if peer.ClusterID != "" {
		return n.confirm(ctx, peer.ID)
	}
	out := admission{cluster: n.clusterID(), epoch: n.epoch.Load()}
	err := n.change(ctx, func(m members) error { return n.admitServer(ctx, m, peer.ID, a) })
	var no *refusal
	switch {
	case errors.As(err, &no):
		out.verdict, out.reason = refused, no.reason
	case err != nil:
		out.verdict, out.reason = later, err.Error()
	}
	return out
}

// refusal says why a node cannot be admitted until a person acts.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// confirm says whether a server is a member. Only a leader that has just proven to
// be one may say no: the asker was a member once, which everybody with a majority
// behind it knows.
func (n *Node) confirm(ctx context.Context, id string) admission {
	if _, err := n.leaderIndex(ctx); err != nil {
		return admission{verdict: later, reason: err.Error()}
	}
	m, err := n.configuration()
	if err != nil {
		return admission{verdict: later, reason: err.Error()}
	}
	if _, member := m.find(id); member {
		return admission{verdict: admitted, cluster: n.clusterID(), epoch: n.epoch.Load()}
	}
	if m.index > n.raft.CommitIndex() {
		return admission{verdict: later, reason: "a change of the members is under way"}
	}
	return admission{verdict: removed}
}

// admitServer makes a fresh node a non-voter, if need be in place of its own older
// self.
func (n *Node) admitServer(ctx context.Context, m members, id string, a application) error {
	if s, known := m.find(id); known && s.Suffrage == raft.Voter {
		return &refusal{"this server is a voter and has lost its log, so it has forgotten how it voted: move its data directory " +
			"away and start it as a new node"}
	} else if known && string(s.Address) == a.addr {
		return nil // it asks again: it was not answered, or its power was lost
	}
	if level := n.level(); a.level < level {
		return &refusal{fmt.Sprintf("the cluster uses command level %d and this program knows %d: install a newer one", level, a.level)}
	}
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if !n.probe(reach, server{target: transport.Target{ID: id, Addr: a.addr}}) {
		return fmt.Errorf("the leader %s cannot reach it at %s: look at --peer-advertise and at the network", n.cfg.Name, a.addr)
	}
	act := "admitted"
	if twin, ok := m.twin(id); ok {
		if err := n.replace(ctx, &m, twin, a); err != nil {
			return err
		}
		act = "replaced"
	}
	err := n.awaitChange(n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(a.addr), m.index, changeTimeout))
	if err != nil {
		return err
	}
	n.log.Info("a node was admitted", "server", id, "addr", a.addr, "non_voter", a.nonVoter)
	n.observe.MemberChanged(act)
	return nil
}

// replace removes the old server of a name. m becomes the configuration after it.
func (n *Node) replace(ctx context.Context, m *members, twin raft.Server, a application) error {
	id := string(twin.ID)
	if id == n.id {
		return &refusal{"its name is that of the leader: give this node another name"}
	}
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	target := transport.Target{ID: id, Addr: n.address(id, string(twin.Address))}
	if n.probe(reach, server{target: target}) {
		return &refusal{fmt.Sprintf("its name is taken by server %s, which answers at %s: give this node another name, "+
			"or stop that one", id, target.Addr)}
	}
	// At the same address there can be only one. Elsewhere, one lost answer does not
	// mean that it is gone.
	if wait := goneAfter - n.silence(id); target.Addr != a.addr && wait > 0 {
		return fmt.Errorf("its name was that of server %s at %s until lately: it is replaced when that has not answered for %s",
			id, target.Addr, goneAfter)
	}
	if err := m.without(id, n.answers); err != nil {
		return fmt.Errorf("its older self, server %s, cannot be replaced now: %w", id, err)
	}
	future := n.raft.RemoveServer(twin.ID, m.index, changeTimeout)
	if err := n.awaitChange(future); err != nil {
		return err
	}
	n.log.Warn("a server whose node came back with an empty disk was removed", "server", id)
	m.index = future.Index()
	return nil
}

// silence is how long a server has not answered, as far as this node has been
// able to tell.
func (n *Node) silence(id string) time.Duration {
	last := n.started
	if p := n.peers.get(id); p.answer && p.at.After(last) {
		last = p.at
	}
	return n.clock.Now().Sub(last)
}

// ask asks for admission, or whether this node is still a member, at one node, and
// follows it to the leader.
func (n *Node) ask(ctx context.Context, to transport.Target) (admission, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body := application{addr: n.listener.Addr().String(), nonVoter: n.cfg.NonVoter, level: attendance.Level}.encode()
	for hop := 0; ; hop++ {
		raw, err := n.call(ctx, to, http.MethodPost, pathAdmit, body, nil)
		if err != nil {
			return admission{}, err
		}
		a, err := decodeAdmission(raw)
		if err != nil || a.verdict != elsewhere || hop > 0 {
			return a, err
		}
		to = a.leader
	}
}

// applicant is a fresh node's way into a cluster that it sees.
type applicant struct {
	next int    // which member is asked next
	said string // the last reason that was logged
	at   time.Time
}

// apply asks one of the members in sight and gives the admission when there is one.
func (p *applicant) apply(ctx context.Context, n *Node, seen []gossip.Member) (admission, bool) {
	now := n.clock.Now()
	if !p.at.IsZero() && now.Sub(p.at) < askEvery {
		return admission{}, false
	}
	p.at = now
	var doors []transport.Target
	clusters := make(map[string]bool)
	for _, m := range seen {
		if m.ClusterID != "" && !m.Self && m.PeerAddr != "" {
			clusters[m.ClusterID] = true
			doors = append(doors, transport.Target{ID: m.ID, Addr: m.PeerAddr})
		}
	}
	if len(doors) == 0 {
		return admission{}, false
	}
	if len(clusters) > 1 {
		p.say(n, "there are several clusters in sight: give --join addresses of one of them only")
		return admission{}, false
	}
	p.next++
	a, err := n.ask(ctx, doors[p.next%len(doors)])
	switch {
	case err != nil:
		p.say(n, err.Error())
	case a.verdict == admitted && clusters[a.cluster.String()]:
		return a, true
	case a.reason != "":
		p.say(n, a.reason)
	}
	return admission{}, false
}

// say logs why this node is not admitted, once for each reason.
func (p *applicant) say(n *Node, reason string) {
	if reason != p.said {
		p.said = reason
		n.log.Warn("this node is not admitted to the cluster yet", "reason", reason)
	}
}

// enter takes part in the cluster that has admitted this node. From here on its
// raft port is open; it is a non-voter without a log.
func (n *Node) enter(a admission) error {
	if err := errors.Join(n.own.SetEpoch(a.epoch), n.own.SetCluster(a.cluster)); err != nil {
		return err
	}
	n.epoch.Store(a.epoch)
	n.cluster.Store(&a.cluster)
	// The others know what this node said when it called them: of no cluster.
	n.listener.Drop(func(p transport.Peer) bool { return p.Outbound })
	if err := n.join(false); err != nil {
		return err
	}
	n.log.Info("this node was admitted", "cluster", a.cluster)
	n.wg.Go(func() { n.noteLog(n.life) })
	return n.gossip.UpdateMeta(n.meta([32]byte{}))
}

// noteLog notes that this node may not lose its log, once it has one. Before that
// it is not promoted, so it has not voted.
func (n *Node) noteLog(ctx context.Context) {
	for n.raft.LastIndex() == 0 {
		if n.pause(ctx, leaderPoll, nil) != nil {
			return
		}
	}
	if err := n.own.SetMember(); err != nil {
		n.cfg.Halt(fmt.Errorf("node.db cannot be written: %w: check the disk, then start this node again", err))
		return
	}
	n.settled.Store(true)
}
