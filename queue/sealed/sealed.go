// Package sealed keeps what a cluster gives to Redis secret and authentic: AES-256-GCM
// under keys that are made of the cluster's, for one cluster and one use.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"hadir/attendance"
)

// ErrForeign says that something was not sealed by this cluster for this purpose.
var ErrForeign = errors.New("it was not made by this cluster, or was changed")

// Sealer seals and opens. Its methods may be called concurrently.
type Sealer struct {
	ciphers []cipher.AEAD // the first one seals, all open
	rand    io.Reader
}

// New derives keys of its own from those of the cluster, the one to seal with first:
// keys that authenticate elsewhere encrypt nothing here. rand is a cryptographic source.
func New(keys [][]byte, cluster attendance.ClusterID, use string, rand io.Reader) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("sealed: a key is required")
	}
	s := &Sealer{rand: rand}
	for _, key := range keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte("hadir-" + use + "-1"))
		h.Write(cluster[:])
		block, err := aes.NewCipher(h.Sum(nil))
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		s.ciphers = append(s.ciphers, aead)
	}
	return s, nil
}

// Seal seals for one purpose: what was sealed for another does not open.
func (s *Sealer) Seal(purpose string, plain []byte) ([]byte, error) {
	nonce := make([]byte, s.ciphers[0].NonceSize(), s.ciphers[0].NonceSize()+len(plain)+s.ciphers[0].Overhead())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return s.ciphers[0].Seal(nonce, nonce, plain, []byte(purpose)), nil
}

// Open is the inverse of Seal, under any of the keys. Errors: ErrForeign.
func (s *Sealer) Open(purpose string, sealed []byte) ([]byte, error) {
	for _, c := range s.ciphers {
		if len(sealed) < c.NonceSize() {
			break
		}
		if plain, err := c.Open(nil, sealed[:c.NonceSize()], sealed[c.NonceSize():], []byte(purpose)); err == nil {
			return plain, nil
		}
	}
	return nil, ErrForeign
}
