package httpapi

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/httpapi/stream"
	"hadir/httpapi/today"
	"hadir/store"
)

// pushes is everything that this node tells without being asked: the hub with its
// events, and what the other topics show.
type pushes struct {
	api      *API
	watch    Watcher
	hub      *stream.Hub
	tickets  *tickets
	progress progress
	// queueNews holds one signal that a queue has changed.
	queueNews chan struct{}

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	// What was shown last; the goroutine's own.
	view     []byte
	viewAt   time.Time
	here     presence
	posted   time.Time // when people were
	refused  bool      // the note about them
	totals   today.Totals
	totalsAt time.Time
	jobs     map[string]jobStep
}

const (
	feedEvery     = 250 * time.Millisecond // how often is looked at what nobody tells of
	feedGap       = 50 * time.Millisecond  // the least between two looks
	viewEvery     = time.Second            // a view in which only ages have changed
	presenceEvery = 2 * time.Second
	totalsEvery   = time.Second
	totalsSteps   = 20 // of the counter at a time

	doorTopic   = "door"   // the note with the number of connections
	peopleTopic = "people" // the note with who they are
	outboxTopic = "outbox" // the note with the number of taps that wait
)

func newPushes(a *API) (*pushes, error) {
	p := &pushes{api: a, watch: a.Watcher, tickets: newTickets(), progress: progress{wake: make(chan struct{}, 1)}, queueNews: make(chan struct{}, 1)}
	measure := newStreamMetrics()
	var err error
	p.hub, err = stream.New(stream.Config{
		Node: a.Node.Name(), Source: storedEvents{a.Node}, Clock: a.Clock, Log: a.Log, Observe: measure, Tapped: p.progress.tapped,
		Limits: a.StreamLimits,
	})
	if err != nil {
		return nil, err
	}
	if err := measure.register(a.Metrics, p.hub); err != nil {
		p.hub.Close(context.Background())
		return nil, err
	}
	p.watch.Subscribe(func(fsm.Commit) { p.hub.Wake() })
	p.hub.Wake() // for what was committed meanwhile
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// start begins to feed topics, once the API is whole: they show parts of it.
func (p *pushes) start() {
	p.wg.Go(p.feed)
	p.wg.Go(p.feedQueue)
}

// close ends the streams and what feeds them.
func (p *pushes) close(ctx context.Context) {
	p.hub.Close(ctx)
	p.end()
	p.wg.Wait()
}

// feed keeps what topics show up to date.
func (p *pushes) feed() {
	ticker := time.NewTicker(feedEvery)
	defer ticker.Stop()
	gap := time.NewTimer(feedGap)
	defer gap.Stop()
	for {
		changed := p.watch.Changed()
		p.look()
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
		case <-changed:
		case <-p.progress.wake:
		}
		gap.Reset(feedGap)
		select {
		case <-p.life.Done():
			return
		case <-gap.C:
		}
	}
}

// look shows what has changed.
func (p *pushes) look() {
	now := p.api.Clock.Now()
	for topic, count := range map[string]int{doorTopic: p.hub.Connections(), outboxTopic: p.api.waiting()} {
		if err := p.watch.Post(topic, strconv.AppendInt(nil, int64(count), 10)); err != nil {
			p.api.Log.Warn("the others are not told a count of this node", "count", topic, "error", err)
		}
	}
	p.showCluster(now)
	p.showPresence(now)
	p.showTotals(now)
	p.showProgress(now)
	p.showJobs()
}

// showCluster shows the view that GET /cluster gives, at once when something has
// changed in it but ages.
func (p *pushes) showCluster(now time.Time) {
	if !p.hub.Wants(stream.Cluster) {
		if p.view != nil {
			p.hub.Show(stream.Cluster, nil)
			p.view = nil
		}
		return
	}
	v := p.api.clusterView()
	full, err := json.Marshal(v)
	if err != nil {
		p.api.Log.Error("the cluster's view could not be encoded", "error", err)
		return
	}
	v.AsOf = 0
	for i := range v.Nodes {
		v.Nodes[i].LastContactMS = nil
	}
	still, err := json.Marshal(v)
	if err != nil || (string(still) == string(p.view) && now.Sub(p.viewAt) < viewEvery) {
		return
	}
	p.view, p.viewAt = still, now
	p.hub.Publish(stream.Cluster, nil, full)
}

// connections gives how many clients each node serves.
func (a *API) connections() map[string]int {
	if a.push == nil {
		return nil
	}
	return a.push.counted(doorTopic, a.push.hub.Connections())
}

// outboxes gives how many taps wait at each node.
func (a *API) outboxes() map[string]int {
	if a.push == nil {
		return map[string]int{a.Node.Name(): a.waiting()}
	}
	return a.push.counted(outboxTopic, a.waiting())
}

// waiting gives how many taps wait at this node.
func (a *API) waiting() int {
	if a.Queue == nil {
		return 0
	}
	return int(a.Queue.Depth().Waiting) // a million at most
}

// counted gives a count of this node and those that the others have told.
func (p *pushes) counted(topic string, own int) map[string]int {
	out := map[string]int{p.api.Node.Name(): own}
	for _, note := range p.watch.Notes(topic) {
		if n, err := strconv.Atoi(string(note.Body)); err == nil && n >= 0 {
			out[note.Node] = n
		}
	}
	return out
}

type totalsJSON struct {
	Date   string    `json:"date"`
	Seq    uint64    `json:"seq"` // the newest event that is counted
	People headsJSON `json:"people"`
}

// showTotals shows the counts of the day, which are everybody's.
func (p *pushes) showTotals(now time.Time) {
	if !p.hub.Wants(stream.Totals) {
		if p.totals.Day != 0 {
			p.hub.Show(stream.Totals, nil)
			p.totals = today.Totals{}
		}
		return
	}
	if now.Sub(p.totalsAt) < totalsEvery {
		return
	}
	for range totalsSteps {
		var totals today.Totals
		there := false
		_, err := p.api.Node.Read(p.life, cluster.Read{}, func(tx *store.ReadTx) (err error) {
			totals, there, err = p.api.today.Step(tx, attendance.MillisOf(now))
			return err
		})
		if err != nil {
			p.api.Log.Debug("the day cannot be counted", "error", err)
			return
		}
		if !there {
			continue
		}
		p.totalsAt = now
		if totals.Day == p.totals.Day && totals.People == p.totals.People {
			return
		}
		data, err := json.Marshal(totalsJSON{totals.Day.String(), totals.Seq, headsJSON(totals.People)})
		if err != nil {
			p.api.Log.Error("totals could not be encoded", "error", err)
			return
		}
		p.totals = totals
		p.hub.Publish(stream.Totals, nil, data)
		return
	}
}
