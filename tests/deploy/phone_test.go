package deploy_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hadir/tests/browser/chromium"
	"hadir/tests/system/harness"
)

// phone checks in with a browser of a phone's size, over TLS: a place and a service
// worker are to be had on a secure page only.
func phone(t *testing.T, s *site) {
	t.Helper()
	_, err := chromium.Find()
	if err != nil {
		t.Logf("left out: %v", err)
		return
	}
	admin := s.client()
	admin.signIn("admin@hadir.example", s.password)
	if status, b := admin.do("POST", "/api/v1/users", harness.Key(), map[string]string{
		"name": "Siti", "email": "siti@deploy.example", "role": "student", "password": "buku gambar baru",
	}); status != 201 {
		t.Fatalf("a student: %d %s", status, b)
	}
	// A phone is told about the authority; this browser is told about the key.
	b, err := chromium.Start(chromedp.Flag("ignore-certificate-errors-spki-list", s.keyHash()))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d, err := b.Device(chromium.Phone)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.AllowPlace(true); err != nil {
		t.Fatal(err)
	}
	p, err := d.Page()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, do := range []func() error{
		func() error { return p.StandAt(-6.2009, 106.8451, 12) },
		func() error { _, err := p.Open(s.front + "/?lang=en"); return err },
		func() error { return p.Type("#email", "siti@deploy.example") },
		func() error { return p.Type("#password", "buku gambar baru") },
		func() error { return p.Click("button.main") },
		func() error { return p.Await(ctx, "document.querySelector('.place')?.dataset.state === 'found'") },
		func() error {
			return p.Await(ctx, "window.isSecureContext && navigator.serviceWorker.controller !== undefined")
		},
		func() error { return p.Click("button.tap.in") },
		func() error { return p.Await(ctx, "document.querySelector('#receipt')?.dataset.look === 'accepted'") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	said, err := p.Text("#receipt")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a phone over TLS: %.80q", said)
	if path := os.Getenv("HADIR_PHONE_PICTURE"); path != "" {
		shot, err := p.Screenshot()
		if err == nil {
			err = os.WriteFile(path, shot, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// keyHash is that of the front's public key, as Chromium wants it.
func (s *site) keyHash() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "secrets/tls/server.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
