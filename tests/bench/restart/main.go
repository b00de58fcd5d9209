// Command restart measures how long a node with a long history takes from its
// start until it decides again.
//
//	go run ./tests/bench/restart -records 1000000
//
// It fills one node in this process through its own front door (Propose), with
// fsync on, then stops and starts it several times.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/cluster/transport"
	"hadir/store"
)

type clock struct{}

func (clock) Now() time.Time { return time.Now() }
func (clock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

func main() {
	records := flag.Int("records", 100_000, "attendance records to make first")
	rounds := flag.Int("rounds", 5, "restarts")
	dir := flag.String("dir", "", "data directory, kept (default: a temporary one)")
	flag.Parse()
	if err := run(*records, *rounds, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "restart:", err)
		os.Exit(1)
	}
}

func run(records, rounds int, dir string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "hadir-restart-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	n, _, err := start(dir)
	if err != nil {
		return err
	}
	if err := fill(n, records); err != nil {
		return errors.Join(err, n.Shutdown(context.Background()))
	}
	var took []time.Duration
	for range rounds {
		if err := n.Shutdown(context.Background()); err != nil {
			return err
		}
		var d time.Duration
		if n, d, err = start(dir); err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	fmt.Printf("%d records: start to first decision median %s, longest %s, %d restarts\n",
		records, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), rounds)
	return n.Shutdown(context.Background())
}

// start gives a node that has decided something, and how long that took.
func start(dir string) (*cluster.Node, time.Duration, error) {
	begin := time.Now()
	n, err := cluster.Start(context.Background(), cluster.Config{
		Name: "n1", DataDir: dir, PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", BootstrapExpect: 1,
		Keys: transport.DevelopmentKeys(), Version: "bench", Clock: clock{}, Rand: rand.Reader,
		Halt: func(err error) { fmt.Fprintln(os.Stderr, "restart: halted:", err); os.Exit(1) },
		Log:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = n.Propose(ctx, request(attendance.Audit{Action: "bench.started"}, "", 0))
	return n, time.Since(begin), err
}

func request(body attendance.Body, key string, user uint64) cluster.Request {
	p := attendance.Principal{Kind: attendance.SystemPrincipal}
	if user > 0 {
		p = attendance.Principal{Kind: attendance.UserPrincipal, ID: user}
	}
	return cluster.Request{ReceivedAt: time.Now(), Command: attendance.Command{Principal: p, Key: key, Node: "n1", Body: body}}
}

// fill makes records: each person once for each type, as a window allows.
func fill(n *cluster.Node, records int) error {
	var have uint64
	if _, err := n.Read(context.Background(), cluster.Read{}, func(tx *store.ReadTx) error {
		have = tx.Meta().Records
		return nil
	}); err != nil {
		return err
	}
	const workers = 512
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	begin := time.Now()
	for w := range workers {
		wg.Go(func() {
			for have+uint64(next.Load()) < uint64(records) {
				if errs[w] = person(n, &next); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d records made in %s\n", next.Load(), time.Since(begin).Round(time.Second))
	return errors.Join(errs...)
}

// person makes somebody and checks them in and out.
func person(n *cluster.Node, made *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id := rand.Text()
	r, err := n.Propose(ctx, request(attendance.PutUser{Name: "Person", Email: id + "@example.test", Role: attendance.Student, Active: true}, "", 0))
	if err != nil {
		return err
	}
	for _, kind := range []attendance.Kind{attendance.In, attendance.Out} {
		// Four taps that lie windows apart, as an outbox would deliver them.
		for back := range 4 {
			tap := request(attendance.CheckIn{UserID: r.Outcome.ID, Kind: kind}, rand.Text(), r.Outcome.ID)
			tap.ReceivedAt = tap.ReceivedAt.Add(-time.Duration(back) * 10 * time.Minute)
			out, err := n.Propose(ctx, tap)
			if err != nil {
				return err
			}
			if out.Outcome.Status != attendance.AcceptedStatus {
				return fmt.Errorf("a check-in was %s (%s)", out.Outcome.Status, out.Outcome.Reason)
			}
			made.Add(1)
		}
	}
	return nil
}
