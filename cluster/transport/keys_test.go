package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseKeys(t *testing.T) {
	a, b := testKeys(t, 2)[0], testKeys(t, 1)[0]
	short := base64.StdEncoding.EncodeToString([]byte("only sixteen byt"))
	many := ""
	for _, k := range testKeys(t, maxKeys+1) {
		many += k.Encode() + "\n"
	}
	for _, tc := range []struct {
		name, text string
		want       int
		err        error
	}{
		{"one", a.Encode(), 1, nil},
		{"comments, blanks, windows line ends", "# ours\r\n\r\n  " + a.Encode() + " \r\n#old\r\n" + b.Encode() + "\r\n", 2, nil},
		{"duplicate", a.Encode() + "\n" + a.Encode(), 1, nil},
		{"empty", "# nothing\n", 0, ErrNoKey},
		{"not base64", a.Encode() + "\nsecret!secret\n", 0, ErrBadKey},
		{"short", short, 0, ErrBadKey},
		{"two on a line", a.Encode() + " " + b.Encode(), 0, ErrBadKey},
		{"zero", base64.StdEncoding.EncodeToString(make([]byte, 32)), 0, ErrBadKey},
		{"development key", developmentKey().Encode(), 0, ErrBadKey},
		{"too many", many, 0, ErrBadKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keys, err := ParseKeys(tc.text)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("error has several lines: %q", err)
				}
				for _, part := range strings.Fields(tc.text) {
					if len(part) > 4 && strings.Contains(err.Error(), part) {
						t.Errorf("error repeats the input: %q", err)
					}
				}
				return
			}
			if len(keys.keys) != tc.want {
				t.Fatalf("%d keys, want %d", len(keys.keys), tc.want)
			}
			if got := keys.keys[0].Encode(); got != a.Encode() {
				t.Error("the first key is not the first line")
			}
		})
	}
}

// TestKeysNeverPrint prints keys in every way that a log could.
func TestKeysNeverPrint(t *testing.T) {
	var secret [keySize]byte
	for i := range secret {
		secret[i] = 0xab
	}
	key := newKey(secret)
	keys := mustKeys(t, key)
	nested := struct {
		Config Config
		k      Key
		ks     Keys
	}{Config: Config{Keys: keys}, k: key, ks: keys}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", key, keys, nested)
	}
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "key", key, "keys", keys, "nested", nested)
	text := slog.New(slog.NewTextHandler(&out, nil))
	text.Info("x", "key", key, "keys", keys, "nested", nested)
	lower := strings.ToLower(out.String())
	for _, leak := range []string{"abab", "171 171", "171, 171", "0xab", strings.ToLower(key.Encode()[:12])} {
		if strings.Contains(lower, leak) {
			t.Errorf("output contains %q:\n%s", leak, out.String())
		}
	}
}

// TestDerivedSecretsGolden pins the derivation: another result cuts a new
// binary off from running nodes.
func TestDerivedSecretsGolden(t *testing.T) {
	var secret [keySize]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	keys := mustKeys(t, newKey(secret))
	ca, err := keys.keys[0].authority()
	if err != nil {
		t.Fatal(err)
	}
	gossip, err := keys.GossipKeys()
	if err != nil {
		t.Fatal(err)
	}
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:8]) }
	for _, tc := range []struct{ what, got, want string }{
		{"CA certificate", sum(ca.cert.Raw), "206a414ab22d49aa"},
		{"gossip key", sum(gossip[0]), "3a1a6d7371d73b0b"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, tc.got, tc.want)
		}
	}
	if len(gossip[0]) != keySize || bytes.Equal(gossip[0], secret[:]) || bytes.Equal(gossip[0], ca.key.Seed()) {
		t.Error("derived secrets are not apart")
	}
}

func TestLeafCertificates(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	a, err := newCredentials(keys, "n1.abc", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newCredentials(keys, "n1.abc", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.leaf.Certificate[0], b.leaf.Certificate[0]) {
		t.Error("two starts share a leaf key")
	}
	leaf, err := x509.ParseCertificate(a.leaf.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, x509.ExtKeyUsageServerAuth)
	if err != nil || id != "n1.abc" {
		t.Errorf("verify: %q, %v", id, err)
	}
	if !leaf.NotBefore.Equal(certNotBefore) || !leaf.NotAfter.Equal(certNotAfter) || leaf.IsCA || len(leaf.URIs) != 1 || leaf.URIs[0].String() != "hadir://node/n1.abc" {
		t.Errorf("leaf: %v %v %v %v", leaf.NotBefore, leaf.NotAfter, leaf.IsCA, leaf.URIs)
	}
	for _, bad := range []string{"", "a/b", "a b", "ä", "%41", strings.Repeat("x", maxServerID+1)} {
		if _, err := newCredentials(keys, bad, rand.Reader); !errors.Is(err, ErrBadServerID) {
			t.Errorf("id %q: %v", bad, err)
		}
	}
	if _, err := newCredentials(keys, "n1", failingReader{}); err == nil {
		t.Error("no randomness is not an error")
	}
	if _, err := GenerateKey(failingReader{}); err == nil {
		t.Error("no randomness is not an error")
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("no entropy") }
