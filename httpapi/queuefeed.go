package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"hadir/attendance"
	"hadir/httpapi/stream"
	"hadir/store"
)

const (
	queueEvery = time.Second            // how often the queues of the other nodes are looked at
	queueGap   = 250 * time.Millisecond // the least between two looks
)

// queueNumbers is what the topic queue shows: GET /queue and GET /export without
// their lists.
type queueNumbers struct {
	Nodes  []queueNodeJSON `json:"nodes"`
	Redis  *queueRedisJSON `json:"redis"`
	Failed int             `json:"failed"`
	// Jobs are counted by kind and state.
	Jobs    map[string]map[string]int `json:"jobs"`
	Hooks   []hookNumbers             `json:"webhooks"`
	Exports []exportNumbers           `json:"exports"`
}

type hookNumbers struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	LagEvents uint64 `json:"lag_events"`
}

type exportNumbers struct {
	Target    string  `json:"target"`
	State     string  `json:"state"`
	Watermark uint64  `json:"watermark"`
	LagEvents uint64  `json:"lag_events"`
	LagS      decimal `json:"lag_s"`
	Parked    uint64  `json:"parked"`
}

// pendingJSON tells somebody that a tap of theirs waits for its decision, or no
// longer does.
type pendingJSON struct {
	Key        string `json:"key"`
	Type       string `json:"type"`
	Status     string `json:"status"` // queued, set_aside or decided
	Node       string `json:"node_id"`
	ReceivedAt stamp  `json:"received_at"`
}

// pendingStatus is what a state of an entry is called; a decision has its event.
var pendingStatus = map[store.OutboxState]string{
	store.OutboxWaiting: queuedStatus, store.OutboxFailed: setAside, store.OutboxDecided: "decided",
}

// QueueChanged tells those whom it concerns that an entry of this node's outbox was
// recorded, decided or set aside: the person whose tap it is, and who watches the
// queue. It does not block and may be called concurrently.
func (a *API) QueueChanged(e store.OutboxEntry) {
	if a.push == nil {
		return
	}
	a.push.queueTouched()
	tap, isTap := e.Command.Body.(attendance.CheckIn)
	if e.Damaged != nil || !isTap {
		return
	}
	data, err := json.Marshal(pendingJSON{
		Key: e.Command.Key, Type: tap.Kind.String(), Status: pendingStatus[e.State], Node: a.Node.Name(), ReceivedAt: stamp(e.Receipt.Wall),
	})
	if err != nil {
		a.Log.Error("a frame about a queued check-in could not be encoded", "error", err)
		return
	}
	a.push.hub.Publish(stream.Pending, []uint64{tap.UserID}, data)
}

// queueTouched has the topic queue looked at soon.
func (p *pushes) queueTouched() {
	select {
	case p.queueNews <- struct{}{}:
	default:
	}
}

// feedQueue keeps the topic queue up to date. It asks other nodes, and has a
// goroutine of its own so that one that hangs holds up no other topic.
func (p *pushes) feedQueue() {
	ticker := time.NewTicker(queueEvery)
	defer ticker.Stop()
	gap := time.NewTimer(queueGap)
	defer gap.Stop()
	var shown []byte
	for {
		shown = p.showQueue(shown)
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
		case <-p.queueNews:
		}
		gap.Reset(queueGap)
		select {
		case <-p.life.Done():
			return
		case <-gap.C:
		}
	}
}

// showQueue shows the numbers of all queues, unless they are what was shown, and
// gives what is shown now; nil for nothing.
func (p *pushes) showQueue(shown []byte) []byte {
	if !p.hub.Wants(stream.Queue) {
		if shown != nil {
			p.hub.Show(stream.Queue, nil)
		}
		return nil
	}
	numbers, err := p.api.queueNumbers(p.life)
	if err != nil {
		p.api.Log.Debug("the queue cannot be looked at", "error", err)
		return shown
	}
	data, err := json.Marshal(numbers)
	if err != nil {
		p.api.Log.Error("the queue's numbers could not be encoded", "error", err)
		return shown
	}
	if !bytes.Equal(data, shown) {
		p.hub.Publish(stream.Queue, nil, data)
	}
	return data
}

func (a *API) queueNumbers(ctx context.Context) (out queueNumbers, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.Budget)
	defer cancel()
	out = queueNumbers{Nodes: []queueNodeJSON{}, Jobs: make(map[string]map[string]int), Hooks: []hookNumbers{}, Exports: []exportNumbers{}}
	if a.Desk != nil {
		view, err := a.Desk.View(ctx)
		if err != nil {
			return out, err
		}
		q := jsonQueue(view)
		out.Nodes, out.Redis, out.Failed = q.Nodes, q.Redis, len(q.Failed)
	}
	if a.Jobs != nil {
		jobs, _ := a.Jobs.List(ctx) // nodes tells who does not answer
		kinds, stuck := tallyJobs(jobs)
		out.Failed += len(stuck)
		for _, k := range kinds {
			out.Jobs[k.Kind] = make(map[string]int)
			for _, s := range k.States {
				out.Jobs[k.Kind][s.Name] = s.Count
			}
		}
	}
	hooks, err := a.webhooks(ctx)
	if err != nil {
		return out, err
	}
	for _, h := range hooks {
		out.Hooks = append(out.Hooks, hookNumbers{h.Name, h.State, h.Lag})
	}
	if a.Exports != nil {
		list, err := a.Exports.Status(ctx)
		if err != nil {
			return out, err
		}
		for _, s := range list {
			e := jsonExport(s)
			out.Exports = append(out.Exports, exportNumbers{e.Target, e.State, e.Watermark, e.LagEvents, e.LagS, e.Parked})
		}
	}
	return out, nil
}
