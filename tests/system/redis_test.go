package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"hadir/tests/system/harness"
)

// startRedis starts a Redis of our own that keeps what it was given, or leaves the
// test out.
func startRedis(t *testing.T) (addr string, client *redis.Client) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		harness.LeaveOut(t, "redis", err.Error())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr = l.Addr().String()
	must(t, l.Close())
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	must(t, cmd.Start())
	client = redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() {
		client.Close()     //nolint:errcheck // test
		cmd.Process.Kill() //nolint:errcheck // test
		cmd.Wait()         //nolint:errcheck // killed
	})
	must(t, harness.Await(within(t, 20*time.Second), func() error { return client.Ping(context.Background()).Err() }))
	return addr, client
}

// TestRedisOutlivesTheDisk: two of three nodes are killed, the survivor records on
// its disk and in Redis, which is flushed in between; then the survivor and its disk
// are lost. The others decide what Redis has, each tap once and as of its time.
func TestRedisOutlivesTheDisk(t *testing.T) {
	const taps = 60
	addr, db := startRedis(t)
	c, err := harness.New(harness.Options{
		Bin: bin, Dir: filepath.Join(tmp, "redis"), Students: taps/2 + 1, Prefix: "r", Args: []string{"--redis-url", "redis://" + addr + "/0"},
	})
	must(t, err)
	t.Cleanup(func() {
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
		c.Close()
	})
	must(t, c.Up(within(t, 60*time.Second)))
	survivor, others := c.Nodes[2], c.Nodes[:2]
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		if !strings.Contains(survivor.Log(), "redis takes copies") {
			return fmt.Errorf("%s does not say that redis takes copies", survivor.ID)
		}
		return nil
	}))
	for _, n := range others {
		n.Kill()
	}
	alone(t, c.At(survivor))

	var receipts []*receipt
	record := func(n int) {
		for range n {
			i := len(receipts)
			r := &receipt{user: uint64(harness.FirstStudent + i/2), kind: []string{"in", "out"}[i%2], key: harness.Key()}
			a := do(t, c.At(survivor), "POST", "/api/v1/checkins", r.key, harness.Tap{Type: r.kind, User: r.user})
			if a.Status != 202 || json.Unmarshal(a.Body, r) != nil || r.Status != "queued" {
				t.Fatalf("check-in without a quorum: %s", a)
			}
			receipts = append(receipts, r)
			if i == 0 && (len(r.Copies) != 2 || r.Copies[1].Where != "redis" || !r.Copies[1].Fsync) {
				t.Fatalf("copies: %s", a)
			}
		}
	}
	record(taps / 2)
	must(t, db.FlushAll(context.Background()).Err())
	record(taps / 2)
	inspector := asynq.NewInspectorFromRedisClient(db)
	name := ""
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		queues, err := inspector.Queues()
		if err != nil || len(queues) != 1 {
			return fmt.Errorf("queues: %v, %w", queues, err)
		}
		name = queues[0]
		info, err := inspector.GetQueueInfo(name)
		if err == nil && info.Size != taps {
			err = fmt.Errorf("redis has %d copies after it was flushed, want %d", info.Size, taps)
		}
		return err
	}))
	// Something that nobody can use, in front of the others.
	_, err = asynq.NewClientFromRedisClient(db).Enqueue(asynq.NewTask("checkin", []byte("rubbish")), asynq.Queue(name), asynq.TaskID("rubbish"))
	must(t, err)

	survivor.Kill()
	must(t, os.RemoveAll(survivor.Dir))
	for _, n := range others {
		must(t, n.Start())
	}
	back := time.Now()
	must(t, c.Healthy(within(t, 40*time.Second)))
	for i, r := range receipts {
		var d harness.Decision
		at := c.At(others[i%2])
		must(t, harness.Await(within(t, 60*time.Second), func() error {
			a := do(t, at, "GET", keyPath(r), "", nil)
			if err := json.Unmarshal(a.Body, &d); err != nil || a.Status != 200 || d.Status == "queued" {
				return fmt.Errorf("%s is not decided yet: %s", r.key, a)
			}
			return nil
		}))
		if d.Status != "accepted" || d.Attendance == nil || !near(d.Attendance.Timestamp, r.At) || d.Attendance.Node != survivor.ID {
			t.Errorf("%s was received at %s and became %+v %+v", r.key, r.At, d, d.Attendance)
		}
	}
	t.Logf("all decided %s after the others were started", time.Since(back).Round(time.Millisecond))
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		info, err := inspector.GetQueueInfo(name)
		if err == nil && (info.Archived != 1 || info.Size != 1) {
			err = fmt.Errorf("redis has %d tasks, %d of them archived; want the one that nobody can use", info.Size, info.Archived)
		}
		return err
	}))
	seen, poison := map[string]int{}, 0
	items, err := c.At(others[0]).List(within(t, 20*time.Second), "/api/v1/logs", url.Values{"after": {"0"}, "consistency": {"strong"}})
	must(t, err)
	for _, item := range items {
		var e struct {
			ID   string
			Type string
		}
		must(t, json.Unmarshal(item, &e))
		if strings.HasPrefix(e.Type, "attendance.") {
			seen[e.ID]++
		}
		if strings.Contains(string(item), "queue.poison") && strings.Contains(string(item), "rubbish") {
			poison++
		}
	}
	for _, r := range receipts {
		if seen[r.key] != 1 {
			t.Errorf("key %s is in the log %d times", r.key, seen[r.key])
		}
	}
	if len(seen) != taps || poison != 1 {
		t.Errorf("%d decisions for %d taps, %d notes about what nobody can use", len(seen), taps, poison)
	}
}
