package transport

import (
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"
)

// stuckAfter is how many times the same snapshot is sent in vain before that is
// called a failure. A second time happens: a connection breaks, a leader is new.
const stuckAfter = 3

// installs watches the snapshots that a leader sends. A follower that takes one
// and still cannot follow gets it again, for ever, each time with all of the data
// (hashicorp/raft#697); raft says nothing about it.
type installs struct {
	logger *slog.Logger

	mu   sync.Mutex
	byID map[raft.ServerID]install
}

// install is how often in a row one snapshot was sent to one server.
type install struct {
	index uint64
	times int
}

func (i *installs) count(id raft.ServerID, index uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	have := i.byID[id]
	if have.index != index {
		have = install{index: index}
	}
	have.times++
	i.byID[id] = have
	if have.times == stuckAfter {
		i.logger.Error("a follower gets the same snapshot again and again and does not get on (hashicorp/raft#697): "+
			"start it again, then this leader", "follower", id, "index", index, "times", have.times)
	}
}

// progress forgets what was sent to a server that has taken entries.
func (i *installs) progress(id raft.ServerID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byID, id)
}

func (i *installs) stuck(id raft.ServerID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.byID[id].times >= stuckAfter
}
