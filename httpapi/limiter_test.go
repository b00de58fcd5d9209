package httpapi

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"hadir/attendance"
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

// A school morning: 1 500 people sign in and check in behind one address within
// a minute, some of them mistype, and nobody waits.
func TestLimiterSchoolMorning(t *testing.T) {
	now := time.UnixMilli(1_770_000_000_000)
	l, p := newLimiter(), newPacer()
	gate := netip.MustParseAddr("203.0.113.7")
	for i := range uint64(1_500) {
		now = now.Add(40 * time.Millisecond)
		account := fmt.Sprint(i, "@x")
		attempts := 1
		if i%15 == 0 {
			attempts = 2 // 100 mistype
			l.failed(now, gate, account)
		}
		for range attempts {
			if wait := l.wait(now, gate, account); wait != 0 {
				t.Fatalf("person %d waits %s to sign in", i, wait)
			}
		}
		if wait := p.take(now, attendance.Principal{Kind: attendance.UserPrincipal, ID: i + 1}, paces[student]); wait != 0 {
			t.Fatalf("person %d waits %s", i, wait)
		}
		// The tablet at the gate stands for all of them.
		if wait := p.take(now, attendance.Principal{Kind: attendance.DevicePrincipal, ID: 1}, paces[device]); wait != 0 {
			t.Fatalf("the tablet waits %s for person %d", wait, i)
		}
	}
}

func TestPacer(t *testing.T) {
	now := time.UnixMilli(1_770_000_000_000)
	p, a := newPacer(), allowance{burst: 3, every: time.Second}
	ani, budi := attendance.Principal{Kind: attendance.UserPrincipal, ID: 3}, attendance.Principal{Kind: attendance.DevicePrincipal, ID: 3}
	for _, c := range []struct {
		after time.Duration
		who   attendance.Principal
		wait  time.Duration
	}{
		{0, ani, 0}, {0, ani, 0}, {0, ani, 0}, {0, ani, time.Second}, {0, ani, time.Second}, {0, budi, 0},
		{900 * time.Millisecond, ani, 100 * time.Millisecond}, {100 * time.Millisecond, ani, 0}, {0, ani, time.Second},
		{time.Hour, ani, 0}, {0, ani, 0}, {0, ani, 0}, {0, ani, time.Second},
	} {
		now = now.Add(c.after)
		if got := p.take(now, c.who, a); got != c.wait {
			t.Errorf("%s at %s waits %s, want %s", c.who, now.UTC().Format(time.TimeOnly), got, c.wait)
		}
	}
	// Those who have been away are forgotten.
	for i := range uint64(3 * maxLimits) {
		now = now.Add(time.Millisecond)
		p.take(now, attendance.Principal{Kind: attendance.UserPrincipal, ID: i}, a)
	}
	if n := len(p.full); n > maxLimits+3_001 {
		t.Errorf("%d rows", n)
	}
	for k := range kinds {
		if k != nobody && (paces[k].burst == 0 || paces[k].every == 0) {
			t.Errorf("%s has no pace", k)
		}
	}
}
