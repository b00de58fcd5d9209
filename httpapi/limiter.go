package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"hadir/attendance"
)

// allowance is how many failures are forgiven at once, and how soon one is
// forgotten.
type allowance struct {
	burst int
	every time.Duration
}

// A whole school sits behind one address: 1 500 people who sign in within a
// minute mistype a few dozen times. For one account at one address much less is
// plausible. An account is not locked for everybody, or anybody could lock
// anybody out.
var (
	perAddress = allowance{burst: 120, every: 2 * time.Second} // 30 a minute
	perAccount = allowance{burst: 10, every: 12 * time.Second} // 5 a minute
)

// maxLimits bounds the memory that strangers can fill.
const maxLimits = 20_000

// limitKey is an address, or an account at an address.
type limitKey struct {
	from    netip.Addr
	account string
}

// limiter counts failed sign-ins, each until it is forgotten. Successes cost
// nothing.
type limiter struct {
	mu sync.Mutex
	// When the failures of a key will all be forgotten. One instant is the whole
	// count: each failure moves it by one interval.
	clear map[limitKey]time.Time
}

func newLimiter() *limiter { return &limiter{clear: make(map[limitKey]time.Time)} }

func limitKeys(from netip.Addr, email string) (address, account limitKey) {
	if from.Is6() {
		// A household has 2^64 addresses.
		if p, err := from.Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	return limitKey{from: from}, limitKey{from: from, account: attendance.FoldEmail(email)}
}

// wait says how long nothing more may be tried; 0 when it may.
func (l *limiter) wait(now time.Time, from netip.Addr, email string) time.Duration {
	address, account := limitKeys(from, email)
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.left(now, address, perAddress), l.left(now, account, perAccount))
}

// left says how long until one more failure fits.
func (l *limiter) left(now time.Time, k limitKey, a allowance) time.Duration {
	return max(0, maxTime(l.clear[k], now).Sub(now)-time.Duration(a.burst-1)*a.every)
}

// failed counts one.
func (l *limiter) failed(now time.Time, from netip.Addr, email string) {
	address, account := limitKeys(from, email)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(now, address, perAddress)
	l.add(now, account, perAccount)
}

func (l *limiter) add(now time.Time, k limitKey, a allowance) {
	if len(l.clear) >= maxLimits {
		l.sweep(now)
	}
	l.clear[k] = maxTime(l.clear[k], now).Add(a.every)
}

// sweep drops what is forgotten and, if that was not enough, accounts: the
// address still counts for them.
func (l *limiter) sweep(now time.Time) {
	for k, clear := range l.clear {
		if !clear.After(now) {
			delete(l.clear, k)
		}
	}
	for k := range l.clear {
		if len(l.clear) < maxLimits*3/4 {
			return
		}
		if k.account != "" {
			delete(l.clear, k)
		}
	}
	if len(l.clear) >= maxLimits {
		clear(l.clear)
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
