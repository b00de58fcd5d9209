package gossip

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"hadir/cluster/loglimit"
)

func node(name, ip string, meta []byte) *memberlist.Node {
	return &memberlist.Node{Name: name, Addr: net.ParseIP(ip), Port: 1, Meta: meta}
}

func TestVetoes(t *testing.T) {
	encode := func(m Meta) []byte {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ours := node("n2", "192.0.2.2", encode(Meta{ID: "n2", ClusterID: "A"}))
	fresh := node("n3", "192.0.2.3", encode(Meta{ID: "n3"}))
	foreign := node("n4", "192.0.2.4", encode(Meta{ID: "n4", ClusterID: "B"}))
	liar := node("n5", "192.0.2.5", encode(Meta{ID: "n6"}))
	junk := node("n7", "192.0.2.7", []byte("junk"))
	self := node("n1", "192.0.2.1", []byte("anything"))

	hooksOf := func(cluster string) *hooks {
		h := &hooks{limit: loglimit.New(func() time.Time { return time.Unix(0, 0) }), logger: slog.New(slog.DiscardHandler)}
		h.local.Store(&local{meta: Meta{ID: "n1", ClusterID: cluster}})
		return h
	}
	a, none := hooksOf("A"), hooksOf("")
	for _, tc := range []struct {
		name string
		h    *hooks
		n    *memberlist.Node
		want error
	}{
		{"ours", a, ours, nil},
		{"fresh", a, fresh, nil},
		{"foreign", a, foreign, errForeign},
		{"liar", a, liar, errName},
		{"junk", a, junk, ErrBadMeta},
		{"self", a, self, nil},
		{"we are fresh", none, foreign, nil},
	} {
		if err := tc.h.NotifyAlive(tc.n); !errors.Is(err, tc.want) {
			t.Errorf("alive, %s: %v", tc.name, err)
		}
	}
	for _, tc := range []struct {
		name  string
		peers []*memberlist.Node
		want  error
	}{
		{"empty", nil, nil},
		{"ours", []*memberlist.Node{ours}, nil},
		{"all foreign", []*memberlist.Node{foreign, junk, foreign}, errForeign},
		{"mixed", []*memberlist.Node{foreign, fresh}, nil},
	} {
		if err := a.NotifyMerge(tc.peers); !errors.Is(err, tc.want) {
			t.Errorf("merge, %s: %v", tc.name, err)
		}
	}
}
