package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/cmd/hadir/internal/logs"
	"hadir/cmd/hadir/internal/progress"
)

// inspectCmd looks at the files of a stopped node.
type inspectCmd struct {
	Dir    string `arg:"" help:"Data directory of a stopped node."`
	Events int    `help:"How many of the last events to show." default:"10"`
	JSON   bool   `help:"Write JSON."`
}

const maxShownEvents = 1000

// Run implements the command.
func (c *inspectCmd) Run(w *world) error {
	in, err := cluster.Inspect(c.Dir, max(0, min(c.Events, maxShownEvents)))
	if err != nil {
		return err
	}
	v := viewOf(in)
	if c.JSON {
		return writeJSON(w.stdout, v)
	}
	return v.write(w.stdout)
}

// inspection is what hadir inspect --json writes.
type inspection struct {
	Dir         string              `json:"dir"`
	Name        string              `json:"name"`
	ServerID    string              `json:"server_id"`
	Generation  uint64              `json:"generation"`
	ClusterID   string              `json:"cluster_id"`
	Epoch       uint64              `json:"epoch"`        // of the history
	MemberEpoch uint64              `json:"member_epoch"` // of the membership
	Member      bool                `json:"member"`
	Interrupted bool                `json:"recovery_interrupted"`
	Retired     string              `json:"retired,omitempty"`
	Missing     []string            `json:"missing"`
	Applied     uint64              `json:"applied"`
	AppliedTerm uint64              `json:"applied_term"`
	FirstSeq    uint64              `json:"first_seq"`
	Seq         uint64              `json:"seq"`
	Clock       string              `json:"clock"`
	Chain       string              `json:"chain"`
	Level       uint32              `json:"level"`
	TimeZone    string              `json:"time_zone"`
	Users       uint64              `json:"users"`
	Groups      uint64              `json:"groups"`
	Records     uint64              `json:"records"`
	Rows        map[string]int      `json:"rows"`
	Log         inspectedLog        `json:"log"`
	Servers     []inspectedServer   `json:"servers"`
	Snapshots   []inspectedSnapshot `json:"snapshots"`
	Sizes       map[string]int64    `json:"bytes"`
	Events      []inspectedEvent    `json:"events"`
}

type inspectedLog struct {
	First      uint64 `json:"first"`
	Last       uint64 `json:"last"`
	LastTerm   uint64 `json:"last_term"`
	Term       uint64 `json:"term"`
	VotedTerm  uint64 `json:"voted_term"`
	VotedFor   string `json:"voted_for"`
	Unapplied  uint64 `json:"unapplied"`
	Unreadable string `json:"unreadable,omitempty"`
}

type inspectedServer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Self    bool   `json:"self"`
}

type inspectedSnapshot struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Seq   uint64 `json:"seq"`
	Bytes int64  `json:"bytes"`
}

type inspectedEvent struct {
	Seq    uint64 `json:"seq"`
	At     string `json:"at"`
	Type   string `json:"type"`
	Node   string `json:"node"`
	By     string `json:"by"`
	UserID uint64 `json:"user_id,omitempty"`
	Note   string `json:"note,omitempty"`
}

func viewOf(in cluster.Inspection) inspection {
	v := inspection{
		Dir: in.Dir, Name: in.Name, ServerID: in.Server, Generation: in.Node.Generation, ClusterID: in.Node.Cluster.String(),
		Epoch: in.State.Epoch, MemberEpoch: in.Node.Epoch, Member: in.Node.Member, Interrupted: in.Interrupted, Retired: in.Retired, Missing: []string{},
		Applied: in.State.Applied, AppliedTerm: in.State.Term, FirstSeq: in.State.FirstSeq, Seq: in.State.Seq,
		Clock: moment(in.State.Clock), Chain: in.State.Chain.String(), Level: in.State.Level, TimeZone: in.Zone,
		Users: in.State.Users, Groups: in.State.Groups, Records: in.State.Records, Rows: in.Counts, Sizes: in.Sizes,
		Log:     inspectedLog(in.Log),
		Servers: []inspectedServer{}, Snapshots: []inspectedSnapshot{}, Events: []inspectedEvent{},
	}
	v.Missing = append(v.Missing, in.Missing...)
	if in.Node.Cluster.IsZero() {
		v.ClusterID = ""
	}
	for _, s := range in.Configuration.Servers {
		v.Servers = append(v.Servers, inspectedServer{string(s.ID), string(s.Address), s.Suffrage == raft.Voter, string(s.ID) == in.Server})
	}
	for _, s := range in.Snapshots {
		v.Snapshots = append(v.Snapshots, inspectedSnapshot{s.ID, s.Index, s.Term, s.Seq, s.Size})
	}
	for _, e := range in.Events {
		v.Events = append(v.Events, eventOf(e))
	}
	return v
}

func eventOf(e attendance.Event) inspectedEvent {
	out := inspectedEvent{Seq: e.Seq, At: moment(e.At), Type: e.Type.String(), Node: e.Node, By: e.Principal.String()}
	switch d := e.Detail.(type) {
	case attendance.Tap:
		out.UserID = d.UserID
	case attendance.AuditNote:
		out.Note = logs.OneLine(d.Action + " " + d.Subject + " " + d.Note)
	}
	return out
}

func (v inspection) write(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what, format string, args ...any) { fmt.Fprintf(t, what+"\t"+format+"\n", args...) }
	row("node", "%s (%s), started %d times", orNone(v.Name), orNone(v.ServerID), v.Generation)
	row("cluster", "%s, epoch %d, member since epoch %d", orNone(v.ClusterID), v.Epoch, v.MemberEpoch)
	if v.Interrupted {
		row("recovery", "was interrupted: finish it with hadir recover %s", v.Dir)
	}
	if v.Retired != "" {
		row("state", "%s", v.Retired)
	}
	if len(v.Missing) > 0 {
		row("missing", "%s", strings.Join(v.Missing, ", "))
	}
	row("applied", "entry %d of term %d", v.Applied, v.AppliedTerm)
	row("events", "%d … %d, the last one decided %s", v.FirstSeq, v.Seq, v.Clock)
	row("chain hash", "%s", v.Chain)
	row("holds", "%d users, %d groups, %d check-ins, %d keys", v.Users, v.Groups, v.Records, v.Rows["keys"])
	row("settings", "time zone %s, command level %d", v.TimeZone, v.Level)
	row("log", "entries %d … %d, the last one of term %d; %d not applied", v.Log.First, v.Log.Last, v.Log.LastTerm, v.Log.Unapplied)
	if v.Log.Unreadable != "" {
		row("", "not readable: %s", v.Log.Unreadable)
	}
	row("vote", "in term %d; voted in term %d for %s", v.Log.Term, v.Log.VotedTerm, orNone(v.Log.VotedFor))
	for i, s := range v.Servers {
		row(first(i, "members"), "%s at %s, %s%s", s.ID, s.Address, suffrage(s.Voter), self(s.Self))
	}
	for i, s := range v.Snapshots {
		row(first(i, "snapshots"), "entry %d of term %d, events up to %d, %s", s.Index, s.Term, s.Seq, progress.Bytes(s.Bytes))
	}
	for i, name := range slices.Sorted(maps.Keys(v.Sizes)) {
		row(first(i, "size"), "%s %s", name, progress.Bytes(v.Sizes[name]))
	}
	for i, e := range v.Events {
		what := e.Note
		if e.UserID != 0 {
			what = fmt.Sprint("user ", e.UserID)
		}
		row(first(i, "last events"), "%d  %s  %s  %s  by %s  %s", e.Seq, e.At, e.Type, e.Node, e.By, what)
	}
	return t.Flush()
}

// first gives a heading for the first row of several.
func first(i int, heading string) string {
	if i == 0 {
		return heading
	}
	return ""
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func suffrage(voter bool) string {
	if voter {
		return "voter"
	}
	return "no vote"
}

func self(is bool) string {
	if is {
		return " (this node)"
	}
	return ""
}
