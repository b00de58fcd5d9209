package transport

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	alpnRaft = "hadir-raft/1"
	alpnRPC  = "hadir-rpc/1"

	certScheme = "hadir"
	certHost   = "node"

	maxServerID = 128
)

var (
	certNotBefore = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	certNotAfter  = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	// certInstant is the moment at which chains are verified. A constant, so
	// that a machine whose clock says 1970 still finds its cluster.
	certInstant = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// ErrBadServerID means a server id that cannot be put into a certificate:
// 1 to 128 of the characters A-Z a-z 0-9 and -._~:@+=
var ErrBadServerID = errors.New("transport: bad server id")

// CheckServerID returns nil or an error that matches ErrBadServerID. The
// alphabet is what a URL path carries unescaped, minus the slash, so that one
// id has exactly one spelling in a certificate.
func CheckServerID(id string) error {
	if id == "" || len(id) > maxServerID {
		return fmt.Errorf("%w: %d characters, want 1 to %d", ErrBadServerID, len(id), maxServerID)
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~:@+=", c) >= 0:
		default:
			return fmt.Errorf("%w: character %q", ErrBadServerID, c)
		}
	}
	return nil
}

// authority is the CA that one key stands for.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// authority derives the CA. Its certificate is byte-identical on every node:
// serial and key id come from the key, Ed25519 signatures are deterministic.
func (k Key) authority() (authority, error) {
	seed, err := k.derive(infoCASeed, ed25519.SeedSize)
	if err != nil {
		return authority{}, err
	}
	serial, err := k.derive(infoCASerial, 16)
	if err != nil {
		return authority{}, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	pub := key.Public().(ed25519.PublicKey)
	// Set by hand: the default of crypto/x509 has changed between Go releases.
	keyID := sha256.Sum256(pub)
	tmpl := &x509.Certificate{
		SerialNumber:          positive(serial),
		Subject:               pkix.Name{CommonName: "hadir cluster CA " + hex.EncodeToString(keyID[:4])},
		NotBefore:             certNotBefore,
		NotAfter:              certNotAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		SubjectKeyId:          keyID[:20],
		SignatureAlgorithm:    x509.PureEd25519,
	}
	der, err := x509.CreateCertificate(noRand{}, tmpl, tmpl, pub, key)
	if err != nil {
		return authority{}, fmt.Errorf("transport: make CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("transport: read CA: %w", err)
	}
	return authority{cert: cert, key: key}, nil
}

// issue makes a leaf certificate with a fresh key for a server id.
func (a authority) issue(id string, rand io.Reader) (tls.Certificate, error) {
	buf := make([]byte, ed25519.SeedSize+16)
	if _, err := io.ReadFull(rand, buf); err != nil {
		return tls.Certificate{}, fmt.Errorf("transport: make certificate: %w", err)
	}
	key := ed25519.NewKeyFromSeed(buf[:ed25519.SeedSize])
	pub := key.Public().(ed25519.PublicKey)
	keyID := sha256.Sum256(pub)
	tmpl := &x509.Certificate{
		SerialNumber:          positive(buf[ed25519.SeedSize:]),
		Subject:               pkix.Name{CommonName: "hadir node"},
		NotBefore:             certNotBefore,
		NotAfter:              certNotAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		SubjectKeyId:          keyID[:20],
		URIs:                  []*url.URL{{Scheme: certScheme, Host: certHost, Path: "/" + id}},
		SignatureAlgorithm:    x509.PureEd25519,
	}
	der, err := x509.CreateCertificate(noRand{}, tmpl, a.cert, pub, a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("transport: make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// positive makes a serial number of at most 20 octets that is never negative
// or zero, as RFC 5280 wants.
func positive(b []byte) *big.Int {
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// noRand proves that signing uses no randomness: reading from it fails.
type noRand struct{}

func (noRand) Read([]byte) (int, error) {
	return 0, errors.New("transport: signing a certificate must not need randomness")
}

// credentials are what a node proves itself with and checks others against.
type credentials struct {
	leaf  tls.Certificate
	roots *x509.CertPool
	rand  io.Reader
}

func newCredentials(keys Keys, id string, rand io.Reader) (*credentials, error) {
	if len(keys.keys) == 0 {
		return nil, ErrNoKey
	}
	if err := CheckServerID(id); err != nil {
		return nil, err
	}
	c := &credentials{roots: x509.NewCertPool(), rand: rand}
	for i, k := range keys.keys {
		ca, err := k.authority()
		if err != nil {
			return nil, err
		}
		c.roots.AddCert(ca.cert)
		if i > 0 {
			continue
		}
		if c.leaf, err = ca.issue(id, rand); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *credentials) base() *tls.Config {
	return &tls.Config{
		Rand:                   c.rand,
		Time:                   func() time.Time { return certInstant },
		Certificates:           []tls.Certificate{c.leaf},
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
	}
}

func (c *credentials) server() *tls.Config {
	cfg := c.base()
	cfg.NextProtos = []string{alpnRaft, alpnRPC}
	// "Any" because the chain is verified below, at certInstant and not at
	// the time of this machine's clock.
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := c.verify(cs, x509.ExtKeyUsageClientAuth)
		return err
	}
	return cfg
}

// client returns the configuration to dial with. Which server id answers is
// checked after the preamble and not here: an alert would tell the other side
// that its certificate is bad, and it would look for a wrong key.
func (c *credentials) client(p Protocol) *tls.Config {
	cfg := c.base()
	cfg.NextProtos = []string{p.alpn()}
	// Not less verification but another one: nodes are known by server id and
	// not by host name, and the chain is verified at certInstant.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := c.verify(cs, x509.ExtKeyUsageServerAuth)
		return err
	}
	return cfg
}

// verify checks the chain and returns the server id of the certificate.
func (c *credentials) verify(cs tls.ConnectionState, usage x509.ExtKeyUsage) (string, error) {
	if len(cs.PeerCertificates) == 0 {
		return "", fmt.Errorf("%w: no certificate", ErrWrongKey)
	}
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: c.roots, CurrentTime: certInstant, KeyUsages: []x509.ExtKeyUsage{usage}}
	if _, err := leaf.Verify(opts); err != nil {
		return "", fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	return certificateID(leaf)
}

func certificateID(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("%w: certificate names %d nodes", ErrPeerIdentity, len(cert.URIs))
	}
	u := cert.URIs[0]
	id, ok := strings.CutPrefix(u.Path, "/")
	if u.Scheme != certScheme || u.Host != certHost || !ok || CheckServerID(id) != nil {
		return "", fmt.Errorf("%w: certificate names no node", ErrPeerIdentity)
	}
	return id, nil
}

// alertBadCertificate is the TLS alert by which a peer says that it could not
// verify us.
const alertBadCertificate = tls.AlertError(42)

// explainTLS turns the alert of a peer into the sentinel that an operator can
// act on. crypto/tls gives the alert of the other side an unexported type, so
// its text, taken from the library itself, is all there is to compare.
func explainTLS(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err.Error() == alertBadCertificate.Error() {
		return fmt.Errorf("%w (said by the peer)", ErrWrongKey)
	}
	return err
}

// lockedReader makes an injected source safe for the concurrent handshakes
// that crypto/tls reads it from.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
