package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi/today"
	"hadir/store"
)

// statsJSON is the site's day so far. in and out count records, the others
// people.
type statsJSON struct {
	Date     string            `json:"date"`
	TimeZone string            `json:"time_zone"`
	In       uint64            `json:"in"`
	Out      uint64            `json:"out"`
	People   headsJSON         `json:"people"`
	Types    map[string]uint64 `json:"types"`
	Nodes    []nodeCountJSON   `json:"nodes"`
	Minutes  []minuteCountJSON `json:"minutes"`
	Groups   []groupCountJSON  `json:"groups"`
	freshJSON
}

// headsJSON are people, each once.
type headsJSON struct {
	Arrived int `json:"arrived"`
	Left    int `json:"left"`
	Present int `json:"present"`
}

type nodeCountJSON struct {
	NodeID string `json:"node_id"`
	In     uint64 `json:"in"`
	Out    uint64 `json:"out"`
}

type minuteCountJSON struct {
	Minute int    `json:"minute"` // of the site's day
	In     uint64 `json:"in"`
	Out    uint64 `json:"out"`
}

type groupCountJSON struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Members uint64 `json:"member_count"`
	headsJSON
}

// getStatsToday gives the counters of the day. Groups are those of the visitor's
// scope; the totals are everybody's.
func getStatsToday(c *call) error {
	q, err := c.query(readParams...)
	if err != nil {
		return err
	}
	how := q.read()
	if err := q.done(); err != nil {
		return err
	}
	var out statsJSON
	fresh, err := c.counted(how, func(tx *store.ReadTx, totals today.Totals) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		out = jsonStats(tx.Stats(totals.Day), totals)
		out.TimeZone = tx.Params().Zone.Name
		out.Groups, err = s.groupCounts(totals)
		return err
	})
	if err != nil {
		return err
	}
	out.freshJSON = jsonFresh(fresh)
	return c.json(http.StatusOK, out)
}

// counted runs f with the totals of the day, as fresh as asked. Until the counter
// is there, which is long only after a start or at midnight, each step of it is a
// read of its own.
func (c *call) counted(how cluster.Read, f func(*store.ReadTx, today.Totals) error) (cluster.Freshness, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	for {
		there := false
		fresh, err := c.read(how, func(tx *store.ReadTx) error {
			totals, done, err := c.api.today.Step(tx, attendance.MillisOf(c.api.Clock.Now()))
			if err != nil || !done {
				return err
			}
			there = true
			return f(tx, totals)
		})
		if err != nil || there {
			return fresh, err
		}
		if ctx.Err() != nil {
			return fresh, fmt.Errorf("the day is still being counted: %w", ctx.Err())
		}
		how = cluster.Read{MinIndex: fresh.Index}
	}
}

func jsonStats(day store.DayStats, totals today.Totals) statsJSON {
	out := statsJSON{
		Date: totals.Day.String(), People: headsJSON(totals.People), Types: make(map[string]uint64), Nodes: []nodeCountJSON{}, Minutes: []minuteCountJSON{},
	}
	for typ, n := range day.Types {
		out.Types[typ.String()] = n
	}
	in, gone := day.Nodes[attendance.In], day.Nodes[attendance.Out]
	for _, id := range both(in, gone) {
		out.Nodes = append(out.Nodes, nodeCountJSON{id, in[id], gone[id]})
		out.In, out.Out = out.In+in[id], out.Out+gone[id]
	}
	arrivals, departures := day.Minutes[attendance.In], day.Minutes[attendance.Out]
	for _, minute := range both(arrivals, departures) {
		out.Minutes = append(out.Minutes, minuteCountJSON{minute, arrivals[minute], departures[minute]})
	}
	return out
}

// both gives the keys of two maps in order.
func both[K string | int](a, b map[K]uint64) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// groupCounts gives the groups within the scope, by id.
func (s *scope) groupCounts(totals today.Totals) ([]groupCountJSON, error) {
	out := []groupCountJSON{}
	add := func(g attendance.Group) {
		out = append(out, groupCountJSON{ID: g.ID, Name: g.Name, Kind: g.Kind.String(), Members: g.Members, headsJSON: headsJSON(totals.Groups[g.ID])})
	}
	if !s.everybody() {
		for _, id := range s.groups {
			g, err := s.tx.Group(id)
			if err != nil {
				return nil, err
			}
			add(g)
		}
		return out, nil
	}
	for after := uint64(0); ; {
		page, err := s.tx.Groups(after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, g := range page {
			add(g)
			after = g.ID
		}
		if len(page) < store.MaxPage {
			return out, nil
		}
	}
}
