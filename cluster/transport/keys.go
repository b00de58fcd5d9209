package transport

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	keySize = 32
	// maxKeys bounds the trust pool. Rotation needs two; more is a mistake.
	maxKeys = 8

	redacted = "[cluster key]"
)

// Labels that keep the derived secrets apart. They are part of the wire
// contract: changing one cuts a node off from all others.
const (
	infoGossipKey = "hadir/v1 gossip key"
	infoMirrorKey = "hadir/v1 mirror key"
	infoCASeed    = "hadir/v1 ca seed"
	infoCASerial  = "hadir/v1 ca serial"
)

var (
	// ErrBadKey is wrapped by every error of ParseKeys about a line that is
	// not a usable key. The text names the line, never its content.
	ErrBadKey = errors.New("transport: bad cluster key")
	// ErrNoKey means that a key file holds no key.
	ErrNoKey = errors.New("transport: no cluster key in the key file")
	// ErrKeyRequired means that an address other than loopback was to be used
	// without a cluster key.
	ErrKeyRequired = errors.New("transport: a cluster key is required for addresses other than loopback")
)

// Key is the cluster key: the one secret of a cluster. It prints as a
// placeholder under every fmt verb and in slog; Encode gives the text form.
// The zero Key is not usable.
type Key struct {
	// A function, because fmt ignores the Format method of a value that it
	// reaches through an unexported field, and follows even pointers when the
	// verb is wrong. Functions print as addresses.
	secret func() *[keySize]byte
}

func newKey(secret [keySize]byte) Key {
	return Key{secret: func() *[keySize]byte { return &secret }}
}

// GenerateKey reads a new key from rand. rand must be a cryptographic source.
func GenerateKey(rand io.Reader) (Key, error) {
	var secret [keySize]byte
	if _, err := io.ReadFull(rand, secret[:]); err != nil {
		return Key{}, fmt.Errorf("transport: generate cluster key: %w", err)
	}
	return newKey(secret), nil
}

// Encode returns the text form (base64) that ParseKeys reads. This is the
// secret itself: write it to a key file, never to a log.
func (k Key) Encode() string {
	if k.secret == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(k.secret()[:])
}

// String returns a placeholder.
func (k Key) String() string { return redacted }

// Format prints the placeholder whatever the verb is.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) } //nolint:errcheck // fmt.State has nobody to report to

// LogValue keeps the key out of structured logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

func (k Key) equal(o Key) bool {
	return subtle.ConstantTimeCompare(k.secret()[:], o.secret()[:]) == 1
}

func (k Key) derive(info string, size int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, k.secret()[:], nil, info, size)
	if err != nil {
		return nil, fmt.Errorf("transport: derive %s: %w", info, err)
	}
	return out, nil
}

// Keys are the keys that a node holds: the first one is used, all are
// accepted. The zero Keys is not usable. Keys print as a placeholder.
type Keys struct {
	keys     []Key
	insecure bool
}

// NewKeys makes Keys of keys that are in memory already. At least one and at
// most eight distinct keys; duplicates are dropped.
func NewKeys(keys ...Key) (Keys, error) {
	var ks Keys
	for _, k := range keys {
		if k.secret == nil {
			return Keys{}, ErrBadKey
		}
		ks.add(k)
	}
	switch {
	case len(ks.keys) == 0:
		return Keys{}, ErrNoKey
	case len(ks.keys) > maxKeys:
		return Keys{}, fmt.Errorf("%w: more than %d keys", ErrBadKey, maxKeys)
	}
	return ks, nil
}

// ParseKeys reads the content of a key file: one base64 key of 32 bytes per
// line, empty lines and lines that start with # are skipped. The first key is
// used, all are accepted. Errors are one line, match ErrBadKey or ErrNoKey and
// never repeat a part of the input.
func ParseKeys(text string) (Keys, error) {
	dev := developmentKey()
	var keys []Key
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil {
			// The base64 error tells offsets only, but even those are about
			// the secret; the line number is all an operator needs.
			return Keys{}, fmt.Errorf("%w: line %d is not base64", ErrBadKey, i+1)
		}
		if len(raw) != keySize {
			return Keys{}, fmt.Errorf("%w: line %d has %d bytes, want %d", ErrBadKey, i+1, len(raw), keySize)
		}
		k := newKey([keySize]byte(raw))
		if k.equal(dev) || k.equal(newKey([keySize]byte{})) {
			return Keys{}, fmt.Errorf("%w: line %d is a publicly known key, make one with keygen", ErrBadKey, i+1)
		}
		keys = append(keys, k)
	}
	return NewKeys(keys...)
}

// DevelopmentKeys returns the publicly known key for work on one machine. It
// takes the same code paths as a real key and gives no protection, so a node
// with it refuses every address that is not loopback.
func DevelopmentKeys() Keys {
	return Keys{keys: []Key{developmentKey()}, insecure: true}
}

func developmentKey() Key {
	sum := sha256.Sum256([]byte("hadir insecure development key, publicly known"))
	return newKey(sum)
}

// Insecure tells that these are the DevelopmentKeys.
func (ks Keys) Insecure() bool { return ks.insecure }

// GossipKeys returns the AES-256 keys for gossip, the one to encrypt with
// first. Each has 32 bytes. They are secrets.
func (ks Keys) GossipKeys() ([][]byte, error) {
	return ks.derive(infoGossipKey)
}

// MirrorKeys returns the keys that authenticate copies of check-ins outside of the
// cluster, the one to sign with first. Each has 32 bytes. They are secrets.
func (ks Keys) MirrorKeys() ([][]byte, error) { return ks.derive(infoMirrorKey) }

func (ks Keys) derive(info string) ([][]byte, error) {
	out := make([][]byte, 0, len(ks.keys))
	for _, k := range ks.keys {
		secret, err := k.derive(info, keySize)
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}

// String returns a placeholder.
func (ks Keys) String() string { return redacted }

// Format prints the placeholder whatever the verb is.
func (ks Keys) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) } //nolint:errcheck // fmt.State has nobody to report to

// LogValue keeps the keys out of structured logs.
func (ks Keys) LogValue() slog.Value { return slog.StringValue(redacted) }

func (ks *Keys) add(k Key) {
	for _, have := range ks.keys {
		if have.equal(k) {
			return
		}
	}
	ks.keys = append(ks.keys, k)
}
