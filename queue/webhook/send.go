package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"hadir/attendance"
	"hadir/attendance/eventjson"
)

const (
	sendTimeout = 10 * time.Second
	maxAnswer   = 64 << 10
	maxHeaders  = 16 << 10
)

// errRefused says that an endpoint has answered, and not taken this event.
var errRefused = errors.New("it was refused")

// errPrivate says that the address of a hook is not public.
var errPrivate = errors.New("the address is not public; the word private at the end of the hook's line allows it")

// passing are answers about the endpoint and not about the event.
var passing = []int{
	http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

// Sign gives the signature of a body that is sent at a time, in seconds since 1970.
func Sign(secret []byte, at string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(at))
	h.Write([]byte("."))
	h.Write(body)
	return "v1=" + hex.EncodeToString(h.Sum(nil))
}

// sender posts to one hook.
type sender struct {
	hook   Hook
	client *http.Client
}

func newSender(h Hook, timeout time.Duration) *sender {
	dialer := &net.Dialer{Timeout: timeout}
	if !h.Private {
		// After the name was looked up, so that no name leads inside.
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return public(address) }
	}
	return &sender{hook: h, client: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: maxHeaders,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		},
	}}
}

func public(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return errPrivate
	}
	return nil
}

// reserved are networks that are not public and that netip does not count as private:
// this network, carriers' own, protocols' own, benchmarks, the future's, and those that
// hold an IPv4 address, which may be a private one: translation, Teredo and 6to4.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16"),
}

// send delivers an event. An error that is not errRefused is about the endpoint.
func (s *sender) send(ctx context.Context, epoch string, e attendance.Event, now time.Time) error {
	body := eventjson.Append(nil, e)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.hook.URL.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(now.Unix(), 10)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "hadir", "X-Hadir-Event": e.Type.String(),
		"X-Hadir-Id": epoch + "/" + strconv.FormatUint(e.Seq, 10), "X-Hadir-Timestamp": at, "X-Hadir-Signature": Sign(s.hook.Secret, at, body),
	} {
		r.Header.Set(name, value)
	}
	resp, err := s.client.Do(r)
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err // without the URL, which may hold a secret
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection may be used again
	_ = resp.Body.Close()                                            // what it says does not matter
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case slices.Contains(passing, resp.StatusCode):
		return fmt.Errorf("the endpoint answers %d", resp.StatusCode)
	}
	return fmt.Errorf("%w: the endpoint answers %d", errRefused, resp.StatusCode)
}
