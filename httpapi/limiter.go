package httpapi

import (
	"maps"
	"net/http"
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

// paces are what each kind of visitor may ask to be decided: taps and every other
// write. No person taps twice a second for minutes, but a script or a stuck client
// under one account would fill the log for ever, duplicates being events, too. A
// gate's tablet stands for a whole school, and an admin for its scripts.
var paces = [kinds]allowance{
	student: {burst: 120, every: 500 * time.Millisecond},
	teacher: {burst: 300, every: 200 * time.Millisecond},
	admin:   {burst: 2_000, every: 10 * time.Millisecond},
	device:  {burst: 5_000, every: 2 * time.Millisecond},
}

// pacer is a token bucket for each person and device, whatever address they come
// from: a school is one address.
type pacer struct {
	mu sync.Mutex
	// When the bucket of a principal will be full again.
	full  map[attendance.Principal]time.Time
	sweep int // how many rows are worth a look for those that are
	owed  owed[attendance.Principal]
}

func newPacer() *pacer {
	return &pacer{full: make(map[attendance.Principal]time.Time), sweep: maxLimits}
}

// take takes one from the bucket or says how long until there is one.
func (p *pacer) take(now time.Time, who attendance.Principal, a allowance) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := maxTime(p.full[who], now)
	if wait = full.Sub(now) - time.Duration(a.burst-1)*a.every; wait > 0 {
		return wait
	}
	if len(p.full) >= p.sweep {
		// Whose bucket is full again loses nothing; of the others there are no more
		// than accounts.
		maps.DeleteFunc(p.full, func(_ attendance.Principal, full time.Time) bool { return !full.After(now) })
		p.sweep = max(maxLimits, 2*len(p.full))
	}
	p.full[who] = full.Add(a.every)
	p.owed.add(who, a.every)
	return 0
}

// inPace refuses what a visitor sends faster than their kind may. Reading is free.
func (c *call) inPace() error {
	if c.who == nil || c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return nil
	}
	wait := c.api.paces.take(c.began, c.who.principal(), paces[kindOf(c.who)])
	if wait == 0 {
		return nil
	}
	p := newProblem(codeRateLimited, "This account sends faster than it may. Nothing was done. Wait before the next request.")
	p.retry = wait
	return p
}

// limiter counts failed sign-ins, each until it is forgotten. Successes cost
// nothing.
type limiter struct {
	mu sync.Mutex
	// When the failures of a key will all be forgotten. One instant is the whole
	// count: each failure moves it by one interval.
	clear map[limitKey]time.Time
	owed  owed[limitKey]
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
	l.owed.add(k, a.every)
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
