package httpapi

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"hadir/cluster"
	"hadir/httpapi/stream"
)

// progress follows the newest taps of those who want to know how far theirs have
// come.
type progress struct {
	wake chan struct{} // holds one signal

	mu   sync.Mutex
	news []step // not looked at yet

	steps []step // oldest first; the feeding goroutine's own
}

// step is how far a tap has come, as its owner was told.
type step struct {
	seq, user uint64
	since     time.Time
	on, of    int
	exported  []string
}

const (
	followFor    = time.Minute
	mostFollowed = 4096 // that are followed; the oldest are let go
)

// tapped is told of each event about somebody who subscribes.
func (p *progress) tapped(seq, user uint64) {
	p.mu.Lock()
	p.news = append(p.news, step{seq: seq, user: user})
	p.news = p.news[max(0, len(p.news)-mostFollowed):]
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take gives what is followed, with what is new.
func (p *progress) take(now time.Time) []step {
	p.mu.Lock()
	news := p.news
	p.news = nil
	p.mu.Unlock()
	for _, s := range news {
		s.since = now
		p.steps = append(p.steps, s)
	}
	p.steps = p.steps[max(0, len(p.steps)-mostFollowed):]
	return p.steps
}

type progressJSON struct {
	Seq       uint64   `json:"seq"`
	AppliedOn int      `json:"applied_on"`
	Of        int      `json:"of"`
	Exported  []string `json:"exported"`
}

// showProgress tells the owners of taps that have come further. A tap is followed
// until every node has it; where there is an export, for the whole minute.
func (p *pushes) showProgress(now time.Time) {
	steps := p.progress.take(now)
	if len(steps) == 0 {
		return
	}
	nodes := p.api.Node.Status().Nodes
	p.progress.steps = slices.DeleteFunc(steps, func(s step) bool { return now.Sub(s.since) > followFor })
	for i := range p.progress.steps {
		s := &p.progress.steps[i]
		on, exported := appliedOn(nodes, s.seq), []string{}
		if p.api.Exported != nil {
			exported = append(exported, p.api.Exported(s.seq)...)
		}
		if on == s.on && len(nodes) == s.of && slices.Equal(exported, s.exported) {
			continue
		}
		s.on, s.of, s.exported = on, len(nodes), exported
		data, err := json.Marshal(progressJSON{s.seq, on, len(nodes), exported})
		if err != nil {
			p.api.Log.Error("progress could not be encoded", "error", err)
			return
		}
		p.hub.Publish(stream.Progress, []uint64{s.user}, data)
	}
	if p.api.Exported == nil {
		p.progress.steps = slices.DeleteFunc(p.progress.steps, func(s step) bool { return s.of > 0 && s.on == s.of })
	}
}

// appliedOn counts the nodes that have an event.
func appliedOn(nodes []cluster.NodeStatus, seq uint64) int {
	on := 0
	for _, n := range nodes {
		if n.Seq >= seq {
			on++
		}
	}
	return on
}
