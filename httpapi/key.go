package httpapi

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Forms of an idempotency key.
const (
	uuidLen = 36
	ulidLen = 26
	hexes   = "0123456789abcdef"
	// Crockford's alphabet: no I, L, O and U.
	base32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// parseKey gives the canonical form of an idempotency key, so that two spellings
// are one key: a UUID in lower case, a ULID in upper case. Quotation marks
// around it, as in a structured header field, are taken off.
func parseKey(s string) (key string, ok bool) {
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	switch len(s) {
	case uuidLen:
		s = strings.ToLower(s)
		for i := range len(s) {
			dash := i == 8 || i == 13 || i == 18 || i == 23
			if (s[i] == '-') != dash || (!dash && strings.IndexByte(hexes, s[i]) < 0) {
				return "", false
			}
		}
	case ulidLen:
		s = strings.ToUpper(s)
		for i := range len(s) {
			if strings.IndexByte(base32, s[i]) < 0 {
				return "", false
			}
		}
		if s[0] > '7' { // more than 128 bits
			return "", false
		}
	default:
		return "", false
	}
	return s, true
}

// newKey makes a key for a client that sent none: a UUID of version 7.
func newKey(now time.Time, rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[6:]); err != nil {
		return "", fmt.Errorf("random key: %w", err)
	}
	ms := now.UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
