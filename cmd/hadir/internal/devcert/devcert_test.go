package devcert

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 6, 30, 0, 0, time.UTC)

func request(t *testing.T, dir string, hosts ...string) Request {
	t.Helper()
	h, err := ParseHosts(hosts)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Dir: dir, Hosts: h, Valid: 397 * 24 * time.Hour, Now: now, Rand: rand.Reader}
}

func write(t *testing.T, r Request) Made {
	t.Helper()
	made, err := Write(r)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// roots are those of a phone that was told about the authority.
func roots(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, dir, AuthorityCert))) {
		t.Fatal("no authority")
	}
	return pool
}

// TestABrowserConnects lets a client that trusts the authority alone reach a
// server by each of its names.
func TestABrowserConnects(t *testing.T) {
	dir := t.TempDir()
	r := request(t, dir, "absen.lan", "192.168.1.10")
	r.Now = time.Now()
	write(t, r)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, ServerCert), filepath.Join(dir, ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	defer server.Close()
	for name, want := range map[string]bool{
		"absen.lan": true, "192.168.1.10": true, "localhost": true, "127.0.0.1": true, "other.lan": false, "192.168.1.11": false,
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, dir), ServerName: name}}}
		resp, err := client.Get(server.URL)
		if err == nil {
			resp.Body.Close() //nolint:errcheck // only the handshake counts
		}
		if (err == nil) != want {
			t.Errorf("as %s: %v", name, err)
		}
		client.CloseIdleConnections()
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	write(t, request(t, dir, "absen.lan"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("%d files, want 4 and no leftover", len(entries))
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", info.Mode(), err)
	}
}

// TestAnAuthorityStays: phones were told about it.
func TestAnAuthorityStays(t *testing.T) {
	dir := t.TempDir()
	first := write(t, request(t, dir, "absen.lan"))
	ca, server := read(t, dir, AuthorityCert), read(t, dir, ServerCert)
	second := write(t, request(t, dir, "absen.lan", "pintu.absen.lan", "10.1.2.3"))
	if !first.NewAuthority || second.NewAuthority || first.Fingerprint != second.Fingerprint || read(t, dir, AuthorityCert) != ca {
		t.Errorf("the authority changed: %+v, %+v", first, second)
	}
	if read(t, dir, ServerCert) == server {
		t.Error("the server's certificate is the old one")
	}
	if len(strings.Split(first.Fingerprint, ":")) != 32 {
		t.Errorf("fingerprint %q", first.Fingerprint)
	}
}

// TestAnAuthorityHasLimits: its key must be of no use for other people's names.
func TestAnAuthorityHasLimits(t *testing.T) {
	dir := t.TempDir()
	write(t, request(t, dir, "absen.lan", "203.0.113.7"))
	before := read(t, dir, ServerCert)
	for _, host := range []string{"bank.example", "lan", "xabsen.lan", "203.0.113.8", "2001:db8::1"} {
		if _, err := Write(request(t, dir, host)); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if read(t, dir, ServerCert) != before {
		t.Error("a refusal replaced the certificate")
	}
}

func TestWhatIsThereIsNotReplaced(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"key missing":         func(dir string) error { return os.Remove(filepath.Join(dir, AuthorityKey)) },
		"certificate missing": func(dir string) error { return os.Remove(filepath.Join(dir, AuthorityCert)) },
		"certificate damaged": func(dir string) error { return os.WriteFile(filepath.Join(dir, AuthorityCert), []byte("x"), 0o600) },
		"of a server": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, ServerCert), filepath.Join(dir, AuthorityCert)),
				os.Rename(filepath.Join(dir, ServerKey), filepath.Join(dir, AuthorityKey)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := request(t, dir, "absen.lan")
			write(t, r)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if made, err := Write(r); err == nil {
				t.Errorf("a new authority beside what is left of the old one: %+v", made)
			}
		})
	}
}

func TestAnOldAuthority(t *testing.T) {
	dir := t.TempDir()
	r := request(t, dir, "absen.lan")
	write(t, r)
	r.Now = now.Add(authorityValid - 24*time.Hour)
	if made := write(t, r); !made.Until.Equal(now.Add(authorityValid)) {
		t.Errorf("until %s: longer than the authority, or shorter than it could be", made.Until)
	}
	r.Now = now.Add(authorityValid + time.Hour)
	if _, err := Write(r); err == nil {
		t.Error("an authority that has ended still signs")
	}
}

func TestParseHosts(t *testing.T) {
	h, err := ParseHosts([]string{"Absen.LAN.", "absen.lan", "[fd00::1]", "::ffff:10.0.0.1", "10.0.0.1"})
	if got := strings.Join(h.Strings(), " "); err != nil || got != "absen.lan fd00::1 10.0.0.1" {
		t.Errorf("%q, %v", got, err)
	}
	for _, word := range []string{"", "https://absen.lan", "absen.lan:8443", "a..b", "-a.lan", "*.lan", "fe80::1%eth0", "a b", strings.Repeat("a", 64)} {
		if h, err := ParseHosts([]string{word}); err == nil {
			t.Errorf("%q passes as %v", word, h)
		}
	}
	if _, err := ParseHosts(nil); err == nil {
		t.Error("nothing passes")
	}
}
