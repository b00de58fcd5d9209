package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"hadir/attendance"
)

// session is what a token says. It is signed by a secret that every node has, so
// any of them checks it without asking anybody.
type session struct {
	user   uint64
	epoch  uint64 // of the user's sessions
	global uint64 // of everybody's
	issued attendance.Millis
	until  attendance.Millis
	nonce  uint64 // two sign-ins in one millisecond are two tokens
}

const (
	sessionLife   = 30 * 24 * time.Hour
	tokenPrefix   = "hs1."
	tokenFields   = 6
	tokenBytes    = tokenFields*8 + sha256.Size
	signatureNote = "hadir-session-1"
	secretName    = "session"
)

// errToken says that a text is no token of this cluster.
var errToken = errors.New("token is not valid")

// sign gives the token.
func (s session) sign(secret []byte) string {
	b := make([]byte, 0, tokenBytes)
	for _, v := range [tokenFields]uint64{s.user, s.epoch, s.global, uint64(s.issued), uint64(s.until), s.nonce} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, signature(secret, b)...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// openToken checks the signature under any of the secrets and gives what the
// token says. The rest (expiry, epochs, the user) is for the caller to judge.
func openToken(token string, secrets ...[]byte) (session, error) {
	text, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return session{}, errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return session{}, errToken
	}
	said, mac := b[:tokenFields*8], b[tokenFields*8:]
	for _, secret := range secrets {
		if len(secret) == 0 || !hmac.Equal(mac, signature(secret, said)) {
			continue
		}
		var v [tokenFields]uint64
		for i := range v {
			v[i] = binary.BigEndian.Uint64(said[8*i:])
		}
		return session{
			user: v[0], epoch: v[1], global: v[2], issued: attendance.Millis(v[3]), until: attendance.Millis(v[4]), nonce: v[5],
		}, nil
	}
	return session{}, errToken
}

func signature(secret, said []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signatureNote))
	h.Write(said)
	return h.Sum(nil)
}
