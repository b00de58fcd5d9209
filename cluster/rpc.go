package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"

	"hadir/attendance"
	"hadir/cluster/transport"
)

// Paths of the node RPC.
const (
	pathPropose   = "/propose"
	pathReadIndex = "/read-index"
	pathProbe     = "/probe"
	pathCompare   = "/compare"
	pathTransfer  = "/transfer"
	pathRestore   = "/restore"
	pathTerm      = "/term"
	pathAdmit     = "/admit"
	pathRemove    = "/remove"

	// headerBudget carries what is left of the caller's time, in milliseconds.
	headerBudget = "Hadir-Budget-Ms"
	headerIndex  = "Hadir-Index"

	maxMessage = attendance.MaxEntryBytes + attendance.MaxCommands*64 // answers and batches alike
	maxBudget  = 10 * time.Second
)

// handler serves the node RPC. Peers have proven that they hold the cluster key.
func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathProbe, n.serveProbe)
	mux.HandleFunc("POST "+pathPropose, n.members(n.servePropose))
	mux.HandleFunc("GET "+pathReadIndex, n.members(n.serveReadIndex))
	mux.HandleFunc("GET "+pathCompare, n.members(n.serveCompare))
	mux.HandleFunc("GET "+pathTerm, n.members(n.serveTerm))
	mux.HandleFunc("POST "+pathAdmit, n.serveAdmit)
	mux.HandleFunc("POST "+pathRemove, n.members(n.serveRemove))
	mux.HandleFunc("POST "+pathTransfer, n.members(n.serveTransfer))
	mux.HandleFunc("POST "+pathRestore, n.membersOnly(n.serveRestore))
	mux.HandleFunc("POST "+pathAsk, n.members(n.serveAsk))
	return mux
}

// membersOnly lets only members of the same cluster through; a node that has none
// yet is told nothing but the probe.
func (n *Node) membersOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, ok := transport.PeerFrom(r.Context())
		if own := n.clusterID(); !ok || own.IsZero() || peer.ClusterID != own.String() {
			http.Error(w, "not a member of this cluster", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// members is membersOnly with a budget, for what takes seconds at most.
func (n *Node) members(next http.HandlerFunc) http.HandlerFunc {
	return n.membersOnly(func(w http.ResponseWriter, r *http.Request) {
		budget := maxBudget
		if ms, err := strconv.ParseInt(r.Header.Get(headerBudget), 10, 32); err == nil && ms >= 0 {
			budget = min(budget, time.Duration(ms)*time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(r.Context(), budget)
		defer cancel()
		next(w, r.WithContext(ctx))
	})
}

// reply writes a message. The other side notices by itself when it is cut off.
func reply(w http.ResponseWriter, b []byte) { _, _ = w.Write(b) }

// servePropose takes a batch from a follower: one hop, never forwarded again.
func (n *Node) servePropose(w http.ResponseWriter, r *http.Request) {
	received := n.clock.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		http.Error(w, "body cannot be read", http.StatusBadRequest)
		return
	}
	batch, err := decodeBatch(body, received)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answers := make([]answer, len(batch))
	leads := n.isLeader()
	for i, p := range batch {
		switch {
		case !leads:
			answers[i].err = ErrNoLeader
		default:
			answers[i].err = n.entries.submit(p)
		}
	}
	for i, p := range batch {
		if answers[i].err == nil {
			answers[i].result, answers[i].err = await(r.Context(), p)
		}
	}
	reply(w, encodeAnswers(answers))
}

func (n *Node) serveReadIndex(w http.ResponseWriter, r *http.Request) {
	index, err := n.leaderIndex(r.Context())
	reply(w, indexAnswer{code: codeOf(err), index: index}.encode())
}

func (n *Node) serveTransfer(w http.ResponseWriter, r *http.Request) {
	err := ErrNotLeader // one hop: never passed on again
	if n.isLeader() {
		err = n.handOver(r.Context())
	}
	reply(w, indexAnswer{code: codeOf(err)}.encode())
}

func (n *Node) serveProbe(w http.ResponseWriter, r *http.Request) {
	reply(w, encodeSections(n.ownProbe().encode(), n.serveNews(r)))
}

func (n *Node) serveCompare(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.ParseUint(r.Header.Get(headerIndex), 10, 64)
	if err != nil {
		http.Error(w, "index is missing", http.StatusBadRequest)
		return
	}
	reply(w, n.compareSelf(r.Context(), index).encode())
}

// errUnreachable says that no connection to the other node came about, so that
// nothing can have happened there.
var errUnreachable = errors.New("node cannot be reached")

// call sends one request to another node and reads the whole answer.
func (n *Node) call(ctx context.Context, to transport.Target, method, path string, body []byte, header map[string]string) ([]byte, error) {
	connected := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, to.URL(path), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	// Without it the client would send the body again on a new connection by
	// itself: whether to ask again is for the retry table to say.
	req.GetBody = nil
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if deadline, ok := ctx.Deadline(); ok {
		req.Header.Set(headerBudget, strconv.FormatInt(max(0, deadline.Sub(n.clock.Now()).Milliseconds()), 10))
	}
	resp, err := n.listener.RPCTransport(to).RoundTrip(req)
	if err != nil {
		n.noteRefusal(err)
		if !connected {
			return nil, fmt.Errorf("%w: %w", errUnreachable, err)
		}
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 2*maxMessage))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: node answers %d: %.200s", errWire, resp.StatusCode, answer)
	}
	return answer, nil
}

// noteRefusal ends the process when another node has seen a newer start of this
// node's data directory: this is an old copy of it, or the older of two processes
// on copies, and has forgotten votes or is about to.
func (n *Node) noteRefusal(err error) {
	var refused *transport.RefusedError
	if !errors.As(err, &refused) {
		return
	}
	if own := n.epoch.Load(); refused.Code == transport.CodeWrongEpoch && refused.Peer.Epoch > own {
		n.log.Error("this node was left behind by a recovery of its cluster: move its data directory away and start it as a new node",
			"peer", nameOf(refused.Peer.ID), "peer_epoch", refused.Peer.Epoch, "epoch", own)
	}
	if refused.Remote && refused.Code == transport.CodeStaleGeneration {
		n.stale.Do(func() {
			n.retire(fmt.Errorf("%s has seen a newer start of server %s: %s is an old copy, or another process runs on a "+
				"copy of it; move this data directory away and start it as a new node", nameOf(refused.Peer.ID), n.id, n.cfg.DataDir))
		})
	}
}

// callLeader is call to the leader that this node knows, and lets go of it when
// there is another one or none. A leader that was cut off or stopped answers
// nothing; its successor is the sign that waiting any longer is in vain.
func (n *Node) callLeader(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	changed := n.leaders.changed()
	to, ok := n.leaderTarget()
	if !ok {
		return nil, fmt.Errorf("%w: no leader is known", errUnreachable)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			changed = n.leaders.changed()
			// The wake-up may be late and mean the change that made this one leader.
			if _, now := n.raft.LeaderWithID(); string(now) != to.ID {
				cancel()
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-done
	}()
	return n.call(ctx, to, method, path, body, nil)
}

// forwardTimeout bounds one forwarded batch; the callers' own deadlines are
// shorter and let go of it by themselves.
const forwardTimeout = 5 * time.Second

// forward is the follower's half: it sends a batch to the leader and answers
// each command.
func (n *Node) forward(batch []*pending) {
	start := n.clock.Now()
	body, err := encodeBatch(batch, start)
	if err != nil {
		refuseEncoding(batch, err, n.forward)
		return
	}
	ctx, cancel := context.WithTimeout(n.life, forwardTimeout)
	defer cancel()
	raw, err := n.callLeader(ctx, http.MethodPost, pathPropose, body)
	if errors.Is(err, errUnreachable) {
		answerAll(batch, fmt.Errorf("%w: %w", ErrNoLeader, err))
		return
	}
	if err != nil {
		answerAll(batch, fmt.Errorf("%w: %w", ErrUnknown, err))
		return
	}
	answers, err := decodeAnswers(raw, len(batch))
	if err != nil {
		answerAll(batch, fmt.Errorf("%w: %w", ErrUnknown, err))
		return
	}
	took := n.clock.Now().Sub(start)
	n.observe.Forwarded(len(batch), took)
	for i, p := range batch {
		a := answers[i]
		a.result.Forwarded = true
		a.result.Forward = max(0, took-a.result.Commit)
		p.done <- a
	}
}
