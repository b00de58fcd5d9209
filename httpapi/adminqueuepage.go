package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/store"
	"hadir/ui"
)

const (
	queuePath  = "/admin/queue"
	exportPath = "/admin/export"
)

// queuePage shows what waits on all nodes and what failed.
func queuePage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showQueue(http.StatusOK, ui.Queue{Form: form})
}

// showQueue shows the page around a form.
func (c *call) showQueue(status int, d ui.Queue) error {
	q, err := c.pageQuery("reason", "where", "missing")
	if err != nil {
		return err
	}
	d.Done = q.text("did")
	if missing := q.text("missing"); missing != "" {
		d.Missing = strings.Split(missing, ",")
	}
	if d.Form.Trouble == "" {
		d.Reason, d.Where = q.text("reason"), q.text("where")
	}
	q.number("min_index", 0, maxID, 0) // of the act before; a queue has no index
	if err := q.done(); err != nil {
		return err
	}
	if err := c.fillQueue(&d); err != nil {
		return err
	}
	return c.screen(status, "admin", d)
}

// queuePart sends one part of the page.
func (c *call) queuePart(render func(io.Writer, ui.Frame, ui.Queue) error) error {
	q, err := c.query("reason", "where")
	if err != nil {
		return err
	}
	d := ui.Queue{Reason: q.text("reason"), Where: q.text("where")}
	if err := q.done(); err != nil {
		return err
	}
	if d.Form, err = c.freshForm(); err != nil {
		return err
	}
	if err := c.fillQueue(&d); err != nil {
		return err
	}
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return render(b, c.frame(""), d) })
}

func queueNumbersPart(c *call) error { return c.queuePart(c.api.pages.QueueNumbers) }
func queueFailedPart(c *call) error  { return c.queuePart(c.api.pages.QueueFailed) }

// fillQueue reads what the page shows.
func (c *call) fillQueue(d *ui.Queue) error {
	if c.api.Desk == nil {
		return notFound("This node has no queue.")
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	view, err := c.api.Desk.View(ctx)
	if err != nil {
		return err
	}
	d.Node = c.api.Node.Name()
	d.Address = address(queuePath+"/failed", "reason", d.Reason, "where", d.Where)
	nodesOf(view, d)
	if c.api.Exports != nil {
		list, err := c.api.Exports.Status(ctx)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s.Parked == 0 {
				continue
			}
			d.Totals.Failed += s.Parked
			p := ui.Parked{Target: s.Target, Count: s.Parked}
			for _, e := range s.Events {
				p.Events = append(p.Events, ui.ParkedEvent{Seq: e.Seq, Type: e.Type, Reason: e.Reason, Attempts: e.Attempts, Again: e.Retry})
			}
			d.Parked = append(d.Parked, p)
		}
	}
	failed := jsonQueue(view).Failed
	if c.api.Jobs != nil {
		jobs, _ := c.api.Jobs.List(ctx) // which nodes do not answer is on the page
		var stuck []queueFailedJSON
		d.Jobs, stuck = tallyJobs(jobs)
		for _, f := range stuck {
			if !slices.ContainsFunc(failed, func(known queueFailedJSON) bool { return known.ID == f.ID }) {
				failed = append(failed, f)
				d.Totals.Failed++
			}
		}
	}
	hooks, err := c.api.webhooks(ctx)
	if err != nil {
		return err
	}
	return c.fillFailed(failed, hooks, d)
}

// webhooks gives how they do; there may be none.
func (a *API) webhooks(ctx context.Context) ([]WebhookStatus, error) {
	if a.Webhooks == nil {
		return nil, nil
	}
	return a.Webhooks.Status(ctx)
}

// tallyJobs counts jobs by kind and state, and gives those that failed.
func tallyJobs(jobs []Job) (out []ui.Jobs, failed []queueFailedJSON) {
	counts := make(map[string]map[string]int)
	for _, j := range jobs {
		if counts[j.Kind] == nil {
			counts[j.Kind] = make(map[string]int)
		}
		counts[j.Kind][j.State]++
		if j.State == jobFailed && j.QueueID != "" {
			where, _, _ := strings.Cut(j.QueueID, "/")
			failed = append(failed, queueFailedJSON{
				ID: j.QueueID, Node: where, UserID: j.Owner, Kind: j.Kind, Reason: j.Reason, FailedAt: stampOf(j.EndedAt),
			})
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		k := ui.Jobs{Kind: kind}
		for _, state := range jobStates {
			k.States = append(k.States, ui.Tally{Name: state, Count: counts[kind][state]})
		}
		out = append(out, k)
	}
	return out, failed
}

// nodesOf gives the numbers of each node, and of all.
func nodesOf(view QueueView, d *ui.Queue) {
	const minute = 60
	perSecond := 0.0
	for _, n := range view.Nodes {
		d.Nodes = append(d.Nodes, ui.QueueNode{
			Name: n.Name, Error: n.Error, Unusable: n.Unusable, Waiting: n.Waiting, Failed: n.Failed, PerMinute: int(math.Round(n.PerSecond * minute)),
			Oldest: n.OldestAge, EmptyIn: n.EmptyIn, Waited: n.Waited, Median: n.WaitHalf, P99: n.Wait99,
			Mirror: n.Mirrored, RedisUp: n.RedisUp, RedisSafe: n.RedisSafe, RedisWhy: n.RedisWhy,
		})
		if n.Error != "" {
			continue
		}
		t := &d.Totals
		t.Waiting, t.Failed, t.Oldest = t.Waiting+n.Waiting, t.Failed+n.Failed, max(t.Oldest, n.OldestAge)
		perSecond += n.PerSecond
		switch { // the slowest one counts; where it cannot be told for one, it cannot be told
		case n.EmptyIn < 0 || t.EmptyIn < 0:
			t.EmptyIn = -1
		default:
			t.EmptyIn = max(t.EmptyIn, n.EmptyIn)
		}
	}
	d.Totals.PerMinute = int(math.Round(perSecond * minute))
	if r := view.Redis; r != nil {
		d.Redis = &ui.QueueRedis{Scheduled: r.Scheduled, Pending: r.Pending, Active: r.Active, Retry: r.Retry, Archived: r.Archived}
		d.Totals.Failed += uint64(len(r.Unusable))
	}
}

// fillFailed gives what has a time of the site's: those of what failed that pass the
// filter, with what can be filtered for, and the webhooks.
func (c *call) fillFailed(failed []queueFailedJSON, hooks []WebhookStatus, d *ui.Queue) error {
	reasons, places := make(map[string]int), make(map[string]int)
	_, err := c.seen(localRead, func(tx *store.ReadTx, _ *scope) error {
		names, zone := namesOf(tx), site(tx.Params().Zone)
		for _, h := range hooks {
			row := ui.Webhook{Name: h.Name, Place: h.Place, State: h.State, Lag: h.Lag, Reason: h.Reason}
			if !h.FailedAt.IsZero() {
				row.Failed = zone.local(attendance.MillisOf(h.FailedAt))
			}
			d.Hooks = append(d.Hooks, row)
		}
		for _, f := range failed {
			reasons[f.Reason]++
			places[f.Node]++
			if d.Reason != "" && f.Reason != d.Reason || d.Where != "" && f.Node != d.Where {
				continue
			}
			row := ui.SetAside{ID: f.ID, Where: f.Node, Reason: f.Reason, Key: f.Key, Kind: f.Kind, User: f.UserID, Failed: zone.at(attendance.Millis(f.FailedAt))}
			if f.ReceivedAt != nil {
				row.Received = zone.at(attendance.Millis(*f.ReceivedAt))
			}
			var err error
			if row.Person, err = names(f.UserID); err != nil {
				return err
			}
			d.Rows = append(d.Rows, row)
		}
		return nil
	})
	d.Reasons, d.Places = tallies(reasons), tallies(places)
	return err
}

// tallies gives the counts, by name.
func tallies(counts map[string]int) (out []ui.Tally) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, ui.Tally{Name: name, Count: counts[name]})
	}
	return out
}

// pickedQueue gives the ids of the boxes that were ticked, and takes them off the
// fields.
func pickedQueue(in *posted) (ids []string) {
	for name := range in.values {
		if id, is := strings.CutPrefix(name, "pick."); is {
			delete(in.raw, name)
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// actQueuePage retries or dismisses: one by its own button, those that are ticked, or
// all that pass the filter.
func actQueuePage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	picked, act, one := pickedQueue(in), in.says("act"), in.says("one")
	reason, where, note := in.says("reason"), in.says("where"), in.says("note")
	if one != "" {
		picked, act = []string{one}, "retry"
	}
	what, all := strings.CutSuffix(act, "_all")
	if what != "retry" && what != "dismiss" {
		return invalidField("act", "is neither retry nor dismiss")
	}
	refuse := func(why error, field, code string) error {
		d := ui.Queue{Reason: reason, Where: where, Note: note}
		status := http.StatusBadRequest
		if why != nil {
			if d.Form, status, err = c.again(in.key, why); err != nil {
				return err
			}
		} else if d.Form, err = c.freshForm(); err != nil {
			return err
		}
		d.Form.Trouble = cmp.Or(code, d.Form.Trouble)
		if field != "" {
			d.Form.Wrong = append(d.Form.Wrong, field)
		}
		return c.showQueue(status, d)
	}
	if !all && len(picked) == 0 {
		return refuse(nil, "", "nothing_picked")
	}
	if what == "dismiss" && note == "" {
		return refuse(nil, "why", string(codeInvalidBody))
	}
	acts, subject, note, err := queueActs(picked, all, what == "dismiss", reason, where, note)
	if err != nil {
		return refuse(err, "why", "")
	}
	if c.api.Desk == nil {
		return notFound("This node has no queue.")
	}
	answer, err := c.actOn(in.key, acts, subject, note, what == "dismiss")
	if err != nil {
		return refuse(err, "", "")
	}
	word := map[string]string{"retry": "retried", "dismiss": "dismissed"}[what]
	return c.see(address(queuePath, "did", word, "missing", strings.Join(answer.Missing, ",")))
}

// queueActs puts what the page names as a program would, and reads it as that.
func queueActs(picked []string, all, dismiss bool, reason, where, note string) (map[string]QueueAct, string, string, error) {
	in := &object{raw: make(map[string]json.RawMessage)}
	var err error
	set := func(field string, v any) {
		var failed error
		in.raw[field], failed = json.Marshal(v)
		err = errors.Join(err, failed)
	}
	switch {
	case !all:
		set("ids", picked)
	case reason != "":
		set("reason", reason)
	default:
		set("all", true)
	}
	if note != "" {
		set("note", note)
	}
	if err != nil {
		return nil, "", "", err
	}
	acts, subject, note, err := parseQueueAct(in, dismiss)
	if everywhere, is := acts[""]; err == nil && is && where != "" {
		everywhere.Where = where
		acts, subject = map[string]QueueAct{where: everywhere}, where+" "+subject
	}
	return acts, subject, note, err
}

// retryParkedPage has events tried again that a target refused.
func retryParkedPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	all, named := in.says("all") != "", in.says("seq")
	delete(in.raw, "all")
	delete(in.raw, "seq")
	var seqs []uint64
	if !all {
		seq, err := strconv.ParseUint(named, 10, 63)
		if err != nil || seq == 0 {
			return invalidField("seq", "is no event")
		}
		seqs = []uint64{seq}
	}
	if c.api.Exports == nil {
		return notFound("Nothing is exported here.")
	}
	target, err := c.exportTarget(in.object)
	if err == nil {
		ctx, cancel := context.WithTimeout(c.r.Context(), exportBudget)
		defer cancel()
		if _, err = c.api.Exports.Retry(ctx, target, seqs); err != nil {
			err = exportProblem(err)
		}
	}
	if err != nil {
		d := ui.Queue{}
		status := 0
		if d.Form, status, err = c.again(in.key, err); err != nil {
			return err
		}
		return c.showQueue(status, d)
	}
	return c.see(address(queuePath, "did", "retried"))
}

// sinceOf gives how long something has been so.
func sinceOf(now, since time.Time) time.Duration { return max(0, now.Sub(since)) }
