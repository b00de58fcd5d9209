package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
)

// accept runs TLS and the preamble on an inbound connection. The caller bounds
// it in time and closes raw on error.
func (l *Listener) accept(ctx context.Context, raw net.Conn) (*Conn, error) {
	conn := tls.Server(raw, l.serverTLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, explainTLS(err)
	}
	state := conn.ConnectionState()
	proto, ok := protocolOf(state.NegotiatedProtocol)
	if !ok {
		// A client that offers no ALPN at all passes TLS.
		return nil, fmt.Errorf("%w: no protocol was negotiated", ErrBadPreamble)
	}
	certID, err := certificateID(state.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	local := l.cfg.Identity.Cluster()
	hello, err := readPreamble(conn)
	if err != nil && !errors.Is(err, ErrBadPreamble) && !errors.Is(err, ErrVersion) {
		return nil, explainTLS(err) // nobody listens for an answer
	}
	code := CodeOK
	switch {
	case errors.Is(err, ErrBadPreamble):
		code = CodeBadPreamble
	case errors.Is(err, ErrVersion):
		code = CodeVersion
	}
	peer := hello.peer()
	peer.Addr, peer.Protocol = raw.RemoteAddr().String(), proto
	if code == CodeOK {
		code = l.judge(local, peer, certID, hello.to)
	}
	answer, err := l.preamble(local, certID, code)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(answer); err != nil {
		return nil, fmt.Errorf("transport: answer preamble: %w", err)
	}
	if code != CodeOK {
		// TLS says goodbye first, or the reset that an early close causes
		// could overtake the answer. The dialler has sent nothing more, so
		// there is nothing to drain.
		conn.Close() //nolint:errcheck // already refusing
		peer.ID = certID
		return nil, &RefusedError{Code: code, Peer: peer}
	}
	return &Conn{Conn: conn, raw: raw, peer: peer, forget: l.forget}, nil
}

// judge decides on an inbound peer. to is the server id that it means.
func (l *Listener) judge(local Cluster, peer Peer, certID, to string) Code {
	isRaft := peer.Protocol == ProtocolRaft
	switch {
	case peer.ID != certID:
		return CodePeerIdentity
	case to != l.cfg.Self.ID && (isRaft || to != ""):
		return CodeNotAddressee
	case isRaft && (!local.raftOpen() || !l.streamOpen()):
		return CodeNotAdmitted
	}
	if code := compare(local, peer); code != CodeOK {
		return code
	}
	return l.askOwner(peer)
}

// judgeAnswer decides on a peer that has accepted us. want is the server id
// that was meant, empty for any.
func (l *Listener) judgeAnswer(local Cluster, peer Peer, certID, want string) Code {
	switch {
	case peer.ID != certID:
		return CodePeerIdentity
	case want != "" && peer.ID != want:
		return CodeNotAddressee
	}
	if code := compare(local, peer); code != CodeOK {
		return code
	}
	return l.askOwner(peer)
}

// compare checks cluster id and epoch. On node RPC a node without a cluster
// may talk to anybody: that is how fresh nodes find each other and how a late
// node asks to join. Raft has checked before that the local id is not empty.
func compare(local Cluster, peer Peer) Code {
	if peer.Protocol == ProtocolRPC && (local.ID == "" || peer.ClusterID == "") {
		return CodeOK
	}
	switch {
	case local.ID != peer.ClusterID:
		return CodeWrongCluster
	case local.Epoch != peer.Epoch:
		return CodeWrongEpoch
	default:
		return CodeOK
	}
}

// askOwner asks the policy hook. Its text stays here: only a code travels.
func (l *Listener) askOwner(peer Peer) Code {
	err := l.cfg.Admit(peer)
	switch {
	case err == nil:
		return CodeOK
	case errors.Is(err, ErrStaleGeneration):
		return CodeStaleGeneration
	default:
		if l.limit.Allow("admit " + peer.ID) {
			l.cfg.Logger.Warn("peer not admitted", "peer", peer.ID, "addr", peer.Addr, "error", err)
		}
		return CodeNotAdmitted
	}
}

// preamble encodes what this node says about itself.
func (l *Listener) preamble(local Cluster, to string, code Code) ([]byte, error) {
	if !checkClusterID(local.ID) {
		return nil, fmt.Errorf("transport: cluster id of %d characters cannot be sent", len(local.ID))
	}
	return preamble{
		code:        code,
		cluster:     local.ID,
		epoch:       local.Epoch,
		from:        l.cfg.Self.ID,
		incarnation: l.cfg.Self.Incarnation,
		generation:  l.cfg.Self.Generation,
		run:         l.run,
		to:          to,
	}.encode(), nil
}

// greet runs TLS and the preamble on an outbound connection. The caller bounds
// it in time and closes raw on error.
func (l *Listener) greet(ctx context.Context, raw net.Conn, proto Protocol, target Target, local Cluster) (*Conn, error) {
	conn := tls.Client(raw, l.creds.client(proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, explainTLS(err)
	}
	certID, err := certificateID(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	hello, err := l.preamble(local, target.ID, CodeOK)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello); err != nil {
		return nil, explainTLS(err)
	}
	answer, err := readPreamble(conn)
	peer := answer.peer()
	peer.Addr, peer.Protocol, peer.Outbound = target.Addr, proto, true
	switch {
	case answer.code != CodeOK:
		// Before err: a refusal counts even when its version is unknown.
		peer.ID = certID
		return nil, &RefusedError{Code: answer.code, Remote: true, Peer: peer}
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("transport: peer closed the connection before its preamble: %w", err)
	case err != nil:
		// In TLS 1.3 the verdict on our certificate arrives here.
		return nil, explainTLS(err)
	}
	if code := l.judgeAnswer(local, peer, certID, target.ID); code != CodeOK {
		return nil, &RefusedError{Code: code, Peer: peer}
	}
	return &Conn{Conn: conn, raw: raw, peer: peer, forget: l.forget}, nil
}
