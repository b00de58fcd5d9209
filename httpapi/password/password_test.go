package password_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"

	"hadir/attendance"
	"hadir/httpapi/password"
)

func TestHashAndVerify(t *testing.T) {
	const secret = "kata sandi ✔"
	a, err := password.Hash(rand.Reader, secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := password.Hash(rand.Reader, secret)
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("two hashes of one password are equal: no salt")
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q has other parameters", a)
	}
	set := attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1",
		Body: attendance.SetPassword{UserID: 1, PasswordHash: a},
	}
	if err := set.Check(); err != nil {
		t.Errorf("a hash cannot be proposed: %v", err)
	}
	for word, want := range map[string]bool{secret: true, secret + " ": false, "": false} {
		got, err := password.Verify(a, word)
		if err != nil || got != want {
			t.Errorf("Verify(%q) = %v, %v", word, got, err)
		}
	}
}

func TestMalformedHashes(t *testing.T) {
	for _, hash := range []string{
		"", "$", "plain", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=18$m=19456,t=2,p=1$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=19$m=4000000000,t=2,p=1$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=19$m=19456,t=0,p=1$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=19$m=19456,t=2,p=0$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=19$m=19456,t=2,p=1$!$c3VtbXN1bW1zdW1tc3VtbQ",
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$c3Vt",
		"$argon2id$v=19$m=19456$c2FsdHNhbHQ$c3VtbXN1bW1zdW1tc3VtbQ",
	} {
		if _, err := password.Verify(hash, "x"); !errors.Is(err, password.ErrMalformed) {
			t.Errorf("Verify of %q: %v", hash, err)
		}
	}
}

func TestGate(t *testing.T) {
	g := password.NewGate(1, 1)
	inside, leave := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if err := g.Do(t.Context(), func() error { close(inside); <-leave; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-inside
	// There is room for one of two that wait; that one stops waiting when its
	// context ends.
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	for range 2 {
		all.Go(func() { waited <- g.Do(ctx, func() error { return errors.New("it had its turn") }) })
	}
	if err := <-waited; !errors.Is(err, password.ErrBusy) {
		t.Errorf("the one too many got %v", err)
	}
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting gave %v", err)
	}
	close(leave)
	all.Wait()
	want := errors.New("mine")
	if err := g.Do(t.Context(), func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do gave %v", err)
	}
}
