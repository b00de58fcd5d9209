package system_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// lastSeq finds in what backup and restore print up to which event they went.
var lastSeq = regexp.MustCompile(`events up to (\d+)`)

func seqIn(t *testing.T, out string) uint64 {
	t.Helper()
	m := lastSeq.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no last event in %q", out)
	}
	seq, err := strconv.ParseUint(m[1], 10, 64)
	must(t, err)
	return seq
}

// upTo gives the operations whose decision is in a backup.
func upTo(ops []*harness.Op, seq uint64) []*harness.Op {
	return slices.DeleteFunc(slices.Clone(ops), func(op *harness.Op) bool { return !op.Final() || op.Answer.Sync.Seq > seq })
}

// ownCluster is a cluster for one test.
func ownCluster(t *testing.T, o harness.Options) *harness.Cluster {
	t.Helper()
	o.Bin, o.Dir = bin, t.TempDir()
	c, err := harness.New(o)
	must(t, err)
	t.Cleanup(func() {
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
		c.Close()
	})
	must(t, c.Up(within(t, 40*time.Second)))
	return c
}

// upload posts a file as it is, past the checks of the command line.
func upload(t *testing.T, c harness.Client, content []byte) (status int, code string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 30*time.Second), "POST", c.Base+"/api/v1/restore", bytes.NewReader(content))
	must(t, err)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := c.HTTP.Do(req)
	must(t, err)
	defer resp.Body.Close()
	var p struct{ Code string }
	must(t, json.NewDecoder(resp.Body).Decode(&p))
	return resp.StatusCode, p.Code
}

type epochs struct {
	Epoch string `json:"epoch"`
}

// TestABackupUnderLoadIsRestored: every check-in up to the backup's last event is in
// another cluster afterwards, on every node.
func TestABackupUnderLoadIsRestored(t *testing.T) {
	c := cluster(t)
	_, others, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	load := c.Load(harness.LoadConfig{Rate: rate})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), 2*rate))
	dir := t.TempDir()
	file := filepath.Join(dir, "monday.backup")
	take := func() (string, error) { return recipe(t, "Take a backup", "", dir, "", c.At(others[0])) }
	out, err := take()
	if err != nil {
		t.Fatalf("hadir backup: %v", err)
	}
	must(t, load.Progress(within(t, 20*time.Second), rate)) // what the backup does not have
	ops := load.Stop()
	seq := seqIn(t, out)
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the backup: %v", info.Mode())
	}
	good, err := os.ReadFile(file)
	must(t, err)
	if out, err := take(); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("over a file that is there: %v\n%s", err, out)
	}
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, good) {
		t.Errorf("it was written over: %v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}

	to := ownCluster(t, harness.Options{Prefix: "r", Students: 5})
	_, followers, err := to.Leader(within(t, 10*time.Second), "")
	must(t, err)
	restore := func(file string) (string, error) {
		return command(t, "restore", file, "--url", followers[0].URL, "--token", to.Admin.Token)
	}
	before := epochs{}
	must(t, to.Admin.Get(within(t, 10*time.Second), "/api/v1/cluster", &before))
	for name, change := range map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[len(b)/3] ^= 4; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-5] },
	} {
		bad := change(bytes.Clone(good))
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, bad, 0o600))
		if out, err := restore(path); err == nil || !strings.Contains(out, "backup is damaged") {
			t.Errorf("a %s backup: %v\n%s", name, err, out)
		}
		if status, code := upload(t, to.At(followers[0]), bad); status != 422 || code != "invalid_backup" {
			t.Errorf("a %s backup, sent all the same: %d %s", name, status, code)
		}
	}
	after := epochs{}
	must(t, to.Admin.Get(within(t, 10*time.Second), "/api/v1/cluster", &after))
	if after != before {
		t.Errorf("a bad backup changed the epoch: %v, before %v", after, before)
	}

	start := time.Now()
	if _, err = recipe(t, "Restore a backup", "", dir, "", to.At(followers[0])); err != nil {
		t.Fatalf("hadir restore: %v", err)
	}
	t.Logf("restored in %s", time.Since(start).Round(time.Millisecond))
	for _, n := range to.Nodes {
		for what, token := range map[string]string{"new": to.Admin.Token, "old": c.Admin.Token} {
			client := to.At(n)
			client.Token = token
			if a := do(t, client, "GET", "/api/v1/session", "", nil); a.Status != 401 {
				t.Errorf("a session of the %s cluster at %s: %s", what, n.ID, a)
			}
		}
	}
	to.Admin.Token = ""
	must(t, to.Healthy(within(t, 40*time.Second))) // signs in, with the password of the backup
	must(t, to.Admin.Get(within(t, 10*time.Second), "/api/v1/cluster", &after))
	if after == before || !strings.HasSuffix(after.Epoch, "-2") {
		t.Errorf("epoch %v after the restore, %v before", after, before)
	}
	kept := upTo(ops, seq)
	if len(kept) < rate {
		t.Fatalf("only %d of %d operations are in the backup", len(kept), len(ops))
	}
	judge(t, to, kept)
	t.Logf("%d of %d operations were in the backup", len(kept), len(ops))
	user, kind := c.Fresh()
	tap(t, to.At(to.Nodes[2]), "", harness.Tap{User: user, Type: kind})
	if out, err := restore(file); err == nil {
		t.Errorf("a second restore, signed out: %s", out)
	}
	out, err = command(t, "restore", file, "--url", followers[0].URL, "--token", to.Admin.Token)
	if err == nil || !strings.Contains(out, "not_empty") {
		t.Errorf("a second restore: %v\n%s", err, out)
	}
	judge(t, to, kept)
}

// digests gives the digest of every file below a directory.
func digests(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	}))
	return out
}

// TestOneOfThreeIsRecovered: two of three nodes are gone for good.
func TestOneOfThreeIsRecovered(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, harness.Options{Prefix: "v", Students: 100})
	load := c.Load(harness.LoadConfig{Rate: rate})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), rate))
	ops := load.Stop()
	survivor, lost, err := c.Leader(within(t, 10*time.Second), "") // who surely has everything that was acknowledged
	must(t, err)
	if out, err := command(t, "recover", survivor.Dir, "--yes-i-understand", "recover "+survivor.ID); err == nil || !strings.Contains(out, "in use") {
		t.Errorf("of a node that runs: %v\n%s", err, out)
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
	before := digests(t, survivor.Dir)
	out, err := command(t, "inspect", survivor.Dir, "--json")
	var looked struct {
		Name    string `json:"name"`
		Records int    `json:"records"`
		Epoch   int    `json:"epoch"`
		Servers []any  `json:"servers"`
		Events  []any  `json:"events"`
	}
	if err != nil || json.Unmarshal([]byte(out), &looked) != nil || looked.Name != survivor.ID || looked.Records < rate/2 ||
		looked.Epoch != 1 || len(looked.Servers) != 3 || len(looked.Events) != 10 {
		t.Errorf("hadir inspect: %v\n%s", err, out)
	}
	if out, err := command(t, "recover", survivor.Dir, "--yes-i-understand", "recover it"); err == nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("with another phrase: %v\n%s", err, out)
	}
	if got := digests(t, survivor.Dir); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Error("looking and refusing changed files")
	}
	dir := t.TempDir()
	must(t, os.Symlink(survivor.Dir, filepath.Join(dir, "data")))
	if _, err := recipe(t, "Look at a stopped node", "", dir, "", harness.Client{}); err != nil {
		t.Errorf("hadir inspect: %v", err)
	}
	if _, err := recipe(t, "Recover the last survivor", "hadir", dir, "recover "+survivor.ID+"\n", harness.Client{}); err != nil {
		t.Fatalf("hadir recover: %v", err)
	}
	must(t, survivor.Start())
	must(t, c.Ready(within(t, 40*time.Second)))
	alone := map[string]harness.Client{survivor.ID: c.At(survivor)}
	v, err := harness.Judge(within(t, 60*time.Second), alone, ops)
	must(t, err)
	if len(v.Faults) > 0 {
		t.Errorf("the judgement: %s", v)
	}

	// A node of before does not come back.
	must(t, lost[0].Start())
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		if !strings.Contains(lost[0].Log(), "left behind by a recovery") {
			return fmt.Errorf("%s has not been told that it was left behind", lost[0].ID)
		}
		return nil
	}))
	view, err := c.At(survivor).View(within(t, 10*time.Second))
	if err != nil || len(view.Nodes) != 1 || view.Quorum != 1 {
		t.Errorf("the recovered cluster: %+v, %v", view, err)
	}
	lost[0].Kill()

	// Emptied, both join as new nodes.
	for _, n := range lost {
		there := t.TempDir()
		must(t, os.Rename(n.Dir, filepath.Join(there, "data")))
		if _, err := recipe(t, "Recover the last survivor", "mv", there, "", harness.Client{}); err != nil {
			t.Fatal(err)
		}
		must(t, n.Start())
	}
	must(t, harness.Await(within(t, 40*time.Second), func() error {
		view, err := c.At(survivor).View(within(t, 5*time.Second))
		if err == nil && view.Quorum != 2 {
			err = fmt.Errorf("%d nodes, quorum %d", len(view.Nodes), view.Quorum)
		}
		return err
	}))
	judge(t, c, ops)
}
