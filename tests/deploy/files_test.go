package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestEveryFileParses: a file that nobody could load would be found by an operator.
func TestEveryFileParses(t *testing.T) {
	paths := []string{filepath.Join(root, "docker-compose.yml")}
	err := filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch filepath.Ext(path) {
		case ".json":
			parsed++
			if !json.Valid(b) {
				t.Errorf("%s is no JSON", path)
			}
		case ".yml", ".yaml":
			parsed++
			for dec := yaml.NewDecoder(bytes.NewReader(b)); ; {
				var doc any
				if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("%s: %v", path, err)
					break
				}
			}
		}
	}
	if parsed < 6 {
		t.Errorf("only %d files were parsed", parsed)
	}
}

// rule is one alert.
type rule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) (out []rule) {
	t.Helper()
	var doc struct {
		Groups []struct {
			Name  string
			Rules []struct {
				rule `yaml:",inline"`
				For  string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(file(t, "deploy/prometheus/rules.yml")))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for _, g := range doc.Groups {
		for _, r := range g.Rules {
			out = append(out, r.rule)
		}
	}
	return out
}

// TestEveryAlertIsExplained: at six in the morning a name must lead to a recipe.
func TestEveryAlertIsExplained(t *testing.T) {
	docs := file(t, "docs/operations.md")
	seen := make(map[string]bool)
	for _, r := range rules(t) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
		if !strings.Contains(docs, "`"+r.Alert+"`") {
			t.Errorf("%s is not explained in docs/operations.md", r.Alert)
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d alerts", len(seen))
	}
	for _, name := range regexp.MustCompile("`(Hadir[A-Za-z]+)`").FindAllStringSubmatch(docs, -1) {
		if !seen[name[1]] {
			t.Errorf("docs/operations.md explains %s, which is no alert", name[1])
		}
	}
}

// dashboard gives the expressions of the dashboard, by panel.
func dashboard(t *testing.T) map[string][]string {
	t.Helper()
	var doc struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
	}
	if err := json.Unmarshal([]byte(file(t, "deploy/grafana/dashboards/hadir.json")), &doc); err != nil {
		t.Fatal(err)
	}
	out, ids := make(map[string][]string), make(map[int]bool)
	for _, p := range doc.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: its number is taken or it is off the page", p.Title)
		}
		ids[p.ID] = true
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], target.Expr)
		}
	}
	for _, a := range doc.Annotations.List {
		out[a.Name] = append(out[a.Name], a.Expr)
	}
	return out
}

// TestRulesLoad has Prometheus' own tool look at the rules, at every expression of
// the dashboard, and at how the rules behave.
func TestRulesLoad(t *testing.T) {
	needs(t, "promtool", installed("promtool"))
	promtool := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	promtool("check", "config", filepath.Join(root, "deploy/prometheus/prometheus.yml"))
	promtool("test", "rules", "alerts.yml")
	type record struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var records []record
	for _, panel := range dashboard(t) {
		for _, expr := range panel {
			records = append(records, record{fmt.Sprintf("panel:%d", len(records)), strings.ReplaceAll(expr, "$__rate_interval", "1m")})
		}
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool("check", "rules", path)
}
