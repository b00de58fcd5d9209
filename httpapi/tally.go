package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"hadir/attendance"
)

// Tally adds up over all nodes what each of them lets through.
type Tally interface {
	// Add moves buckets, by their names, away from being full, and says how far from
	// that each is, all nodes counted. It takes 100 ms at most. ErrNoTally is none at
	// present.
	Add(ctx context.Context, names []string, by []time.Duration) ([]time.Duration, error)
}

// ErrNoTally is what a Tally gives while each node counts for itself.
var ErrNoTally = errors.New("nothing is added up at present")

const (
	tallyEvery = 100 * time.Millisecond
	mostOwed   = 500 // buckets of a kind that are told at a time
	tallyTime  = 100 * time.Millisecond
)

// owed is what the other nodes have not been told yet, by bucket. Its owner's mutex
// guards it.
type owed[K comparable] struct {
	on bool // somebody tells them
	by map[K]time.Duration
}

func (o *owed[K]) add(k K, by time.Duration) {
	if !o.on {
		return
	}
	if o.by == nil {
		o.by = make(map[K]time.Duration)
	}
	if _, known := o.by[k]; known || len(o.by) < maxLimits {
		o.by[k] += by
	}
}

// take gives some of it and takes that off.
func (o *owed[K]) take() (keys []K, by []time.Duration) {
	for k, d := range o.by {
		if len(keys) == mostOwed {
			break
		}
		keys, by = append(keys, k), append(by, d)
		delete(o.by, k)
	}
	return keys, by
}

// tallier tells the other nodes what this one lets through and learns what all have.
// A request is let through or refused by what this node knows, at once: the tally is
// on nobody's way, and what it costs is that all nodes know of a burst only a moment
// later.
type tallier struct {
	api  *API
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup
}

func newTallier(a *API) *tallier {
	t := &tallier{api: a}
	t.life, t.end = context.WithCancel(context.Background())
	a.paces.owed.on, a.limits.owed.on = true, true
	t.wg.Go(t.run)
	return t
}

func (t *tallier) close() {
	t.end()
	t.wg.Wait()
}

func (t *tallier) run() {
	ticker := time.NewTicker(tallyEvery)
	defer ticker.Stop()
	for {
		select {
		case <-t.life.Done():
			return
		case <-ticker.C:
		}
		t.tell()
	}
}

// tell is one exchange.
func (t *tallier) tell() {
	p, l := t.api.paces, t.api.limits
	p.mu.Lock()
	people, paced := p.owed.take()
	p.mu.Unlock()
	l.mu.Lock()
	places, failed := l.owed.take()
	l.mu.Unlock()
	if len(people)+len(places) == 0 {
		return
	}
	names := make([]string, 0, len(people)+len(places))
	for _, who := range people {
		names = append(names, "pace:"+who.String())
	}
	for _, k := range places {
		names = append(names, "fail:"+k.digest())
	}
	ctx, cancel := context.WithTimeout(t.life, tallyTime)
	defer cancel()
	now := t.api.Clock.Now()
	levels, err := t.api.Tally.Add(ctx, names, append(paced, failed...))
	if err != nil || len(levels) != len(names) {
		if !errors.Is(err, ErrNoTally) {
			t.api.Log.Debug("what was let through is not added up", "error", err)
		}
		return // it counts here all the same
	}
	p.mu.Lock()
	for i, who := range people {
		a := paces[student] // of people, none takes longer to fill
		if who.Kind == attendance.DevicePrincipal {
			a = paces[device]
		}
		if a.plausible(levels[i]) {
			p.full[who] = maxTime(p.full[who], now.Add(levels[i]+p.owed.by[who]))
		}
	}
	p.mu.Unlock()
	l.mu.Lock()
	for i, k := range places {
		a, level := perAddress, levels[len(people)+i]
		if k.account != "" {
			a = perAccount
		}
		if a.plausible(level) {
			l.clear[k] = maxTime(l.clear[k], now.Add(level+l.owed.by[k]))
		}
	}
	l.mu.Unlock()
}

// mostNodes is how many nodes may let a whole burst through before they have told each
// other.
const mostNodes = 9

// plausible reports whether all nodes together can have let through what a tally says.
// What is more comes from a clock that was set back, or from somebody else's hand:
// believed, it would shut people out for as long as it likes.
func (a allowance) plausible(level time.Duration) bool {
	return level <= mostNodes*time.Duration(a.burst)*a.every
}

// digest names a key without telling the address or the account.
func (k limitKey) digest() string {
	sum := sha256.Sum256([]byte(k.from.String() + " " + attendance.FoldEmail(k.account)))
	return hex.EncodeToString(sum[:16])
}
