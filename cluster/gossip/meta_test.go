package gossip

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
)

func exampleMeta() Meta {
	return Meta{
		ID: "n1.abc", Name: "Gedung A", Incarnation: 1 << 60, Generation: 7, HTTPURL: "http://192.0.2.1:8080",
		PeerAddr: "192.0.2.1:7000", Version: "v1.2.3", CommandLevel: 9, ClusterID: strings.Repeat("c", 64),
		BootstrapHash: [32]byte{1, 2, 3}, NonVoter: true,
	}
}

func TestMetaRoundTrip(t *testing.T) {
	for _, m := range []Meta{exampleMeta(), {ID: "n"}, {ID: "n", NonVoter: true}, {ID: "n", BootstrapHash: [32]byte{31: 1}}} {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMeta(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	}
}

func TestMetaEncodeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    Meta
		want error
	}{
		{"no id", Meta{}, ErrBadMeta},
		{"field too long", Meta{ID: "n", Name: strings.Repeat("x", 256)}, ErrMetaTooLarge},
		{"all too long", Meta{ID: "n", Name: strings.Repeat("x", 250), HTTPURL: strings.Repeat("y", 250)}, ErrMetaTooLarge},
		{"not UTF-8", Meta{ID: "n", Name: "\xff"}, ErrBadMeta},
		{"terminal escape", Meta{ID: "n", Name: "\x1b[31m"}, ErrBadMeta},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := tc.m.encode(); !errors.Is(err, tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMetaDecodeRefuses(t *testing.T) {
	good, err := exampleMeta().encode()
	if err != nil {
		t.Fatal(err)
	}
	noHash, err := (Meta{ID: "n"}).encode()
	if err != nil {
		t.Fatal(err)
	}
	change := func(in []byte, f func(b []byte) []byte) []byte { return f(bytes.Clone(in)) }
	for name, in := range map[string][]byte{
		"nothing":      nil,
		"version 0":    change(good, func(b []byte) []byte { b[0] = 0; return b }),
		"flag":         change(good, func(b []byte) []byte { b[1] |= 0x80; return b }),
		"trailing":     append(bytes.Clone(good), 0),
		"cut":          good[:len(good)-1],
		"empty hash":   change(noHash, func(b []byte) []byte { b[1] |= flagHash; return append(b, make([]byte, 32)...) }),
		"missing hash": change(noHash, func(b []byte) []byte { b[1] |= flagHash; return b }),
		"string too long": change(noHash, func(b []byte) []byte {
			b[22] = 200
			return b
		}),
		"too large": make([]byte, memberlist.MetaMaxSize+1),
	} {
		if m, err := decodeMeta(in); !errors.Is(err, ErrBadMeta) {
			t.Errorf("%s: %+v %v", name, m, err)
		}
	}
}

// TestMetaOfALaterVersion: a rolling upgrade must not split gossip.
func TestMetaOfALaterVersion(t *testing.T) {
	b, err := exampleMeta().encode()
	if err != nil {
		t.Fatal(err)
	}
	b[0], b[1] = 2, b[1]|0x40
	got, err := decodeMeta(append(b, "new fields"...))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(exampleMeta(), got); d != "" {
		t.Error(d)
	}
}

// FuzzMeta (F9): nothing panics, what is accepted fits and is canonical.
func FuzzMeta(f *testing.F) {
	for _, m := range []Meta{exampleMeta(), {ID: "n"}} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(append([]byte{2}, b[1:]...), 1, 2, 3))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := decodeMeta(in)
		if err != nil {
			return
		}
		out, err := m.encode()
		if err != nil {
			t.Fatalf("decoded but not encodable: %v", err)
		}
		if in[0] == metaVersion && !bytes.Equal(in, out) {
			t.Fatalf("not canonical: %x", in)
		}
		again, err := decodeMeta(out)
		if err != nil || again != m {
			t.Fatalf("%v: %+v, %+v", err, again, m)
		}
	})
}
