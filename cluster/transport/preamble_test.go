package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func examplePreamble() preamble {
	return preamble{code: CodeOK, cluster: "c1", epoch: 2, from: "n1.a", incarnation: 3, generation: 4, run: 5, to: "n2.b"}
}

func TestPreambleRoundTrip(t *testing.T) {
	longest := preamble{
		code: 255, cluster: strings.Repeat("c", maxClusterID), epoch: 1 << 63, from: strings.Repeat("f", maxServerID),
		incarnation: 1<<64 - 1, generation: 1<<64 - 1, run: 1<<64 - 1, to: strings.Repeat("t", maxServerID),
	}
	for _, p := range []preamble{examplePreamble(), longest, {from: "n"}} {
		r := bytes.NewReader(append(p.encode(), "next"...))
		got, err := readPreamble(r)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, got, cmp.AllowUnexported(preamble{})); d != "" {
			t.Error(d)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "next" {
			t.Errorf("read too much: %q %v left", rest, err)
		}
	}
}

func TestPreambleRefusesDamage(t *testing.T) {
	good := examplePreamble().encode()
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"magic", change(func(b []byte) []byte { b[0] = 'X'; return b }), ErrBadPreamble},
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), ErrBadPreamble},
		{"version", change(func(b []byte) []byte { b[4] = 9; return b }), ErrVersion},
		{"too long", change(func(b []byte) []byte { b[6], b[7] = 0xff, 0xff; return b }), ErrBadPreamble},
		{"trailing", change(func(b []byte) []byte { b[7]++; return append(b, 0) }), ErrBadPreamble},
		{"short body", change(func(b []byte) []byte { b[7]--; return b[:len(b)-1] }), ErrBadPreamble},
		{"no sender", preamble{cluster: "c"}.encode(), ErrBadPreamble},
		{"slash in id", preamble{from: "a/b"}.encode(), ErrBadPreamble},
		{"cut", good[:len(good)-1], io.ErrUnexpectedEOF},
		{"nothing", nil, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := readPreamble(bytes.NewReader(tc.in)); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

// FuzzPreamble (F8): what is accepted is canonical, nothing panics, nothing
// behind the preamble is read.
func FuzzPreamble(f *testing.F) {
	f.Add(examplePreamble().encode())
	f.Add(preamble{from: "n"}.encode())
	f.Add([]byte("HADR\x02\x03\x00\x00"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		p, err := readPreamble(r)
		if err != nil {
			return
		}
		used := len(in) - r.Len()
		if !bytes.Equal(p.encode(), in[:used]) {
			t.Fatalf("not canonical: %x", in[:used])
		}
		if used > preambleHeader+preambleMaxBody {
			t.Fatalf("read %d bytes", used)
		}
	})
}
