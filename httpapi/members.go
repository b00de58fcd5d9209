package httpapi

import (
	"context"
	"net/http"

	"hadir/attendance"
)

// maxServer bounds the id or name of a server.
const maxServer = 128

type removeRequest struct {
	ID string `json:"id"`
}

type removedJSON struct {
	Removed  string  `json:"removed"`
	LeaderID *string `json:"leader_id"`
	Term     uint64  `json:"term"`
}

// postRemove takes a server out of the cluster. As with a transfer, it is written
// down first.
func postRemove(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	who := in.required("id", maxServer)
	if err := in.done(); err != nil {
		return err
	}
	// Before it is written down: most mistakes are here.
	known := ""
	for _, n := range c.api.Node.Status().Nodes {
		if n.ID == who || n.Name == who {
			known = n.ID
		}
	}
	if known == "" {
		return notFound("The cluster has no node of that id or name.")
	}
	if _, err := c.propose(c.who, "", attendance.Audit{Action: "cluster.remove", Subject: known}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	if err := c.api.Node.Remove(ctx, known); err != nil {
		return err
	}
	s := c.api.Node.Status()
	return c.json(http.StatusOK, removedJSON{known, leaderOf(s), s.Term})
}
