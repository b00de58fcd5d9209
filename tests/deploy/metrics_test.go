package deploy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// exported is what a node tells Prometheus: of each family its type and the
// labels of its samples.
type exported map[string]*family

type family struct {
	kind   string
	labels []map[string]string
}

var (
	sampleLine = regexp.MustCompile(`^([a-z_][a-z0-9_]*)(?:\{(.*)\})? `)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

func parseMetrics(t *testing.T, text string) exported {
	t.Helper()
	out := make(exported)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			out[name] = &family{kind: kind}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := out.family(m[1])
		if f == nil {
			t.Fatalf("a sample without a type: %s", line)
		}
		labels := make(map[string]string)
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			labels[pair[1]] = pair[2]
		}
		f.labels = append(f.labels, labels)
	}
	return out
}

// family finds the family of a series: those of a histogram have suffixes.
func (e exported) family(series string) *family {
	if f := e[series]; f != nil && f.kind != "histogram" {
		return f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(series, suffix); ok {
			if f := e[name]; f != nil && (f.kind == "histogram" || f.kind == "summary") {
				return f
			}
		}
	}
	return nil
}

var (
	selector = regexp.MustCompile(`\b(hadir_[a-z0-9_]+|process_[a-z0-9_]+|go_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(=~|=|!=|!~)"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// wrong says what an expression asks for that no node has.
func (e exported) wrong(expr string) error {
	series := selector.FindAllStringSubmatch(expr, -1)
	if len(series) == 0 && !strings.Contains(expr, "up{") {
		return fmt.Errorf("it asks for nothing of ours")
	}
	known := map[string]bool{"job": true, "instance": true, "le": true} // Prometheus' own
	for _, s := range series {
		f := e.family(s[1])
		if f == nil {
			return fmt.Errorf("no node exports %s", s[1])
		}
		for _, l := range f.labels {
			for name := range l {
				known[name] = true
			}
		}
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if m[1] == "job" {
				continue
			}
			if !slices.ContainsFunc(f.labels, func(l map[string]string) bool {
				value, there := l[m[1]]
				return there && (m[2] != "=" || value == m[3])
			}) {
				return fmt.Errorf("no series of %s has %s%s%q", s[1], m[1], m[2], m[3])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			if name = strings.TrimSpace(name); !known[name] {
				return fmt.Errorf("it groups by %s, which no series has", name)
			}
		}
	}
	return nil
}

// node is one node with everything that it can measure.
type node struct{ url string }

func startNode(t *testing.T) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	ports, err := harness.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("a long enough password"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &node{url: "http://" + harness.Loopback(ports)}
	proc, err := harness.Start("node", program(t), []string{
		"serve", "--node-id=node-1", "--data-dir=" + filepath.Join(dir, "data"), "--http-addr=" + harness.Loopback(ports),
		"--peer-addr=" + harness.Loopback(ports+1), "--gossip-addr=" + harness.Loopback(ports+2),
		"--admin-email=admin@deploy.example", "--admin-password-file=" + password, "--min-free-mib=1",
		// Nobody listens there, which is measured too.
		"--redis-url=redis://" + harness.Loopback(ports+3) + "/0", "--export-url=sqlite://" + filepath.Join(dir, "copy.db"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proc.Kill)
	if err := harness.Await(ctx, func() error {
		if proc.Ended() {
			return fmt.Errorf("the node ended")
		}
		_, err := n.get(ctx, "/readyz", "")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) get(ctx context.Context, path, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, b)
	}
	return string(b), err
}

// TestEveryMetricExists holds every expression of the rules and of the dashboard
// against a node that has signed somebody in and decided a check-in.
func TestEveryMetricExists(t *testing.T) {
	n := startNode(t)
	admin := client{t: t, http: http.DefaultClient, base: n.url}
	admin.signIn("admin@deploy.example", "a long enough password")
	if status, body := admin.checkIn(harness.Key()); status != http.StatusCreated {
		t.Fatalf("check-in: %d %s", status, body)
	}
	text, err := n.get(t.Context(), "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	has := parseMetrics(t, text)
	asked := 0
	for _, r := range rules(t) {
		asked++
		if err := has.wrong(r.Expr); err != nil {
			t.Errorf("alert %s: %v", r.Alert, err)
		}
	}
	panels := dashboard(t)
	for _, name := range slices.Sorted(maps.Keys(panels)) {
		for _, expr := range panels[name] {
			asked++
			if err := has.wrong(expr); err != nil {
				t.Errorf("panel %q: %v", name, err)
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d expressions were looked at", asked)
	}
	// The check itself notices.
	for _, expr := range []string{
		"hadir_nothing", "hadir_commit_seconds", "up == 0", `hadir_store_logs_seconds_bucket{op="no such"}`,
		`hadir_checkins_total{result="accepted"}`, "sum by (target) (hadir_stale)", "hadir_stale_bucket",
	} {
		if has.wrong(expr) == nil {
			t.Errorf("%s passes", expr)
		}
	}
}
