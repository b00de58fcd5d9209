package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

// WriteHTML writes the page. Everything that it shows is escaped for its place.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"seconds": func(ms int64) string { return fmt.Sprintf("%.2f s", float64(ms)/1000) },
		"at":      func(ms int64) string { return fmt.Sprintf("%.1f", float64(ms)/1000) },
		"moment":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		*Report
		Line  string
		Chart chart
	}{r, r.Line(), r.chart()})
}

// The measures of the chart, in its own units.
const (
	chartWidth = 1000
	left       = 90 // for the names of lanes
	top        = 10
	barsHeight = 120
	laneHeight = 18
	laneGap    = 4
)

// chart is the timeline, laid out. Its parts are drawn in order.
type chart struct {
	Width, Height, Left int
	Boxes               []box
	Labels              []label
	Ticks               []tick
	Elections           []tick
	BarsBottom          int
}

type box struct {
	X, Y, W, H float64
	Class      string
	Title      string
	Text       string
}

type label struct {
	X, Y float64
	Text string
}

type tick struct {
	X    float64
	Text string
}

func (r *Report) chart() chart {
	c := chart{Width: chartWidth, Left: left, BarsBottom: top + barsHeight}
	span := max(1, r.LastedMS)
	if n := len(r.Timeline); n > 0 {
		span = max(span, r.Timeline[n-1].AtMS)
	}
	for _, f := range r.Faults {
		span = max(span, f.EndedMS)
	}
	x := func(ms int64) float64 {
		return left + float64(min(max(0, ms), span))*(chartWidth-left)/float64(span)
	}
	c.bars(r.Timeline, x)
	y := float64(c.BarsBottom + 24)
	for _, node := range r.Nodes {
		c.lane(node, y)
		last := int64(0)
		for _, s := range r.Timeline {
			class, what := "down", "does not answer"
			if slices.Contains(s.Up, node) {
				class, what = "up", "answers"
			}
			if s.Leader == node && class == "up" {
				class, what = "leads", fmt.Sprintf("leads, term %d", s.Term)
			}
			c.Boxes = append(c.Boxes, box{x(last), y, x(s.AtMS) - x(last), laneHeight, class, node + " " + what, ""})
			last = s.AtMS
		}
		y += laneHeight + laneGap
	}
	y += laneGap
	for _, part := range r.parts() {
		c.lane("fault "+part, y)
		for _, f := range r.Faults {
			if f.Part != part {
				continue
			}
			title := fmt.Sprintf("%s %s (%s), %.1f … %.1f s. %s", f.Kind, f.Part, f.Episode, float64(f.BeganMS)/1000, float64(f.EndedMS)/1000, f.Error)
			width := max(2, x(f.EndedMS)-x(f.BeganMS))
			c.Boxes = append(c.Boxes, box{x(f.BeganMS), y, width, laneHeight, "fault", strings.TrimSpace(title), fitting(string(f.Kind), width)})
		}
		y += laneHeight + laneGap
	}
	for _, e := range r.Elections {
		c.Elections = append(c.Elections, tick{x(e.AtMS), fmt.Sprintf("term %d: %s, after %.2f s without a leader", e.Term, e.Leader, float64(e.LeaderlessMS)/1000)})
	}
	c.Height = int(y) + laneGap
	for ms, step := int64(0), stepOf(span); ms <= span; ms += step {
		c.Ticks = append(c.Ticks, tick{x(ms), fmt.Sprintf("%d s", ms/1000)})
	}
	return c
}

// fitting gives as much of a word as fits: all, two letters, which tell the kinds
// apart, or nothing.
func fitting(word string, width float64) string {
	const letter, margin = 6.5, 4
	for _, n := range []int{len(word), 2} {
		if n <= len(word) && float64(n)*letter+margin <= width {
			return word[:n]
		}
	}
	return ""
}

// bars draws what became of the taps of each second.
func (c *chart) bars(seconds []Second, x func(int64) float64) {
	most := 1
	for _, s := range seconds {
		most = max(most, s.Decided+s.Recorded, s.Sent)
	}
	height := func(n int) float64 { return float64(n) * barsHeight / float64(most) }
	last := int64(0)
	for _, s := range seconds {
		from, width := x(last), max(1, x(s.AtMS)-x(last)-1)
		title := fmt.Sprintf("%.0f s: sent %d, decided %d, recorded %d, requests without either %d; reads %d of %d", float64(s.AtMS)/1000,
			s.Sent, s.Decided, s.Recorded, s.Failed, s.Answered, s.Reads)
		bottom := float64(c.BarsBottom)
		for _, part := range []struct {
			class string
			n     int
		}{{"decided", s.Decided}, {"recorded", s.Recorded}} {
			h := height(part.n)
			bottom -= h
			c.Boxes = append(c.Boxes, box{from, bottom, width, h, part.class, title, ""})
		}
		if s.Failed > 0 {
			c.Boxes = append(c.Boxes, box{from, float64(c.BarsBottom) + 1, width, 4, "failed", title, ""})
		}
		last = s.AtMS
	}
	c.Labels = append(c.Labels, label{0, top + 10, fmt.Sprintf("%d/s", most)}, label{0, float64(c.BarsBottom), "taps"})
}

func (c *chart) lane(name string, y float64) {
	c.Labels = append(c.Labels, label{0, y + laneHeight - 5, name})
}

// parts gives the parts that had faults, by name.
func (r *Report) parts() (parts []string) {
	for _, f := range r.Faults {
		if f.Part != "" && !slices.Contains(parts, f.Part) {
			parts = append(parts, f.Part)
		}
	}
	slices.Sort(parts)
	return parts
}

// stepOf gives a distance of marks that leaves about ten of them.
func stepOf(span int64) int64 {
	for _, step := range []int64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600} {
		if span/(step*1000) <= 12 {
			return step * 1000
		}
	}
	return 1_800_000
}
