package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// A device token is a random secret. Only its hash is kept, so it is shown once.
const (
	devicePrefix = "hd1."
	deviceBytes  = 32
)

// newDeviceSecret draws a secret and gives its hash.
func newDeviceSecret(rand io.Reader) (secret string, hash [32]byte, err error) {
	b := make([]byte, deviceBytes)
	if _, err := io.ReadFull(rand, b); err != nil {
		return "", hash, fmt.Errorf("device token: %w", err)
	}
	secret = devicePrefix + base64.RawURLEncoding.EncodeToString(b)
	return secret, sha256.Sum256([]byte(secret)), nil
}

// authenticateDevice finds out whose the secret is. It is read locally, as
// sessions are.
func (c *call) authenticateDevice(secret string) (*visitor, error) {
	var token attendance.Token
	_, err := c.api.Node.Read(c.r.Context(), cluster.Read{}, func(tx *store.ReadTx) (err error) {
		token, err = tx.TokenByHash(sha256.Sum256([]byte(secret)))
		return err
	})
	switch {
	case isNotFound(err):
		return nil, errNoSession
	case err != nil:
		return nil, err
	case token.Revoked:
		return nil, errNoSession
	}
	return &visitor{device: &token}, nil
}

type tokenJSON struct {
	ID        uint64   `json:"id"`
	Name      string   `json:"name"`
	Groups    []uint64 `json:"groups"` // for whose people it acts; none for everybody
	Revoked   bool     `json:"revoked"`
	CreatedAt stamp    `json:"created_at"`
	UpdatedAt stamp    `json:"updated_at"`
	Token     string   `json:"token,omitempty"` // the secret, when it was just drawn
}

func jsonToken(t attendance.Token) tokenJSON {
	groups := t.Groups
	if groups == nil {
		groups = []uint64{}
	}
	return tokenJSON{
		ID: t.ID, Name: t.Name, Groups: groups, Revoked: t.Revoked, CreatedAt: stamp(t.CreatedAt), UpdatedAt: stamp(t.UpdatedAt),
	}
}

// getTokens lists device tokens by id, with those that were revoked.
func getTokens(c *call) error {
	q, err := c.query(append([]string{"limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	how, limit, after := q.read(), q.limit(), q.number("cursor", 1, maxID, 0)
	if err := q.done(); err != nil {
		return err
	}
	var items []tokenJSON
	var next uint64
	fresh, err := c.read(how, func(tx *store.ReadTx) error {
		tokens, more, err := tokenPage(tx, after, limit)
		for _, t := range tokens {
			items = append(items, jsonToken(t))
		}
		next = more
		return err
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonList(items, cursorOf(next), fresh))
}

// tokenPage gives tokens by id after one, and after which the list goes on; 0 at
// its end.
func tokenPage(tx *store.ReadTx, after uint64, limit int) (page []attendance.Token, next uint64, err error) {
	page, err = tx.Tokens(after, limit)
	if err != nil || len(page) < limit {
		return page, 0, err
	}
	next = page[limit-1].ID
	if rest, err := tx.Tokens(next, 1); err != nil || len(rest) == 0 {
		return page, 0, err
	}
	return page, next, nil
}

// maxTokenGroups keeps the command small enough.
const maxTokenGroups = 100

// postToken draws a secret for a device. Asked again under the same key it gives
// the same token without its secret: whoever did not get it revokes the token
// and makes another one.
func postToken(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	var b attendance.PutToken
	var hasName bool
	b.Name, hasName = in.name()
	in.need("name", hasName)
	b.Groups, _ = in.ids("groups", maxTokenGroups)
	if err := in.done(); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	out, err := c.createToken(key, b)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, out)
}

// createToken draws a secret for a device under a key. The answer has no secret
// when that was done before.
func (c *call) createToken(key string, b attendance.PutToken) (out tokenJSON, err error) {
	if err := c.look(func(tx *store.ReadTx) error {
		for _, id := range b.Groups {
			if _, err := tx.Group(id); err != nil {
				return err
			}
		}
		return nil
	}); isNotFound(err) {
		return out, invalidField("groups", "names a group that there is not")
	} else if err != nil {
		return out, notDone(key, err)
	}
	secret, hash, err := newDeviceSecret(c.api.Rand)
	if err != nil {
		return out, err
	}
	b.Hash = hash[:]
	result, err := c.changeUnder(key, b)
	if err != nil {
		return out, err
	}
	at := result.Outcome.DecideAt
	out = jsonToken(attendance.Token{ID: result.Outcome.ID, Name: b.Name, Groups: b.Groups, CreatedAt: at, UpdatedAt: at})
	if !result.Outcome.Replayed {
		out.Token = secret
	}
	return out, nil
}

// deleteToken revokes a token: its device is refused from then on, by each node
// as soon as it has heard of it.
func deleteToken(c *call) error {
	id, err := c.pathID()
	if err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	if err := c.revokeToken(key, id); err != nil {
		return err
	}
	return c.empty()
}

// revokeToken has a token that there is revoked under a key.
func (c *call) revokeToken(key string, id uint64) error {
	if err := c.look(func(tx *store.ReadTx) error {
		_, err := tx.Token(id)
		return err
	}); err != nil {
		return err
	}
	_, err := c.changeUnder(key, attendance.RevokeToken{TokenID: id})
	return err
}

// isDeviceToken reports whether a bearer's text is a device's.
func isDeviceToken(token string) bool { return strings.HasPrefix(token, devicePrefix) }
