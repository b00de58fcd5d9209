package httpapi

import (
	"context"
	"net/http"
	"strings"

	"hadir/cluster"
	"hadir/store"
)

// getHealth says that the process serves.
func getHealth(c *call) error { return c.plain(http.StatusOK, "ok\n") }

// check is one line of /readyz.
type check struct {
	name string
	ok   bool
	told bool // only told: the node can do without
}

// readiness says whether a check-in can be taken, and why not.
func (a *API) readiness(ctx context.Context, decide bool) []check {
	s := a.Node.Status()
	self, roomy := cluster.Joining, true
	reachable := 0
	for _, n := range s.Nodes {
		if n.Name == s.Node {
			self, roomy = n.State, !n.DiskLow
		}
		if n.Voter && (n.Reachable || n.Name == s.Node) {
			reachable++
		}
	}
	// A read that finds the key that signs sessions proves both.
	_, err := a.Node.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		_, err := tx.Secret(secretName)
		return err
	})
	checks := []check{
		{name: "member of a cluster", ok: self != cluster.Joining},
		{name: "not shutting down", ok: self != cluster.Stopping},
		{name: "state readable, sign-in possible", ok: err == nil},
		{name: "raft leader known", ok: s.Leader != "", told: !decide && a.records()},
		{name: "room on the disk", ok: roomy},
	}
	if a.Queue != nil {
		checks = append(checks, check{name: "outbox takes check-ins", ok: a.records(), told: s.Leader != ""})
	}
	if decide {
		checks = append(checks,
			check{name: "quorum answers", ok: s.Quorum > 0 && reachable >= s.Quorum},
			// A node that cannot prove how fresh it is records and does not ask.
			check{name: "state is fresh", ok: !s.Fresh.Stale})
	}
	return checks
}

// records reports whether this node can take a check-in without anybody else.
func (a *API) records() bool { return a.Queue != nil && a.Queue.Usable() == nil }

// getReady says whether this node can take a check-in: have it decided, or record
// it. ?decide asks for a leader and a quorum.
func getReady(c *call) error {
	c.params = []string{"decide"} // a probe's other parameters are no reason to call the node unready
	decide := c.r.URL.Query().Has("decide")
	status := http.StatusOK
	var lines strings.Builder
	for _, check := range c.api.readiness(c.r.Context(), decide) {
		mark := "[+]"
		if !check.ok {
			mark = "[-]"
			if !check.told {
				status = http.StatusServiceUnavailable
			}
		}
		lines.WriteString(mark + check.name + "\n")
	}
	if status != http.StatusOK {
		c.w.Header().Set("Retry-After", "1")
	}
	return c.plain(status, lines.String())
}
