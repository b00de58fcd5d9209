package sealed_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"hadir/attendance"
	"hadir/queue/sealed"
)

func TestSeal(t *testing.T) {
	old, young := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	sealer := func(cluster byte, use string, keys ...[]byte) *sealed.Sealer {
		t.Helper()
		s, err := sealed.New(keys, attendance.ClusterID{cluster}, use, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := sealer(1, "jobs", old)
	box, err := s.Seal("a", []byte("words"))
	if err != nil || bytes.Contains(box, []byte("words")) {
		t.Fatalf("%q %v", box, err)
	}
	// Keys are changed one by one: the new one first, the old one still known.
	for _, opener := range []*sealed.Sealer{s, sealer(1, "jobs", young, old)} {
		if plain, err := opener.Open("a", box); err != nil || string(plain) != "words" {
			t.Errorf("%q %v", plain, err)
		}
	}
	for what, opener := range map[string]*sealed.Sealer{
		"another cluster": sealer(2, "jobs", old), "another use": sealer(1, "cache", old), "another key": sealer(1, "jobs", young),
	} {
		if _, err := opener.Open("a", box); !errors.Is(err, sealed.ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Open("b", box); !errors.Is(err, sealed.ErrForeign) {
		t.Errorf("another purpose: %v", err)
	}
	for i := range box {
		changed := bytes.Clone(box)
		changed[i]++
		if _, err := s.Open("a", changed); !errors.Is(err, sealed.ErrForeign) {
			t.Fatalf("byte %d was changed: %v", i, err)
		}
		if _, err := s.Open("a", box[:i]); !errors.Is(err, sealed.ErrForeign) {
			t.Fatalf("cut off after %d: %v", i, err)
		}
	}
	if _, err := sealed.New(nil, attendance.ClusterID{1}, "jobs", rand.Reader); err == nil {
		t.Error("without a key")
	}
}
