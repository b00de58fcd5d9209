package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/plan"
)

const nasty = `</title><script>alert("1")</script>&'`

func sample() *Report {
	return &Report{
		Target: nasty, Front: nasty, Nodes: []string{"n1", nasty}, Seed: 7, StartedAt: time.Unix(0, 0), Rate: 20, People: 9, LastedMS: 3000,
		Faults: []Fault{
			{Episode: plan.OneNode, Kind: plan.Kill, Role: plan.Leader, Part: "n1", BeganMS: 500, EndedMS: 2500, Error: nasty},
			{Episode: nasty, Kind: nasty, Role: nasty, Part: nasty, BeganMS: -5, EndedMS: 9_000_000},
		},
		Elections: []Election{{Term: 3, Leader: nasty, AtMS: 900, LeaderlessMS: 1100}},
		Timeline: []Second{
			{AtMS: 1000, Leader: "n1", Term: 2, Up: []string{"n1"}, Sent: 20, Decided: 20},
			{AtMS: 2000, Sent: 20, Recorded: 12, Failed: 3}, {AtMS: 3000, Leader: nasty, Up: []string{nasty}, Decided: 40},
		},
		Streams: []string{nasty},
		Counts:  judge.Verdict{Sent: 60, Accepted: 40, Duplicate: 19, Queued: 1},
		GapMS:   1234,
		Checks:  []Check{{Name: "decisions"}, {Name: nasty, Note: nasty, Faults: []string{nasty}}},
	}
}

func TestLine(t *testing.T) {
	r := sample()
	want := "sent 60 = accepted 40 + duplicate 19 + review 0 + rejected 0 + queued 1, lost 0, doubled 0, longest gap 1.23 s"
	if got := r.Line(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	r.Counts.Unanswered, r.Counts.Lost = 2, 1
	if got := r.Line(); !strings.Contains(got, "queued 1 + unanswered 2, lost 1,") {
		t.Error(got)
	}
}

// TestPage: it shows everything, escaped, and needs nothing from elsewhere.
func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"FAILED", "lost 0, doubled 0", "seed 7", "&lt;script&gt;", `class="recorded"`, `class="leads"`, `class="fault"`, `class="election"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if bad := regexp.MustCompile(`(?i)<script|<link|<img|@import|url\(|\son[a-z]+=|src=|href=|ZgotmplZ|NaN|Inf\b`).FindString(page); bad != "" {
		t.Errorf("the page holds %q", bad)
	}
	// The drawing is well-formed, and lies within its box.
	svg := page[strings.Index(page, "<svg"):strings.Index(page, "</svg>")]
	d := xml.NewDecoder(strings.NewReader(svg + "</svg>"))
	for {
		token, err := d.Token()
		if token == nil {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := sample().chart()
	for _, x := range c.Boxes {
		if x.X < left || x.X+x.W > chartWidth+2 || x.W < 0 || x.H < 0 || x.Y < 0 || x.Y+x.H > float64(c.Height) {
			t.Errorf("outside of %dx%d: %+v", c.Width, c.Height, x)
		}
	}
}

func TestFitting(t *testing.T) {
	for width, want := range map[float64]string{100: "restart", 20: "re", 16: "", 2: ""} {
		if got := fitting("restart", width); got != want {
			t.Errorf("%v: %q, want %q", width, got, want)
		}
	}
	if got := fitting("x", 1000); got != "x" {
		t.Errorf("%q", got)
	}
}

func TestEmptyPage(t *testing.T) {
	var b bytes.Buffer
	if err := (&Report{OK: true}).WriteHTML(&b); err != nil || !strings.Contains(b.String(), "nothing lost") {
		t.Errorf("%v: %s", err, &b)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	names, err := sample().Save(dir)
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || back.Target != nasty || back.Counts.Accepted != 40 || len(back.Timeline) != 3 {
		t.Errorf("%v: %+v", err, back)
	}
	if _, err := sample().Save(dir + "/none"); err == nil {
		t.Error("it was saved nowhere")
	}
}
