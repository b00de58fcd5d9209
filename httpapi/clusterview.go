package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hadir/attendance"
	"hadir/cluster"
)

type nodeJSON struct {
	ID            string `json:"id"`
	ServerID      string `json:"server_id"`
	Address       string `json:"address"`
	HTTP          string `json:"http"`
	State         string `json:"state"`
	Voter         bool   `json:"voter"`
	Reachable     bool   `json:"reachable"`
	LastContactMS *int64 `json:"last_contact_ms"`
	Commit        uint64 `json:"commit"`
	Applied       uint64 `json:"applied"`
	Seq           uint64 `json:"seq"`
	Lag           uint64 `json:"lag"`
	Connections   int    `json:"connections"`
	Outbox        int    `json:"outbox"`
	Version       string `json:"version"`
	Level         uint32 `json:"level"`
	StartedAt     stamp  `json:"started_at"`
	Replica       bool   `json:"replica"`
	Healthy       bool   `json:"healthy"`
	DiskLow       bool   `json:"disk_low"`
	DiskFree      uint64 `json:"disk_free_bytes"`
}

type electionJSON struct {
	Term         uint64 `json:"term"`
	Leader       string `json:"leader"`
	At           stamp  `json:"at"`
	LeaderlessMS int64  `json:"leaderless_ms"`
}

type clusterJSON struct {
	NodeID    string         `json:"node_id"`
	ClusterID string         `json:"cluster_id"`
	Epoch     string         `json:"epoch"`
	LeaderID  *string        `json:"leader_id"`
	Term      uint64         `json:"term"`
	Quorum    int            `json:"quorum"`
	CanLose   int            `json:"can_lose"`
	Health    *autopilotJSON `json:"health"`
	Warnings  []string       `json:"warnings"`
	Nodes     []nodeJSON     `json:"nodes"`
	Elections []electionJSON `json:"elections"`
	freshJSON
}

// autopilotJSON is what the leader's autopilot makes of the cluster.
type autopilotJSON struct {
	Healthy          bool `json:"healthy"`
	FailureTolerance int  `json:"failure_tolerance"`
}

func jsonHealth(h cluster.Health) *autopilotJSON {
	if !h.Known {
		return nil
	}
	return &autopilotJSON{h.Healthy, h.Tolerance}
}

func jsonWarnings(warnings []cluster.Warning) []string {
	out := []string{}
	for _, w := range warnings {
		out = append(out, string(w))
	}
	return out
}

// epochOf names a history: the cluster and how often it was restored.
func epochOf(s cluster.Status) string {
	return fmt.Sprintf("%s-%d", s.Cluster.String()[:4], s.Epoch)
}

func leaderOf(s cluster.Status) *string {
	if s.Leader == "" {
		return nil
	}
	return &s.Leader
}

// contact gives milliseconds since somebody answered, nil when they never did.
func contact(d time.Duration) *int64 {
	if d < 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}

// getCluster is the answering node's own view. It needs neither a leader nor
// anything else that may be missing when somebody wants to see it.
func getCluster(c *call) error { return c.json(http.StatusOK, c.api.clusterView()) }

func (a *API) clusterView() clusterJSON {
	s, connections, outboxes := a.Node.Status(), a.connections(), a.outboxes()
	out := clusterJSON{
		NodeID: s.Node, ClusterID: s.Cluster.String(), Epoch: epochOf(s), LeaderID: leaderOf(s), Term: s.Term,
		Quorum: s.Quorum, CanLose: s.CanLose, Health: jsonHealth(s.Health), Warnings: jsonWarnings(s.Warnings), Nodes: []nodeJSON{}, Elections: []electionJSON{}, freshJSON: jsonFresh(s.Fresh),
	}
	for _, n := range s.Nodes {
		out.Nodes = append(out.Nodes, nodeJSON{
			ID: n.Name, ServerID: n.ID, Address: n.Address, HTTP: n.HTTP, State: string(n.State), Voter: n.Voter,
			Reachable: n.Reachable, LastContactMS: contact(n.LastContact), Commit: n.Commit, Applied: n.Applied, Seq: n.Seq,
			Lag: n.Lag, Connections: connections[n.Name], Outbox: outboxes[n.Name], Version: n.Version, Level: n.Level, StartedAt: stampOf(n.StartedAt),
			Replica: n.Replica, Healthy: n.Healthy, DiskLow: n.DiskLow, DiskFree: n.DiskFree,
		})
	}
	for _, e := range s.Elections {
		out.Elections = append(out.Elections, electionJSON{e.Term, e.Leader, stampOf(e.At), e.Leaderless.Milliseconds()})
	}
	return out
}

type nodeHealthJSON struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Reachable bool   `json:"reachable"`
	Lag       uint64 `json:"lag"`
}

type clusterHealthJSON struct {
	NodeID   string           `json:"node_id"`
	LeaderID *string          `json:"leader_id"`
	Term     uint64           `json:"term"`
	Quorum   int              `json:"quorum"`
	CanLose  int              `json:"can_lose"`
	Nodes    []nodeHealthJSON `json:"nodes"`
	freshJSON
}

// getClusterHealth is what everybody may know: no addresses and no versions.
func getClusterHealth(c *call) error {
	s := c.api.Node.Status()
	nodes := []nodeHealthJSON{}
	for _, n := range s.Nodes {
		nodes = append(nodes, nodeHealthJSON{n.Name, string(n.State), n.Reachable, n.Lag})
	}
	return c.json(http.StatusOK, clusterHealthJSON{
		s.Node, leaderOf(s), s.Term, s.Quorum, s.CanLose, nodes, jsonFresh(s.Fresh),
	})
}

// transfer has another node lead. It is written down first: an act that cannot
// be recorded is not done.
func (c *call) transfer() error {
	from := c.api.Node.Status().Leader
	if _, err := c.propose(c.who, "", attendance.Audit{Action: "cluster.transfer", Subject: from}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	err := c.api.Node.TransferLeadership(ctx)
	if err != nil && !errors.Is(err, cluster.ErrNoLeader) && !errors.Is(err, cluster.ErrClosing) && !errors.Is(err, cluster.ErrNotLeader) {
		p := newProblem(codeTransfer, "No other voter took over in time. Look at the cluster and try again.")
		p.cause = err
		return p
	}
	return err
}

func postTransfer(c *call) error {
	if err := c.transfer(); err != nil {
		return err
	}
	s := c.api.Node.Status()
	return c.json(http.StatusOK, leadershipJSON{leaderOf(s), s.Term})
}

type leadershipJSON struct {
	LeaderID *string `json:"leader_id"`
	Term     uint64  `json:"term"`
}

// verifyBudget is longer than others: every node reads its whole state.
const verifyBudget = 30 * time.Second

type hashesJSON struct {
	NodeID string  `json:"node_id"`
	Index  uint64  `json:"index"`
	Seq    uint64  `json:"seq"`
	Chain  string  `json:"chain"`
	State  string  `json:"state"`
	Error  *string `json:"error"`
}

type comparisonJSON struct {
	Equal bool         `json:"equal"`
	Items []hashesJSON `json:"items"`
}

func postVerify(c *call) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), verifyBudget)
	defer cancel()
	found, err := c.api.Node.Compare(ctx)
	if err != nil {
		return err
	}
	items, equal := []hashesJSON{}, len(found) > 0
	for _, f := range found {
		i := hashesJSON{NodeID: f.Node, Index: f.Index, Seq: f.Seq, Chain: f.Chain.String(), State: f.State.String()}
		if f.Err != "" {
			i.Error, i.Chain, i.State = &f.Err, "", ""
		}
		first := found[0]
		equal = equal && f.Err == "" && f.Seq == first.Seq && f.Chain == first.Chain && f.State == first.State
		items = append(items, i)
	}
	return c.json(http.StatusOK, comparisonJSON{equal, items})
}
