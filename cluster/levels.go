package cluster

import (
	"context"

	"hadir/attendance"
)

// raiseLevel proposes the command level that every server supports, when it is
// above the one in use. A server that is away keeps the cluster at the old one: it
// may come back with the program that it left with, and would have to stop.
func (n *Node) raiseLevel(ctx context.Context) {
	var levels []uint32
	now := n.clock.Now()
	for _, s := range n.servers() {
		if s.self {
			continue
		}
		p := n.peers.get(s.target.ID)
		if !p.reachable(now) {
			return
		}
		levels = append(levels, p.level)
	}
	level := nextLevel(n.level(), attendance.Level, levels)
	if level == 0 {
		return
	}
	if err := n.proposeSoon(ctx, n.system(attendance.SetLevel{Level: level})); err != nil {
		n.log.Debug("the command level was not raised", "to", level, "error", err)
		return
	}
	n.log.Info("the command level was raised", "to", level)
}

// nextLevel gives the level to raise the one in use to; 0 when it stays. own is
// what this binary supports, others what all other servers do.
func nextLevel(used, own uint32, others []uint32) uint32 {
	level := own
	for _, l := range others {
		level = min(level, l)
	}
	if level <= used {
		return 0
	}
	return level
}
