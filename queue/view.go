package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/store"
)

const (
	questionView = "queue.view"
	questionAct  = "queue.act"
	// MostShown is how many entries that were set aside are listed for one node.
	MostShown = 100
	rateSpan  = 10 // seconds over which throughput is told
	actPage   = 256
)

// View is what the queue of one node looks like.
type View struct {
	Node      string
	Error     string // why it could not be asked; then nothing else counts
	Waiting   uint64
	Failed    uint64
	Bytes     uint64
	OldestAge time.Duration // of the entry that has waited longest; 0 for none
	Decided   uint64        // since the node was started
	PerSecond float64       // decided lately
	EmptyIn   time.Duration // at that rate; negative when nobody can say
	Waited    int           // entries decided in the last hour, 1 024 at most; the next two are about them
	WaitHalf  time.Duration // half of them waited no longer
	Wait99    time.Duration // 99 in 100 of them waited no longer
	Usable    string        // why nothing can be recorded; "" when it can
	Mirror    *MirrorView   // nil without Redis
	SetAside  []SetAside    // the oldest ones
}

// MirrorView is how a node's way to Redis is.
type MirrorView struct {
	Up    bool
	Fsync bool
	Why   string // it is not up
}

// SetAside is an entry that cannot be decided as it is.
type SetAside struct {
	N          uint64
	Principal  string // "" when the entry cannot be read, as are the next ones
	Key        string
	UserID     uint64
	Kind       string
	ReceivedAt attendance.Millis
	FailedAt   attendance.Millis
	Reason     string
}

// View gives what this node's queue looks like.
func (q *Queue) View() (View, error) {
	now := q.cfg.Clock.Now()
	depth := q.cfg.Outbox.Depth()
	v := View{Node: q.cfg.Node.Name(), Waiting: depth.Waiting, Failed: depth.Failed, Bytes: depth.Bytes, EmptyIn: -1}
	lately, total := q.meter.lately(now, rateSpan)
	v.Decided, v.PerSecond = total, float64(lately)/rateSpan
	if depth.Waiting == 0 {
		v.EmptyIn = 0
	} else if lately > 0 {
		v.EmptyIn = time.Duration(float64(depth.Waiting) / v.PerSecond * float64(time.Second))
	}
	v.Waited, v.WaitHalf, v.Wait99 = q.waits.lately(now)
	if err := q.Usable(); err != nil {
		v.Usable = err.Error()
	}
	if q.cfg.Mirror != nil {
		m := q.cfg.Mirror.View()
		v.Mirror = &m
	}
	oldest, err := q.cfg.Outbox.Waiting(0, 1)
	if err != nil {
		return v, err
	}
	if len(oldest) > 0 && oldest[0].Damaged == nil {
		v.OldestAge = q.age(oldest[0].Receipt)
	}
	failed, err := q.cfg.Outbox.Failed(0, MostShown)
	for _, e := range failed {
		s := SetAside{N: e.N, FailedAt: e.At, Reason: e.Reason}
		if b, ok := e.Command.Body.(attendance.CheckIn); ok && e.Damaged == nil {
			s.Principal, s.Key, s.UserID, s.Kind = e.Command.Principal.String(), e.Command.Key, b.UserID, b.Kind.String()
			s.ReceivedAt = e.Receipt.Wall
		}
		v.SetAside = append(v.SetAside, s)
	}
	return v, err
}

// age gives how long ago something was received, as well as can be told.
func (q *Queue) age(r store.Receipt) time.Duration {
	if id, since := q.cfg.Clock.Boot(); id == r.BootID && id != "" {
		return max(0, since-r.Boot.Duration())
	}
	return max(0, q.cfg.Clock.Now().Sub(r.Wall.Time()))
}

// Views gives what the queues of all nodes look like, this one's first. A node that
// cannot be asked is there, with the reason.
func (q *Queue) Views(ctx context.Context) ([]View, error) {
	own, err := q.View()
	if err != nil || q.cfg.Peers == nil {
		return []View{own}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status := q.cfg.Peers.Status()
	others := make([]View, len(status.Nodes))
	var wg sync.WaitGroup
	for i, n := range status.Nodes {
		if n.Name == own.Node {
			continue
		}
		wg.Go(func() {
			v := View{}
			raw, err := q.cfg.Peers.Ask(ctx, n.Name, questionView, nil)
			if err == nil {
				err = json.Unmarshal(raw, &v)
			}
			if err != nil {
				v = View{Error: err.Error()}
			}
			v.Node = n.Name
			others[i] = v
		})
	}
	wg.Wait()
	views := []View{own}
	for _, v := range others {
		if v.Node != "" {
			views = append(views, v)
		}
	}
	return views, nil
}

func (q *Queue) answerView(context.Context, []byte) ([]byte, error) {
	v, err := q.View()
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// Act is what a person does about entries that were set aside.
type Act struct {
	Dismiss bool // else they are tried again
	// Which: these places, those with this reason, or all. One of the three.
	Places []uint64
	Reason string
	All    bool
}

// Act does something about entries that were set aside at a node, by its name, and
// says how many there were. An entry that is tried again changes its state and keeps
// its place; one that is dismissed is gone, and its key is free again.
func (q *Queue) Act(ctx context.Context, node string, a Act) (done int, err error) {
	if node == q.cfg.Node.Name() {
		return q.act(a)
	}
	if q.cfg.Peers == nil {
		return 0, fmt.Errorf("%w: %s", store.ErrNotFound, node)
	}
	question, err := json.Marshal(a)
	if err != nil {
		return 0, err
	}
	raw, err := q.cfg.Peers.Ask(ctx, node, questionAct, question)
	if err == nil {
		err = json.Unmarshal(raw, &done)
	}
	return done, err
}

func (q *Queue) answerAct(_ context.Context, question []byte) ([]byte, error) {
	var a Act
	if err := json.Unmarshal(question, &a); err != nil {
		return nil, err
	}
	done, err := q.act(a)
	if err != nil {
		return nil, err
	}
	return json.Marshal(done)
}

func (q *Queue) act(a Act) (done int, err error) {
	places := a.Places
	for after := uint64(0); a.All || a.Reason != ""; {
		page, err := q.cfg.Outbox.Failed(after, actPage)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			after = e.N
			if a.All || e.Reason == a.Reason {
				places = append(places, e.N)
			}
		}
		if len(page) < actPage {
			break
		}
	}
	for _, n := range places {
		found := false
		if a.Dismiss {
			found, err = q.dismiss(n)
		} else {
			found, err = q.Retry(n)
		}
		if err != nil {
			return done, err
		}
		if found {
			done++
		}
	}
	return done, nil
}

// dismiss forgets an entry that was set aside, and its copy.
func (q *Queue) dismiss(n uint64) (found bool, err error) {
	page, err := q.cfg.Outbox.Failed(n-min(n, 1), 1)
	if err != nil || len(page) == 0 || page[0].N != n {
		return false, err
	}
	found, err = q.cfg.Outbox.Dismiss(n)
	if found && q.cfg.Mirror != nil && page[0].Damaged == nil {
		q.cfg.Mirror.Drop(page[0])
	}
	return found, err
}

// errNothingNamed says that an act names no entries.
var errNothingNamed = errors.New("name places, a reason or all")

// Check says what is wrong with an act.
func (a Act) Check() error {
	named := 0
	for _, given := range []bool{len(a.Places) > 0, a.Reason != "", a.All} {
		if given {
			named++
		}
	}
	if named != 1 {
		return errNothingNamed
	}
	return nil
}
