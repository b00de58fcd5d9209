package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/queue/jobs"
	"hadir/queue/redistest"
)

// alone is the cluster of a node that has nobody to ask.
type alone struct{}

func (alone) Name() string { return "n1" }

func (alone) Status() cluster.Status {
	return cluster.Status{Node: "n1", Cluster: attendance.ClusterID{1, 2, 3}, Nodes: []cluster.NodeStatus{{Name: "n1"}}}
}

func (alone) Ask(context.Context, string, string, []byte) ([]byte, error) {
	return nil, cluster.ErrUnknownServer
}

func (alone) Answer(string, cluster.Answerer) {}

// failing fails for good until it is mended.
type failing struct {
	mu     sync.Mutex
	mended bool
}

func (f *failing) RunJob(context.Context, string, jobs.Task) (jobs.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mended {
		return jobs.Result{Body: []byte("done")}, nil
	}
	return jobs.Result{}, fmt.Errorf("%w: the printer is on fire", jobs.ErrPermanent)
}

// TestFailedJobsAreInTheQueue: wherever they are, they are seen, tried again by id, by
// reason and all together, and dismissed.
func TestFailedJobsAreInTheQueue(t *testing.T) {
	for _, place := range []string{"n1", "redis"} {
		t.Run(place, func(t *testing.T) {
			c := jobs.Config{Peers: alone{}, Clock: Clock{}, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Keys: [][]byte{bytes.Repeat([]byte{1}, 32)}, Pace: 50}
			if place == "redis" {
				c.Redis = redistest.Start(t).URL()
			}
			j, err := jobs.New(c)
			if err != nil {
				t.Fatal(err)
			}
			printer := &failing{}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { j.Run(ctx, printer) })
			defer wg.Wait()
			defer cancel()
			d := desk{jobs: j}
			begin := func(kind string) string {
				t.Helper()
				id := ""
				redistest.Await(t, "a job is at "+place, func() bool {
					job, err := j.Start(t.Context(), jobs.Task{Kind: kind})
					id = job.ID
					at, _ := jobs.Split(id)
					return err == nil && at == place
				})
				redistest.Await(t, "it has failed", func() bool {
					job, err := j.Find(t.Context(), id)
					return err == nil && job.State == jobs.Failed
				})
				return id
			}
			view := func() (failed []httpapi.QueueFailed, archived int) {
				all, away := j.List(t.Context())
				if len(away) > 0 {
					t.Errorf("away: %v", away)
				}
				v := httpapi.QueueView{Nodes: []httpapi.QueueNode{{Name: "n2"}, {Name: "n1"}}}
				addJobs(all, &v)
				if v.Redis != nil {
					archived = v.Redis.Archived
					failed = v.Redis.Unusable
				}
				if place == "n1" {
					failed = v.Nodes[1].SetAside
				}
				return failed, archived
			}
			act := func(a httpapi.QueueAct) (int, bool) {
				t.Helper()
				a.Where = place
				rest, more, done, err := d.actOnJobs(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				if want := len(a.IDs) == 0 || len(rest.IDs) > 0; more != want {
					t.Errorf("more %v, rest %v", more, rest.IDs)
				}
				return done, more
			}
			id := begin("report")
			failed, archived := view()
			if len(failed) == 0 || place == "redis" && archived != len(failed) {
				t.Fatalf("%+v, %d archived", failed, archived)
			}
			f := failed[0]
			if f.Key != id || !strings.HasPrefix(f.Reason, "report: ") || !strings.HasSuffix(f.Reason, "on fire") || f.FailedAt == 0 || f.ReceivedAt == 0 {
				t.Errorf("failed: %+v", f)
			}
			// A check-in's place beside it is left for the outbox.
			printer.mu.Lock()
			printer.mended = true
			printer.mu.Unlock()
			if done, more := act(httpapi.QueueAct{IDs: []string{f.ID, "17"}}); done != 1 || !more {
				t.Errorf("retried %d, more %v", done, more)
			}
			redistest.Await(t, "it is done", func() bool {
				job, err := j.Find(t.Context(), id)
				return err == nil && job.State == jobs.Done
			})
			printer.mu.Lock()
			printer.mended = false
			printer.mu.Unlock()
			begin("report")
			begin("import")
			if n := j.Counts()[jobs.Failed]; n < 2 {
				t.Errorf("%d jobs have failed", n)
			}
			failed, _ = view()
			reason := ""
			for _, f := range failed {
				if strings.HasPrefix(f.Reason, "import: ") {
					reason = f.Reason
				}
			}
			if done, _ := act(httpapi.QueueAct{Reason: reason, Dismiss: true}); reason == "" || done == 0 || done == len(failed) {
				t.Errorf("dismissed %d of %d by the reason %q", done, len(failed), reason)
			}
			left, _ := view()
			if done, _ := act(httpapi.QueueAct{All: true, Dismiss: true}); done != len(left) || done == 0 {
				t.Errorf("dismissed %d of %d", done, len(left))
			}
			if left, _ := view(); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
			// The first ones may have failed at the node, before it had reached Redis.
			listed := make(map[jobs.State]int)
			all, _ := j.List(t.Context())
			for _, job := range all {
				listed[job.State]++
			}
			if counts := j.Counts(); counts[jobs.Failed] != listed[jobs.Failed] || counts[jobs.Done] != listed[jobs.Done] || counts[jobs.Done] == 0 {
				t.Errorf("jobs by state: %v, listed %v", counts, listed)
			}
		})
	}
}

func TestJobErrors(t *testing.T) {
	for ours, theirs := range map[error]error{
		jobs.ErrUnknown: httpapi.ErrNoJob, jobs.ErrNotDone: httpapi.ErrJobNotDone, jobs.ErrFull: httpapi.ErrJobsFull,
		jobs.ErrTooLarge: httpapi.ErrJobTooLarge, jobs.ErrAway: httpapi.ErrJobAway,
	} {
		if err := jobError(fmt.Errorf("x: %w", ours)); !errors.Is(err, theirs) || !errors.Is(err, ours) {
			t.Errorf("%v became %v", ours, err)
		}
	}
	if jobError(nil) != nil || !errors.Is(jobError(context.Canceled), context.Canceled) {
		t.Error("other errors stay what they are")
	}
}

// TestShutdownWithARedisThatHangs: nothing of what uses Redis holds up the end.
func TestShutdownWithARedisThatHangs(t *testing.T) {
	r, dir := redistest.Start(t), t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("rahasia sekali\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop := start(t, Options{
		NodeID: "n1", DataDir: filepath.Join(dir, "data"), AdminEmail: "kepala@sekolah.example", AdminPasswordFile: secret, HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", BootstrapExpect: 1,
		RaftMultiplier: 1, TimeZone: "Asia/Jakarta", LogLevel: "info", LogFormat: "json", RedisURL: "redis://" + r.URL().Addr + "/0",
	})
	redistest.Await(t, "redis takes copies", func() bool {
		resp, err := http.Get(url + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), "hadir_mirror_up 1") && strings.Contains(string(text), `hadir_jobs{state="failed"} 0`)
	})
	r.Signal(syscall.SIGSTOP)
	defer r.Signal(syscall.SIGCONT)
	if err := stop(); err != nil {
		t.Error(err)
	}
}
