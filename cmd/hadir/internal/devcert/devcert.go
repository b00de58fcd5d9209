package devcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names of the files.
const (
	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
	ServerCert    = "server.crt"
	ServerKey     = "server.key"
)

const (
	// authorityValid is long: telling every phone again is much work.
	authorityValid = 10 * 365 * 24 * time.Hour
	// slow is how far behind a phone's clock may be.
	slow = 24 * time.Hour
)

// ErrNotAllowed is wrapped where an authority may not vouch for a host.
var ErrNotAllowed = errors.New("the authority may not vouch for it")

// Request is what Write needs. All fields are required.
type Request struct {
	Dir   string
	Hosts Hosts
	Valid time.Duration // of the server's certificate
	Now   time.Time
	Rand  io.Reader // cryptographic
}

// Made is what Write did.
type Made struct {
	NewAuthority bool
	Until        time.Time // end of the server's certificate
	Fingerprint  string    // of the authority, SHA-256 as phones show it
}

// Write makes a certificate for the hosts and for this machine itself, with the
// authority in the directory, which it makes first if there is none. A server's
// certificate that is there is replaced.
//
// Errors: ErrNotAllowed, and those of the file system.
func Write(r Request) (Made, error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return Made{}, err
	}
	ca, isNew, err := authority(r)
	if err != nil {
		return Made{}, err
	}
	until, err := ca.issue(r)
	if err != nil {
		return Made{}, err
	}
	return Made{NewAuthority: isNew, Until: until, Fingerprint: fingerprint(ca.cert.Raw)}, nil
}

type signer struct {
	cert *x509.Certificate
	key  any
}

// authority gives the one of the directory, and whether it is new.
func authority(r Request) (*signer, bool, error) {
	certFile, keyFile := filepath.Join(r.Dir, AuthorityCert), filepath.Join(r.Dir, AuthorityKey)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case err == nil:
		cert := pair.Leaf
		if !cert.IsCA {
			return nil, false, fmt.Errorf("%s is the certificate of no authority: choose another directory", certFile)
		}
		if r.Now.After(cert.NotAfter) {
			return nil, false, fmt.Errorf("the authority in %s has ended on %s: move its files away, make a new one, and tell the phones",
				r.Dir, cert.NotAfter.Format(time.DateOnly))
		}
		return &signer{cert, pair.PrivateKey}, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("authority in %s: %w", r.Dir, err)
	}
	for _, half := range []string{certFile, keyFile} {
		if _, err := os.Lstat(half); err == nil {
			return nil, false, fmt.Errorf("%s is there without its other half: bring that back, or move this one away for a new authority", half)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), r.Rand)
	if err != nil {
		return nil, false, err
	}
	all := r.Hosts.withThisMachine()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "hadir " + r.Hosts.Strings()[0], Organization: []string{"hadir local authority"}},
		NotBefore: r.Now.Add(-slow), NotAfter: r.Now.Add(authorityValid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: all.Names, PermittedIPRanges: all.networks(),
	}
	der, err := create(r.Rand, template, &signer{template, key}, &key.PublicKey)
	if err != nil {
		return nil, false, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, false, err
	}
	// The key first: a certificate without one would be of no use to anybody.
	if err := writePair(keyFile, key, certFile, der); err != nil {
		return nil, false, err
	}
	return &signer{cert, key}, true, nil
}

// issue makes and writes the server's certificate.
func (s *signer) issue(r Request) (until time.Time, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), r.Rand)
	if err != nil {
		return until, err
	}
	all := r.Hosts.withThisMachine()
	until = r.Now.Add(r.Valid)
	if until.After(s.cert.NotAfter) {
		until = s.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: r.Hosts.Strings()[0]},
		NotBefore: r.Now.Add(-slow), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              all.Names, IPAddresses: all.ips(),
	}
	der, err := create(r.Rand, template, s, &key.PublicKey)
	if err != nil {
		return until, err
	}
	if err := s.check(der, r.Now); err != nil {
		return until, err
	}
	return until, writePair(filepath.Join(r.Dir, ServerKey), key, filepath.Join(r.Dir, ServerCert), der)
}

// check does what a phone does with the certificate.
func (s *signer) check(der []byte, now time.Time) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.cert)
	if _, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return fmt.Errorf("%w: %w: it was made for %s and private addresses; choose another directory for a new authority, and tell the phones",
			ErrNotAllowed, err, strings.Join(s.cert.PermittedDNSDomains, ", "))
	}
	return nil
}

func create(random io.Reader, template *x509.Certificate, by *signer, public *ecdsa.PublicKey) ([]byte, error) {
	serial, err := rand.Int(random, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(random, template, by.cert, public, by.key)
}

func writePair(keyFile string, key *ecdsa.PrivateKey, certFile string, der []byte) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", secret); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der)
}

// writePEM writes a file that appears whole, mode 0600.
func writePEM(path, kind string, der []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has got its name by then
	if err := errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func fingerprint(der []byte) string {
	var b bytes.Buffer
	for i, octet := range sha256.Sum256(der) {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", octet)
	}
	return b.String()
}
