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
}

// readiness says whether a check-in can be taken, and why not.
func (a *API) readiness(ctx context.Context, decide bool) []check {
	s := a.Node.Status()
	self := cluster.Joining
	reachable := 0
	for _, n := range s.Nodes {
		if n.Name == s.Node {
			self = n.State
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
		{"member of a cluster", self != cluster.Joining},
		{"not shutting down", self != cluster.Stopping},
		{"state readable, sign-in possible", err == nil},
		{"raft leader known", s.Leader != ""},
	}
	if decide {
		checks = append(checks, check{"quorum answers", s.Quorum > 0 && reachable >= s.Quorum})
	}
	return checks
}

// getReady says whether this node can take a check-in. Until it can record one
// by itself that means to have it decided; ?decide asks for a quorum too.
func getReady(c *call) error {
	decide := c.r.URL.Query().Has("decide")
	status := http.StatusOK
	var lines strings.Builder
	for _, check := range c.api.readiness(c.r.Context(), decide) {
		mark := "[+]"
		if !check.ok {
			mark, status = "[-]", http.StatusServiceUnavailable
		}
		lines.WriteString(mark + check.name + "\n")
	}
	if status != http.StatusOK {
		c.w.Header().Set("Retry-After", "1")
	}
	return c.plain(status, lines.String())
}
