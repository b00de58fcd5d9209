// Package password hashes and checks passwords with Argon2id, and keeps a crowd
// that signs in at once from taking the machine away from everything else.
//
// It stores nothing and knows no user. A hash carries its own parameters in the
// usual text form, so that they can be raised later without touching old ones.
package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	lanes   = 1
	saltLen = 16
	sumLen  = 32
)

// Cost is what making a hash takes, and checking a password against it.
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
}

// Usual is the cost of every password: OWASP's first choice for Argon2id on a
// machine that does other work too.
var Usual = Cost{MemoryKiB: 19 << 10, Passes: 2}

// Bounds of what is read back: a damaged row must not ask for all memory.
const (
	maxMemoryKiB = 256 << 10
	maxPasses    = 16
	maxLanes     = 8
	maxSum       = 64
)

// MaxLen is the longest password that is accepted, in bytes.
const MaxLen = 1024

// ErrMalformed says that a text is no hash that this package wrote.
var ErrMalformed = errors.New("password hash is malformed")

// Hash gives the encoded hash of a password at the usual cost, with a salt from rand.
func Hash(rand io.Reader, password string) (string, error) { return Usual.Hash(rand, password) }

// Hash gives the encoded hash of a password at this cost, with a salt from rand.
func (c Cost) Hash(rand io.Reader, password string) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	sum := argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, lanes, sumLen)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

// Verify reports whether the password is the one that was hashed. It takes as
// long for a wrong one as for the right one.
func Verify(encoded, password string) (bool, error) {
	part := strings.Split(encoded, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, ErrMalformed
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("%w: parameters: %w", ErrMalformed, err)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(part[4])
	want, err2 := base64.RawStdEncoding.DecodeString(part[5])
	switch {
	case errors.Join(err1, err2) != nil:
		return false, fmt.Errorf("%w: %w", ErrMalformed, errors.Join(err1, err2))
	case memory == 0 || memory > maxMemoryKiB || time == 0 || time > maxPasses || threads == 0 || threads > maxLanes,
		len(salt) < 8 || len(want) < 16 || len(want) > maxSum:
		return false, fmt.Errorf("%w: parameters are out of range", ErrMalformed)
	}
	sum := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(sum, want) == 1, nil
}
