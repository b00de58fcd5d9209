package system_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// upgradeFrom names the revision that a rolling upgrade begins with; HADIR_UPGRADE_FROM
// changes it.
const upgradeFrom = "HEAD~1"

// runIn runs a tool in a directory and gives what it says.
func runIn(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// compile builds the command of a source tree as a release is built, so that what
// has not changed between two of them is compiled once.
func compile(t *testing.T, tree string, flags ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hadir")
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", path}, flags...)
	start := time.Now()
	_, err := runIn(within(t, 5*time.Minute), tree, "go", append(args, "./cmd/hadir")...)
	must(t, err)
	t.Logf("%s built in %.1f s", strings.Join(append(flags, tree), " "), time.Since(start).Seconds())
	return path
}

// earlier builds the revision before this one. A tree without its history has none.
func earlier(t *testing.T) (path string) {
	t.Helper()
	revision := cmp.Or(os.Getenv("HADIR_UPGRADE_FROM"), upgradeFrom)
	tree := t.TempDir()
	archive := filepath.Join(t.TempDir(), "source.tar")
	// A clone may belong to somebody else, as in CI; nothing of it is executed here.
	_, err := runIn(within(t, patience), "../..", "git", "-c", "safe.directory=*", "archive", "--format=tar", "--output="+archive, revision)
	if err != nil {
		harness.LeaveOut(t, "history", err)
	}
	_, err = runIn(within(t, patience), tree, "tar", "-xf", archive)
	must(t, err)
	return compile(t, tree)
}

// declaredLevel is where the command level is declared.
var declaredLevel = regexp.MustCompile(`(?m)^const Level uint32 = (\d+)$`)

// later builds this source with a command level that is one higher, and gives that.
func later(t *testing.T) (path string, level int) {
	t.Helper()
	source, err := filepath.Abs("../../attendance/command.go")
	must(t, err)
	text, err := os.ReadFile(source)
	must(t, err)
	m := declaredLevel.FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s does not declare the command level as %s", source, declaredLevel)
	}
	level, err = strconv.Atoi(string(m[1]))
	must(t, err)
	level++
	dir := t.TempDir()
	changed := filepath.Join(dir, "command.go")
	must(t, os.WriteFile(changed, declaredLevel.ReplaceAll(text, fmt.Appendf(nil, "const Level uint32 = %d", level)), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	must(t, err)
	list := filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(list, overlay, 0o600))
	return compile(t, "../..", "-overlay", list), level
}

// knows gives the command level that a binary supports.
func knows(t *testing.T, program string) int {
	t.Helper()
	out, err := runIn(within(t, patience), ".", program, "version")
	must(t, err)
	var level int
	_, line, _ := strings.Cut(out, "\ncommand ")
	if _, err := fmt.Sscanf(line, "level %d", &level); err != nil {
		t.Fatalf("%q names no command level: %v", out, err)
	}
	return level
}

// uses gives the command level in the state of a stopped node.
func uses(t *testing.T, n *harness.Node) int {
	t.Helper()
	out, err := command(t, "inspect", n.Dir, "--json")
	must(t, err)
	var looked struct {
		Level int `json:"level"`
	}
	if err := json.Unmarshal([]byte(out), &looked); err != nil || looked.Level == 0 {
		t.Fatalf("hadir inspect: %v\n%s", err, out)
	}
	return looked.Level
}

// installed is where the nodes of a cluster have their program: a link, so that
// another one is installed while they run.
type installed struct{ path string }

func (i installed) install(t *testing.T, program string) {
	t.Helper()
	next := i.path + ".new"
	must(t, os.Symlink(program, next))
	must(t, os.Rename(next, i.path))
}

// TestRollingUpgrade goes from the program of the revision before this one to this
// one, and on to one of the next command level, node by node, under load and with
// clients of the stream. Every tap is decided, nobody meets a 5xx, and the level is
// raised when the last node supports it and not before. Then there is no way back.
func TestRollingUpgrade(t *testing.T) {
	harness.Turn(t, 2, 3)
	shared.drop() // there are enough processes for two cores
	before := earlier(t)
	next, level := later(t)
	if got, this := knows(t, next), knows(t, bin); got != level || this != level-1 {
		t.Fatalf("programs of level %d and %d, want %d and %d", this, got, level-1, level)
	}
	program := installed{filepath.Join(t.TempDir(), "hadir")}
	program.install(t, before)
	c, err := harness.New(harness.Options{Bin: program.path, Dir: t.TempDir(), Prefix: "u", Students: 200})
	must(t, err)
	furnish(t, c)
	t.Cleanup(func() {
		c.Close()
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	must(t, c.Up(within(t, patience)))
	follower := c.Follow("an admin", c.Admin, true, 0)
	t.Cleanup(follower.Stop)
	must(t, follower.Reached(within(t, patience), 1))
	load := c.Load(harness.LoadConfig{Rate: rate, Patience: patience})
	t.Cleanup(func() { load.Stop() })

	used := knows(t, before)
	for _, to := range []string{bin, next} {
		goal := min(knows(t, to), level)
		program.install(t, to)
		for i, n := range c.Nodes {
			// Two seconds' worth: the leader looks every second whether it may raise.
			must(t, load.Progress(within(t, patience), 2*rate))
			code, took, err := n.Stop(within(t, patience))
			if err != nil || code != 0 {
				t.Fatalf("%s was asked to stop: code %d, %v", n.ID, code, err)
			}
			if got := uses(t, n); got != used {
				t.Errorf("%s, the %d. of %d, has command level %d and was not upgraded yet, want %d", n.ID, i+1, len(c.Nodes), got, used)
			}
			must(t, n.Start())
			follow(t, c, n, recipeRestart, "")
			t.Logf("%s stopped in %.1f s and is back", n.ID, took.Seconds())
		}
		if goal > used {
			must(t, harness.Await(within(t, patience), func() error {
				if !strings.Contains(c.Log(), "the command level was raised") {
					return fmt.Errorf("the command level was not raised to %d", goal)
				}
				return nil
			}))
		}
		used = goal
	}
	must(t, load.Progress(within(t, patience), rate))
	ops := load.Stop()
	judge(t, c, ops)
	undisturbed(t, ops)
	log, err := c.Admin.Events(within(t, patience), 0)
	must(t, err)
	must(t, follower.Reached(within(t, patience), log[len(log)-1].Seq))
	follower.Stop()
	for _, fault := range follower.Check(log, func(harness.Frame) bool { return true }) {
		t.Error(fault)
	}
	t.Log(follower)

	t.Run("there is no way back", func(t *testing.T) {
		n := c.Nodes[2]
		_, _, err := n.Stop(within(t, patience))
		must(t, err)
		if got := uses(t, n); got != level {
			t.Errorf("command level %d after the last node was upgraded, want %d", got, level)
		}
		program.install(t, bin)
		must(t, n.Start())
		code, err := n.Proc().Wait(within(t, patience))
		must(t, err)
		if said := n.Proc().Stderr.String(); code != 1 || !strings.Contains(said, fmt.Sprintf("command level %d", level)) || !strings.Contains(said, "install") {
			t.Errorf("a program of level %d in a cluster of level %d: code %d\n%s", level-1, level, code, said)
		}
		program.install(t, next)
		must(t, n.Start())
		judge(t, c, ops)
	})
}
