package chaos

import (
	"context"
	"slices"
	"sync"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/report"
)

// monitor asks every node for its view, again and again.
type monitor struct {
	mu    sync.Mutex
	views map[string]client.View // of the nodes that answered the last time
	seen  map[judge.Election]client.ViewedElection

	end context.CancelFunc
	wg  sync.WaitGroup
}

func watch(nodes map[string]client.Client, every time.Duration) *monitor {
	m := &monitor{views: map[string]client.View{}, seen: map[judge.Election]client.ViewedElection{}}
	ctx, end := context.WithCancel(context.Background())
	m.end = end
	for id, at := range nodes {
		m.wg.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				m.ask(ctx, id, at)
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return m
}

func (m *monitor) ask(ctx context.Context, id string, at client.Client) {
	ctx, cancel := context.WithTimeout(ctx, pollWithin)
	defer cancel()
	v, err := at.View(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.views, id)
		return
	}
	m.views[id] = v
	for _, e := range v.Elections {
		m.seen[judge.Election{Term: e.Term, Leader: e.Leader, SeenBy: id}] = e
	}
}

// now gives who leads by the newest term that a node tells of, and who answers.
func (m *monitor) now() (leader string, term uint64, up []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, v := range m.views {
		up = append(up, id)
		if v.Leader != "" && v.Term >= term {
			leader, term = v.Leader, v.Term
		}
	}
	slices.Sort(up)
	return leader, term, up
}

func (m *monitor) leader() string {
	leader, _, _ := m.now()
	return leader
}

// stop ends the asking and gives the elections that were seen.
func (m *monitor) stop() (elections []judge.Election) {
	m.end()
	m.wg.Wait()
	for e := range m.seen {
		elections = append(elections, e)
	}
	return elections
}

// elections gives the elections since the load began, each once: as the node saw it
// that was without a leader for the longest time.
func (c *run) elections() (out []report.Election) {
	byTerm := map[uint64]report.Election{}
	for _, e := range c.monitor.seen {
		at := e.At.Sub(c.began).Milliseconds()
		if at < 0 {
			continue
		}
		if old, known := byTerm[e.Term]; !known || e.LeaderlessMS > old.LeaderlessMS {
			byTerm[e.Term] = report.Election{Term: e.Term, Leader: e.Leader, AtMS: at, LeaderlessMS: e.LeaderlessMS}
		}
	}
	for _, e := range byTerm {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b report.Election) int { return int(a.AtMS - b.AtMS) })
	return out
}
