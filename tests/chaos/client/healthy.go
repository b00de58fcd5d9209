package client

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Healthy asks every node once and gives nil when each of them decides, all agree on
// the leader, each reaches the others and nobody lags by more than so many events.
// down says which members are meant not to run; nil stands for none.
func Healthy(ctx context.Context, nodes map[string]Client, down func(id string) bool, lag uint64) error {
	if down == nil {
		down = func(string) bool { return false }
	}
	leader := ""
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		if down(id) {
			continue
		}
		a, err := nodes[id].Do(ctx, http.MethodGet, "/readyz?decide", "", nil)
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", id, a)
		}
		v, err := nodes[id].View(ctx)
		if err != nil {
			return err
		}
		if v.Leader == "" || (leader != "" && v.Leader != leader) {
			return fmt.Errorf("%s says that %q leads, others say %q", id, v.Leader, leader)
		}
		leader = v.Leader
		for _, m := range v.Nodes {
			if _, known := nodes[m.ID]; !known {
				return fmt.Errorf("%s knows of a node %q", id, m.ID)
			}
			if !down(m.ID) && (!m.Reachable || m.Lag > lag) {
				return fmt.Errorf("%s says of %s: reachable %v, lag %d", id, m.ID, m.Reachable, m.Lag)
			}
		}
	}
	return nil
}
