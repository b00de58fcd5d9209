package httpapi

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.UnixMilli(1_770_000_000_000)
	school, elsewhere := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	l := newLimiter()
	for i := range perAccount.burst {
		if wait := l.wait(now, school, "Ani@x"); wait != 0 {
			t.Fatalf("attempt %d waits %s", i, wait)
		}
		l.failed(now, school, "ani@X")
	}
	for account, want := range map[string]time.Duration{"ANI@x": perAccount.every, "budi@x": 0} {
		if got := l.wait(now, school, account); got != want {
			t.Errorf("%s waits %s, want %s", account, got, want)
		}
	}
	if got := l.wait(now, elsewhere, "ani@x"); got != 0 {
		t.Errorf("elsewhere one waits %s", got)
	}
	if got := l.wait(now.Add(perAccount.every), school, "ani@x"); got != 0 {
		t.Errorf("after its time one waits %s", got)
	}
	// Every account once: the address runs out.
	for i := range perAddress.burst - perAccount.burst {
		if wait := l.wait(now, school, fmt.Sprint(i)); wait != 0 {
			t.Fatalf("account %d waits %s", i, wait)
		}
		l.failed(now, school, fmt.Sprint(i))
	}
	if got := l.wait(now, school, "another"); got != perAddress.every {
		t.Errorf("the address waits %s", got)
	}
	if got := l.wait(now.Add(time.Hour), school, "another"); got != 0 {
		t.Errorf("an hour later it waits %s", got)
	}
}

// TestLimiterHouseholds: the addresses of one IPv6 network count as one.
func TestLimiterHouseholds(t *testing.T) {
	now := time.UnixMilli(1_770_000_000_000)
	l := newLimiter()
	for i := range perAddress.burst {
		l.failed(now, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), fmt.Sprint(i))
	}
	if l.wait(now, netip.MustParseAddr("2001:db8::ffff:1"), "x") == 0 {
		t.Error("the network may go on")
	}
	if l.wait(now, netip.MustParseAddr("2001:db8:0:1::1"), "x") != 0 {
		t.Error("its neighbour may not")
	}
}

// TestLimiterIsBounded: strangers cannot fill the memory.
func TestLimiterIsBounded(t *testing.T) {
	now := time.UnixMilli(1_770_000_000_000)
	l := newLimiter()
	for i := range 3 * maxLimits {
		l.failed(now, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), fmt.Sprint(i))
	}
	if n := len(l.clear); n > maxLimits+1 {
		t.Errorf("%d rows", n)
	}
}
