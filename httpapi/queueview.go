package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
)

// QueueView is what waits on all nodes.
type QueueView struct {
	Nodes []QueueNode
	Redis *QueueRedis // nil where there is none
}

// QueueNode is the queue of one node.
type QueueNode struct {
	Name      string
	Error     string // why it could not be asked; then nothing else counts
	Waiting   uint64
	Failed    uint64
	Bytes     uint64
	OldestAge time.Duration
	Decided   uint64
	PerSecond float64
	EmptyIn   time.Duration // negative when nobody can say
	Waited    int           // decided lately; the next two are about them
	WaitHalf  time.Duration // half of them waited no longer
	Wait99    time.Duration // 99 in 100 of them waited no longer
	Unusable  string        // why nothing can be recorded there
	Mirrored  bool          // it copies to Redis; the next three are about that
	RedisUp   bool
	RedisSafe bool
	RedisWhy  string
	SetAside  []QueueFailed
}

// QueueRedis is what Redis has of all nodes.
type QueueRedis struct {
	Scheduled, Pending, Active, Retry, Archived int
	Unusable                                    []QueueFailed
}

// QueueFailed is something that cannot be decided as it is. What is not known of it
// is empty.
type QueueFailed struct {
	ID         string // the place at its node, or the name of a task in Redis
	Principal  string
	Key        string
	UserID     uint64
	Kind       string
	ReceivedAt attendance.Millis
	FailedAt   attendance.Millis
	Reason     string
}

// QueueAct is what a person does about what was set aside at one node, or in Redis.
type QueueAct struct {
	Where   string // name of a node, or redisName
	Dismiss bool   // else it is tried again
	IDs     []string
	Reason  string
	All     bool
}

// QueueDesk shows the queues of all nodes, and acts on what was set aside.
type QueueDesk interface {
	View(ctx context.Context) (QueueView, error)
	// Act says how many there were.
	Act(ctx context.Context, act QueueAct) (int, error)
	// Import takes a sealed check-in of another node's outbox and says whether it was
	// known before. ErrForeign is one that is not this cluster's.
	Import(sealed []byte) (known bool, err error)
}

const (
	redisName   = "redis"
	maxQueueIDs = 1_000
	maxQueueID  = 128
)

var queueRoutes = []route{
	{http.MethodGet, apiPrefix + "/queue", admins, false, getQueue},
	{http.MethodPost, apiPrefix + "/queue/retry", admins, false, postQueueRetry},
	{http.MethodPost, apiPrefix + "/queue/dismiss", admins, false, postQueueDismiss},
	{http.MethodPost, apiPrefix + "/queue/import", admins, false, postQueueImport},
}

type queueJSON struct {
	Nodes  []queueNodeJSON   `json:"nodes"`
	Redis  *queueRedisJSON   `json:"redis"`
	Failed []queueFailedJSON `json:"failed"`
}

type queueNodeJSON struct {
	ID        string          `json:"id"`
	Error     string          `json:"error,omitempty"`
	Waiting   uint64          `json:"waiting"`
	Failed    uint64          `json:"set_aside"`
	Bytes     uint64          `json:"bytes"`
	OldestMS  int64           `json:"oldest_age_ms"`
	Decided   uint64          `json:"decided"`
	PerSecond float64         `json:"per_second"`
	EmptyInS  *int64          `json:"empty_in_s"`
	Waits     *queueWaitsJSON `json:"waits"`
	Unusable  string          `json:"unusable,omitempty"`
	Redis     *queueRouteJSON `json:"mirror"`
}

type queueWaitsJSON struct {
	Count    int   `json:"count"`
	MedianMS int64 `json:"median_ms"`
	P99MS    int64 `json:"p99_ms"`
}

type queueRouteJSON struct {
	Up    bool   `json:"up"`
	Fsync bool   `json:"fsync"`
	Why   string `json:"why,omitempty"`
}

type queueRedisJSON struct {
	Scheduled int `json:"scheduled"`
	Pending   int `json:"pending"`
	Active    int `json:"active"`
	Retry     int `json:"retry"`
	Archived  int `json:"archived"`
}

type queueFailedJSON struct {
	ID         string `json:"id"`
	Node       string `json:"where"`
	Principal  string `json:"principal,omitempty"`
	Key        string `json:"key,omitempty"`
	UserID     uint64 `json:"user_id,omitempty"`
	Kind       string `json:"type,omitempty"`
	ReceivedAt *stamp `json:"received_at,omitempty"`
	FailedAt   stamp  `json:"failed_at"`
	Reason     string `json:"reason"`
}

type queueActRequest struct {
	IDs    []string `json:"ids,omitempty"`
	Reason string   `json:"reason,omitempty"`
	All    bool     `json:"all,omitempty"`
	Note   string   `json:"note,omitempty"`
}

type queueActJSON struct {
	Done    int      `json:"done"`
	Missing []string `json:"not_asked"`
}

func jsonFailed(where string, f QueueFailed) queueFailedJSON {
	out := queueFailedJSON{
		ID: where + "/" + f.ID, Node: where, Principal: f.Principal, Key: f.Key, UserID: f.UserID, Kind: f.Kind,
		FailedAt: stamp(f.FailedAt), Reason: f.Reason,
	}
	if f.ReceivedAt != 0 {
		at := stamp(f.ReceivedAt)
		out.ReceivedAt = &at
	}
	return out
}

func getQueue(c *call) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	if err := q.done(); err != nil {
		return err
	}
	if c.api.Desk == nil {
		return notFound("This node has no queue.")
	}
	view, err := c.api.Desk.View(c.r.Context())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonQueue(view))
}

func jsonQueue(view QueueView) queueJSON {
	out := queueJSON{Nodes: []queueNodeJSON{}, Failed: []queueFailedJSON{}}
	for _, n := range view.Nodes {
		node := queueNodeJSON{
			ID: n.Name, Error: n.Error, Waiting: n.Waiting, Failed: n.Failed, Bytes: n.Bytes, OldestMS: n.OldestAge.Milliseconds(),
			Decided: n.Decided, PerSecond: n.PerSecond, Unusable: n.Unusable,
		}
		if n.Error == "" && n.EmptyIn >= 0 {
			s := int64((n.EmptyIn + time.Second - 1) / time.Second)
			node.EmptyInS = &s
		}
		if n.Waited > 0 {
			node.Waits = &queueWaitsJSON{n.Waited, n.WaitHalf.Milliseconds(), n.Wait99.Milliseconds()}
		}
		if n.Mirrored {
			node.Redis = &queueRouteJSON{Up: n.RedisUp, Fsync: n.RedisSafe, Why: n.RedisWhy}
		}
		for _, f := range n.SetAside {
			out.Failed = append(out.Failed, jsonFailed(n.Name, f))
		}
		out.Nodes = append(out.Nodes, node)
	}
	if r := view.Redis; r != nil {
		out.Redis = &queueRedisJSON{Scheduled: r.Scheduled, Pending: r.Pending, Active: r.Active, Retry: r.Retry, Archived: r.Archived}
		for _, f := range r.Unusable {
			out.Failed = append(out.Failed, jsonFailed(redisName, f))
		}
	}
	return out
}

func postQueueRetry(c *call) error   { return c.actOnQueue(false) }
func postQueueDismiss(c *call) error { return c.actOnQueue(true) }

// parseQueueAct reads what is to be done, by place: "" stands for everywhere.
func parseQueueAct(in *object, dismiss bool) (acts map[string]QueueAct, subject, note string, err error) {
	acts = make(map[string]QueueAct)
	raw, byID := in.take("ids")
	reason, byReason := in.text("reason", attendance.MaxNote)
	all := in.flag("all")
	note, _ = in.text("note", attendance.MaxNote)
	var ids []string
	if byID && (json.Unmarshal(raw, &ids) != nil || len(ids) == 0 || len(ids) > maxQueueIDs) {
		in.wrong("ids", fmt.Sprintf("is no list of 1 … %d ids from GET /queue", maxQueueIDs))
	}
	for _, id := range ids {
		where, which, ok := strings.Cut(id, "/")
		if _, err := strconv.ParseUint(which, 10, 64); !ok || where == "" || which == "" || len(id) > maxQueueID || where != redisName && err != nil {
			in.wrong("ids", "holds something that is no id from GET /queue")
			break
		}
		act := acts[where]
		act.Where, act.Dismiss = where, dismiss
		act.IDs = append(act.IDs, which)
		acts[where] = act
	}
	if named := []bool{byID, byReason && reason != "", all}; len(slices.DeleteFunc(named, func(b bool) bool { return !b })) != 1 && !in.isWrong("ids") {
		in.wrong("ids", "or a reason or all is needed, and only one of them")
	}
	if dismiss && note == "" && !in.isWrong("note") {
		in.wrong("note", "is missing: say why, for the audit trail")
	}
	subject = fmt.Sprintf("%d entries", len(ids))
	switch {
	case len(ids) == 1:
		subject = ids[0]
	case byReason:
		subject, acts[""] = "by reason", QueueAct{Dismiss: dismiss, Reason: reason}
	case all:
		subject, acts[""] = "all", QueueAct{Dismiss: dismiss, All: true}
	}
	return acts, subject, note, in.done()
}

func (c *call) actOnQueue(dismiss bool) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	acts, subject, note, err := parseQueueAct(in, dismiss)
	if err != nil {
		return err
	}
	if c.api.Desk == nil {
		return notFound("This node has no queue.")
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	answer, err := c.actOn(key, acts, subject, note, dismiss)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// actOn tells the audit trail under a key, and then acts on what is named by place.
func (c *call) actOn(key string, acts map[string]QueueAct, subject, note string, dismiss bool) (answer queueActJSON, err error) {
	answer = queueActJSON{Missing: []string{}}
	action := "queue.retried"
	if dismiss {
		action = "queue.dismissed"
	}
	if _, err := c.propose(c.who, key, attendance.Audit{Action: action, Subject: subject, Note: note}); err != nil {
		return answer, err
	}
	if everywhere, given := acts[""]; given {
		delete(acts, "")
		view, err := c.api.Desk.View(c.r.Context())
		if err != nil {
			return answer, err
		}
		for _, n := range view.Nodes {
			everywhere.Where = n.Name
			acts[n.Name] = everywhere
		}
		if view.Redis != nil {
			everywhere.Where = redisName
			acts[redisName] = everywhere
		}
	}
	for where, act := range acts {
		done, err := c.api.Desk.Act(c.r.Context(), act)
		answer.Done += done
		if err != nil {
			c.api.Log.Warn("the queue of a node was not acted on", "request", c.id, "where", where, "error", err)
			answer.Missing = append(answer.Missing, where)
		}
	}
	slices.Sort(answer.Missing)
	if c.api.push != nil {
		c.api.push.queueTouched()
	}
	return answer, nil
}
