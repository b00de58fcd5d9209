package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

func TestSession(t *testing.T) {
	w := newWorld(t)
	r := w.signIn("ANI@sekolah.test", word)
	w.want(r, http.StatusOK, "")
	if r.at("user.role") != "student" || r.at("user.email") != "ani@sekolah.test" || r.at("user.active") != true {
		t.Errorf("user: %s", r.body)
	}
	cookie := r.Cookies()[0]
	if cookie.Name != "hadir_session" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure || cookie.Path != "/" {
		t.Errorf("cookie: %v", cookie)
	}
	if left := cookie.Expires.Sub(w.clock.Now()); left < 29*24*time.Hour || left > 31*24*time.Hour {
		t.Errorf("the cookie lasts %s", left)
	}
	token, _ := r.doc["token"].(string)
	for _, header := range [][]string{
		{"Authorization", "Bearer " + token}, {"Authorization", "bearer " + token}, {"Cookie", "hadir_session=" + token},
	} {
		got := w.do(0, "GET", "/api/v1/session", "", header...)
		w.want(got, http.StatusOK, "")
		if got.at("user.id").(fmt.Stringer).String() != "3" || got.doc["token"] != nil || got.doc["expires_at"] != r.doc["expires_at"] {
			t.Errorf("session: %s", got.body)
		}
	}
	// A bearer token that is given counts, whatever the cookie says.
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer x", "Cookie", "hadir_session="+token), http.StatusUnauthorized, "unauthenticated")
	out := w.do(0, "DELETE", "/api/v1/session", "", "Cookie", "hadir_session="+token)
	if out.StatusCode != http.StatusNoContent || out.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign-out: %d %v", out.StatusCode, out.Cookies())
	}
	// Everywhere means the token too.
	w.want(w.do(0, "DELETE", "/api/v1/session?everywhere=true", "", "Authorization", "Bearer "+token), http.StatusNoContent, "")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token), http.StatusUnauthorized, "unauthenticated")
}

func TestWrongCredentials(t *testing.T) {
	w := newWorld(t)
	var answers []string
	for _, c := range [][2]string{
		{emails[aniID], "wrong"}, {"nobody@sekolah.test", word}, {emails[goneID], word}, {"", ""}, {emails[aniID], ""}, {"\x00", word},
	} {
		r := w.signIn(c[0], c[1])
		w.want(r, http.StatusUnauthorized, "unauthenticated")
		delete(r.doc, "instance")
		answers = append(answers, fmt.Sprint(r.doc, r.Header.Get("WWW-Authenticate"), r.Cookies()))
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("answers can be told apart: %s and %s", a, answers[0])
		}
	}
}

// TestVoidTokens: each way in which a token ends, and each forgery.
func TestVoidTokens(t *testing.T) {
	w := newWorld(t)
	secret := bytes.Repeat([]byte{7}, 32)
	token := w.tokenOf(aniID)
	later := w.clock.Now().Add(time.Hour)
	try := func(name, token string, status int) {
		t.Helper()
		r := w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token)
		if r.StatusCode != status {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
	}
	try("good", token, 200)
	try("signed here", httpapi.SignToken(secret, aniID, 0, 0, later), 200)
	try("of a newer epoch than this node knows", httpapi.SignToken(secret, aniID, 5, 5, later), 200)
	try("other secret", httpapi.SignToken(bytes.Repeat([]byte{8}, 32), aniID, 0, 0, later), 401)
	try("no secret", httpapi.SignToken(nil, aniID, 0, 0, later), 401)
	try("expired", httpapi.SignToken(secret, aniID, 0, 0, w.clock.Now().Add(-time.Second)), 401)
	try("deactivated user", httpapi.SignToken(secret, goneID, 9, 0, later), 401)
	try("user that this node has not heard of", httpapi.SignToken(secret, 999, 0, 0, later), 503)
	try("empty", "", 401)
	try("shorter", token[:len(token)-1], 401)
	try("longer", token+"A", 401)
	try("other prefix", "hs2."+token[4:], 401)
	try("padded", token+"=", 401)
	raw, err := base64.RawURLEncoding.DecodeString(token[4:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] ^= 1
		try(fmt.Sprint("byte ", i, " changed"), "hs1."+base64.RawURLEncoding.EncodeToString(raw), 401)
		raw[i] ^= 1
	}

	// The secret before the last stays good until it is dropped.
	w.node.setUp(t, attendance.RotateSecret{Name: "session", Value: bytes.Repeat([]byte{9}, 32)})
	try("after a rotation", token, 200)
	w.node.setUp(t, attendance.RotateSecret{Name: "session", Value: bytes.Repeat([]byte{10}, 32)})
	try("after two rotations", token, 401)

	for name, end := range map[string]attendance.Body{
		"password": attendance.SetPassword{UserID: aniID, PasswordHash: "x"}, "own sessions": attendance.BumpSessionEpoch{UserID: aniID},
		"everybody's sessions": attendance.BumpSessionEpoch{}, "rights": attendance.DeactivateUser{UserID: aniID},
	} {
		var user attendance.User
		var global uint64
		if err := w.node.machine.State().View(func(tx *store.ReadTx) (err error) {
			global = tx.Meta().SessionEpoch
			user, err = tx.User(aniID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		token := httpapi.SignToken(bytes.Repeat([]byte{10}, 32), aniID, user.SessionEpoch, global, later)
		if user.Active {
			try("before the end of "+name, token, 200)
		}
		w.node.setUp(t, end)
		try("after the end of "+name, token, 401)
	}
	w.clock.advance(31 * 24 * time.Hour)
	try("after its time", httpapi.SignToken(bytes.Repeat([]byte{10}, 32), adminID, 0, 9, later), 401)
}

// TestSignInLimit: only failures count, and a school behind one address gets in.
func TestSignInLimit(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	for range 10 {
		w.want(w.signIn(emails[aniID], "wrong"), http.StatusUnauthorized, "unauthenticated")
	}
	r := w.signIn(emails[aniID], word)
	w.want(r, http.StatusTooManyRequests, "rate_limited")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for range 12 { // others do not suffer, and success costs nothing
		w.want(w.signIn(emails[budiID], word), http.StatusOK, "")
	}
	w.clock.advance(13 * time.Second)
	w.want(w.signIn(emails[aniID], word), http.StatusOK, "")
}

// TestSignInQueue: more than fit wait no longer than they must.
func TestSignInQueue(t *testing.T) {
	w := newWorld(t)
	w.node.set(func(n *fakeNode) { n.hold = make(chan struct{}) })
	status := make(chan int)
	var all sync.WaitGroup
	for range 130 { // one at work, 128 waiting
		all.Go(func() { status <- w.signIn(emails[aniID], word).StatusCode })
	}
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("the one too many got %d", got)
	}
	// The others have had no answer yet; each gets one. (None of them is to hash:
	// that takes seconds.)
	w.node.set(func(n *fakeNode) {
		n.unread = cluster.ErrNotMember
		close(n.hold)
		n.hold = nil
	})
	for range 129 {
		if got := <-status; got != http.StatusServiceUnavailable && got != http.StatusOK {
			t.Errorf("one that waited got %d", got)
		}
	}
	all.Wait()
}

func TestNoSecretYet(t *testing.T) {
	clock := &testClock{}
	w := newWorld(t, func(c *httpapi.Config) { c.Node = newNode(t, clock) })
	w.want(w.signIn(emails[aniID], word), http.StatusServiceUnavailable, "not_ready")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer x"), http.StatusServiceUnavailable, "not_ready")
}

// TestProxies: whose word counts about where somebody comes from.
func TestProxies(t *testing.T) {
	trusting := newWorld(t, func(c *httpapi.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	wary := newWorld(t)
	for _, w := range []*world{trusting, wary} {
		r := w.do(0, "POST", "/api/v1/session", fmt.Sprintf(`{"email":%q,"password":%q}`, emails[aniID], word), "X-Forwarded-Proto", "https")
		if got, want := r.Cookies()[0].Secure, w == trusting; got != want {
			t.Errorf("Secure is %v", got)
		}
		for i := range 11 {
			body := fmt.Sprintf(`{"email":%q,"password":"wrong"}`, emails[aniID])
			// The left-most is the client's own invention.
			r = w.do(0, "POST", "/api/v1/session", body, "X-Forwarded-For", fmt.Sprintf("10.0.0.%d, 203.0.113.%d, 127.0.0.2", i, i%2))
		}
		want := map[*world]int{trusting: http.StatusUnauthorized, wary: http.StatusTooManyRequests}[w]
		if r.StatusCode != want {
			t.Errorf("after failures from many addresses: %d, want %d", r.StatusCode, want)
		}
	}
}

func TestStorageTrouble(t *testing.T) {
	w := newWorld(t)
	token := w.tokenOf(aniID)
	for err, code := range map[error]string{
		store.ErrCorrupt: "storage_unavailable", store.ErrClosed: "closing", cluster.ErrBehind: "behind", cluster.ErrNotMember: "not_ready",
	} {
		w.node.set(func(n *fakeNode) { n.unread = err })
		r := w.do(0, "GET", "/api/v1/attendances", "", "Authorization", "Bearer "+token)
		w.want(r, http.StatusServiceUnavailable, code)
		if strings.Contains(string(r.body), err.Error()) && code == "storage_unavailable" {
			t.Errorf("the inside shows: %s", r.body)
		}
	}
	w.want(w.get(0, "/healthz"), http.StatusOK, "")
	w.want(w.get(0, "/api/v1/cluster/health"), http.StatusOK, "")
}
