package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"hadir/attendance"
)

// openOutbox opens the outbox of a node file, until close is called or the test
// ends.
func openOutbox(t testing.TB, path string, opts OutboxOptions) (o *Outbox, closeFile func()) {
	t.Helper()
	n, err := OpenNode(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	closeFile = func() {
		once.Do(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(closeFile)
	if o, err = n.Outbox(opts); err != nil {
		t.Fatal(err)
	}
	return o, closeFile
}

func newOutbox(t testing.TB, opts OutboxOptions) *Outbox {
	t.Helper()
	o, _ := openOutbox(t, filepath.Join(tempDir(t), "node.db"), opts)
	return o
}

func tap(user uint64, key string) OutboxEntry {
	return OutboxEntry{
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: key, Node: "n1",
			Body: attendance.CheckIn{UserID: user, Kind: attendance.In, Recorded: true},
		},
		Receipt: Receipt{Wall: testClock, Boot: 77, BootID: "boot", Origin: "0123456789abcdef"},
	}
}

func mustPut(t testing.TB, o *Outbox, e OutboxEntry) OutboxEntry {
	t.Helper()
	got, err := o.Put(e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func ns(entries []OutboxEntry) (out []uint64) {
	for _, e := range entries {
		out = append(out, e.N)
	}
	return out
}

func waiting(t testing.TB, o *Outbox) []OutboxEntry {
	t.Helper()
	entries, err := o.Waiting(0, 1_000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func decided(seq uint64) attendance.Outcome {
	return attendance.Outcome{Status: attendance.AcceptedStatus, Seq: seq, DecideAt: testClock, At: testClock}
}

func TestOutboxKeepsWhatWasReceived(t *testing.T) {
	path := filepath.Join(tempDir(t), "node.db")
	o, shut := openOutbox(t, path, OutboxOptions{})
	want := tap(7, "k1")
	first := mustPut(t, o, want)
	second := mustPut(t, o, tap(8, "k2"))
	shut()
	o, _ = openOutbox(t, path, OutboxOptions{})
	got := waiting(t, o)
	if len(got) != 2 || got[0].N != first.N || got[1].N != second.N || first.N >= second.N {
		t.Fatalf("waiting: %+v", got)
	}
	if got[0].Receipt != want.Receipt || got[0].Command != want.Command || got[0].State != OutboxWaiting {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if d := o.Depth(); d.Waiting != 2 || d.Bytes == 0 || d.Newest != second.N {
		t.Errorf("depth %+v", d)
	}
}

func TestOutboxHasEachKeyOnce(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	first := mustPut(t, o, tap(7, "k"))
	later := tap(7, "k")
	later.Receipt.Wall += 60_000
	if again := mustPut(t, o, later); again.N != first.N || again.Receipt != first.Receipt {
		t.Errorf("the same request again: %+v", again)
	}
	other := tap(7, "k")
	other.Command.Body = attendance.CheckIn{UserID: 7, Kind: attendance.Out, Recorded: true}
	if _, err := o.Put(other); !errors.Is(err, ErrKeyReused) {
		t.Errorf("another body: %v", err)
	}
	if stranger := mustPut(t, o, tap(8, "k")); stranger.N == first.N {
		t.Error("two principals share a key")
	}
	if err := o.Decide(OutboxDecision{N: first.N, Outcome: decided(5), At: testClock}); err != nil {
		t.Fatal(err)
	}
	if again := mustPut(t, o, tap(7, "k")); again.State != OutboxDecided || again.Outcome.Seq != 5 {
		t.Errorf("the same request after its decision: %+v", again)
	}
	if _, err := o.Put(other); !errors.Is(err, ErrKeyReused) {
		t.Errorf("another body after the decision: %v", err)
	}
}

func TestOutboxRefusesWhatCannotWait(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	noKey, noTap, noUser := tap(7, ""), tap(7, "k"), tap(7, "k")
	noTap.Command.Body = attendance.DeactivateUser{UserID: 7}
	noUser.Command.Body = attendance.CheckIn{Kind: attendance.In}
	for _, e := range []OutboxEntry{noKey, noTap, noUser} {
		if _, err := o.Put(e); err == nil {
			t.Errorf("%+v was taken", e.Command)
		}
	}
	if d := o.Depth(); d.Newest != 0 || o.Usable() != nil {
		t.Errorf("depth %+v, usable %v", d, o.Usable())
	}
}

func TestOutboxDecidesOnce(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	e := mustPut(t, o, tap(7, "k"))
	for _, seq := range []uint64{5, 6} {
		if err := o.Decide(OutboxDecision{N: e.N, Outcome: decided(seq), At: testClock + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Decide(OutboxDecision{N: 99, Outcome: decided(9)}); err != nil {
		t.Fatal(err)
	}
	got, err := o.Find(e.Command.Principal, "k")
	if err != nil || got.State != OutboxDecided || got.Outcome != decided(5) || got.At != testClock+1 || got.Receipt != e.Receipt {
		t.Errorf("%+v, %v", got, err)
	}
	if waits, err := o.Waits(7); waits || err != nil || o.Depth().Waiting != 0 || o.Depth().Bytes != 0 {
		t.Errorf("still waits: %v %v %+v", waits, err, o.Depth())
	}
	if _, err := o.Find(e.Command.Principal, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another key: %v", err)
	}
}

func TestOutboxForgetsOldDecisions(t *testing.T) {
	o := newOutbox(t, OutboxOptions{KeepDecided: 3})
	for i := range 10 {
		e := mustPut(t, o, tap(7, fmt.Sprint("k", i)))
		if err := o.Decide(OutboxDecision{N: e.N, Outcome: decided(uint64(i + 1))}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		_, err := o.Find(attendance.Principal{Kind: attendance.UserPrincipal, ID: 7}, fmt.Sprint("k", i))
		if kept := err == nil; kept != (i >= 7) {
			t.Errorf("decision %d: %v", i, err)
		}
	}
}

func TestOutboxIsBounded(t *testing.T) {
	for name, opts := range map[string]OutboxOptions{"rows": {MaxRows: 3}, "bytes": {MaxBytes: 300}} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox(t, opts)
			var err error
			taken := 0
			for ; taken < 10; taken++ {
				if _, err = o.Put(tap(uint64(taken+1), "k")); err != nil {
					break
				}
			}
			if !errors.Is(err, ErrOutboxFull) || taken == 0 || taken == 10 {
				t.Fatalf("%d were taken, then %v", taken, err)
			}
			if name == "rows" && !errors.Is(o.Usable(), ErrOutboxFull) {
				t.Errorf("usable: %v", o.Usable())
			}
			// What is there is there, and a key that it has may be sent again.
			if again := mustPut(t, o, tap(1, "k")); again.N != 1 {
				t.Errorf("the first one again: %+v", again)
			}
			if err := o.Decide(OutboxDecision{N: 1, Outcome: decided(1)}); err != nil {
				t.Fatal(err)
			}
			mustPut(t, o, tap(9, "k"))
		})
	}
}

func TestOutboxSetsAside(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	for i := range 3 {
		mustPut(t, o, tap(7, fmt.Sprint("k", i)))
	}
	if err := o.Fail(2, "nobody understands it", testClock); err != nil {
		t.Fatal(err)
	}
	failed, err := o.Failed(0, 10)
	if err != nil || len(failed) != 1 || failed[0].N != 2 || failed[0].Reason != "nobody understands it" || failed[0].At != testClock {
		t.Fatalf("failed: %+v %v", failed, err)
	}
	if got := ns(waiting(t, o)); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("waiting: %v", got)
	}
	if again := mustPut(t, o, tap(7, "k1")); again.State != OutboxFailed || again.N != 2 {
		t.Errorf("sent again: %+v", again)
	}
	if found, err := o.Retry(2); !found || err != nil {
		t.Fatal(found, err)
	}
	if got := ns(waiting(t, o)); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("after the retry: %v", got)
	}
	if err := o.Fail(2, "again", testClock); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if found, err := o.Dismiss(2); found != want || err != nil {
			t.Fatal(found, err)
		}
		if found, err := o.Retry(2); found || err != nil {
			t.Fatal(found, err)
		}
	}
	if d := o.Depth(); d.Waiting != 2 || d.Failed != 0 {
		t.Errorf("depth %+v", d)
	}
	if free := mustPut(t, o, tap(7, "k1")); free.N != 4 {
		t.Errorf("the key after it was dismissed: %+v", free)
	}
}

func TestOutboxTellsOfDamage(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	mustPut(t, o, tap(7, "k1"))
	mustPut(t, o, tap(8, "k2"))
	if err := o.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketOutbox).Put(keySeq(1), []byte("rubbish"))
	}); err != nil {
		t.Fatal(err)
	}
	got := waiting(t, o)
	if len(got) != 2 || got[0].Damaged == nil || got[1].Damaged != nil {
		t.Fatalf("waiting: %+v", got)
	}
	if err := o.Fail(1, "damaged", testClock); err != nil {
		t.Fatal(err)
	}
	if waits, err := o.Waits(7); waits || err != nil {
		t.Errorf("its user is held up: %v %v", waits, err)
	}
	for range 2 { // a retry of what cannot be read fails again and blocks nobody
		if found, err := o.Retry(1); !found || err != nil {
			t.Fatal(found, err)
		}
		if err := o.Fail(1, "damaged", testClock); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := o.Dismiss(1); !found || err != nil {
		t.Fatal(found, err)
	}
	if free := mustPut(t, o, tap(7, "k1")); free.N != 3 {
		t.Errorf("the key of the damaged entry: %+v", free)
	}
}

func TestOutboxStopsAfterAFailedWrite(t *testing.T) {
	o := newOutbox(t, OutboxOptions{})
	mustPut(t, o, tap(7, "k1"))
	disk := errors.New("input/output error")
	if err := o.write(func(*outboxTx) error { return disk }); !errors.Is(err, disk) || !errors.Is(err, ErrOutboxBroken) {
		t.Fatal(err)
	}
	if _, err := o.Put(tap(8, "k2")); !errors.Is(err, ErrOutboxBroken) {
		t.Errorf("put: %v", err)
	}
	if err := o.Decide(OutboxDecision{N: 1}); !errors.Is(err, ErrOutboxBroken) {
		t.Errorf("decide: %v", err)
	}
	if !errors.Is(o.Usable(), ErrOutboxBroken) || !strings.Contains(o.Usable().Error(), "check the disk") {
		t.Errorf("usable: %v", o.Usable())
	}
	if got := waiting(t, o); len(got) != 1 {
		t.Errorf("what was recorded before: %+v", got)
	}
}

func TestOutboxAfterClose(t *testing.T) {
	o, shut := openOutbox(t, filepath.Join(tempDir(t), "node.db"), OutboxOptions{})
	shut()
	if _, err := o.Put(tap(7, "k")); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if _, err := o.Waiting(0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("waiting: %v", err)
	}
}

// TestOutboxSharesTransactions: writes that come together are synced together,
// and each is answered for itself.
func TestOutboxSharesTransactions(t *testing.T) {
	var mu sync.Mutex
	commits, held, hold := 0, make(chan struct{}), make(chan struct{})
	o := newOutbox(t, OutboxOptions{MaxRows: 90, Failpoint: func(name string) {
		if name != "outbox.before" {
			return
		}
		mu.Lock()
		commits++
		first := commits == 1
		mu.Unlock()
		if first {
			close(held)
			<-hold
		}
	}})
	const writers = 100
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() { _, errs[i] = o.Put(tap(uint64(i+1), "k")) })
		if i == 0 {
			<-held
		}
	}
	for queued := 0; queued < writers-1; {
		o.mu.Lock()
		queued = len(o.queue)
		o.mu.Unlock()
	}
	close(hold)
	wg.Wait()
	full := 0
	for _, err := range errs {
		if errors.Is(err, ErrOutboxFull) {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if commits > 2 || full != 10 {
		t.Errorf("%d writers took %d transactions, %d were refused", writers, commits, full)
	}
}

// TestOutboxAgainstModel compares the outbox with three maps, over restarts.
func TestOutboxAgainstModel(t *testing.T) {
	dir := tempDir(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", runs))
		var n *Node
		var o *Outbox
		open := func() {
			var err error
			if n, err = OpenNode(path, rand.Reader); err == nil {
				o, err = n.Outbox(OutboxOptions{MaxRows: 12, KeepDecided: 1_000})
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		open()
		defer func() {
			if err := n.Close(); err != nil {
				rt.Fatal(err)
			}
		}()
		type row struct {
			n, user uint64
			state   OutboxState
		}
		model, next := map[string]*row{}, uint64(0)
		byN := func(n uint64) *row {
			for _, r := range model {
				if r.n == n {
					return r
				}
			}
			return nil
		}
		count := func(states ...OutboxState) (n int) {
			for _, r := range model {
				if slices.Contains(states, r.state) {
					n++
				}
			}
			return n
		}
		anyN := rapid.Uint64Range(0, 20)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				user, key := rapid.Uint64Range(1, 4).Draw(rt, "user"), rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "key")
				got, err := o.Put(tap(user, key))
				name := fmt.Sprint(user, key)
				known, full := model[name], count(OutboxWaiting, OutboxFailed) >= 12
				switch {
				case known != nil:
					if err != nil || got.N != known.n || got.State != known.state {
						rt.Fatalf("known: %+v %v", got, err)
					}
				case full:
					if !errors.Is(err, ErrOutboxFull) {
						rt.Fatalf("full: %v", err)
					}
				default:
					next++
					if err != nil || got.N != next {
						rt.Fatalf("%+v %v, want place %d", got, err, next)
					}
					model[name] = &row{next, user, OutboxWaiting}
				}
			},
			"decide": func(rt *rapid.T) {
				at := anyN.Draw(rt, "n")
				if err := o.Decide(OutboxDecision{N: at, Outcome: decided(at)}); err != nil {
					rt.Fatal(err)
				}
				if r := byN(at); r != nil && r.state == OutboxWaiting {
					r.state = OutboxDecided
				}
			},
			"fail": func(rt *rapid.T) {
				at := anyN.Draw(rt, "n")
				if err := o.Fail(at, "no", 1); err != nil {
					rt.Fatal(err)
				}
				if r := byN(at); r != nil && r.state == OutboxWaiting {
					r.state = OutboxFailed
				}
			},
			"retry": func(rt *rapid.T) {
				at := anyN.Draw(rt, "n")
				r := byN(at)
				want := r != nil && r.state == OutboxFailed
				if found, err := o.Retry(at); err != nil || found != want {
					rt.Fatal(found, err)
				}
				if want {
					r.state = OutboxWaiting
				}
			},
			"dismiss": func(rt *rapid.T) {
				at := anyN.Draw(rt, "n")
				r := byN(at)
				want := r != nil && r.state == OutboxFailed
				if found, err := o.Dismiss(at); err != nil || found != want {
					rt.Fatal(found, err)
				}
				for name, other := range model {
					if want && other == r {
						delete(model, name)
					}
				}
			},
			"reopen": func(rt *rapid.T) {
				if err := n.Close(); err != nil {
					rt.Fatal(err)
				}
				open()
			},
			"": func(rt *rapid.T) {
				var want []uint64
				waits := map[uint64]bool{}
				for _, r := range model {
					if r.state == OutboxWaiting {
						want = append(want, r.n)
						waits[r.user] = true
					}
				}
				slices.Sort(want)
				got, err := o.Waiting(0, 100)
				if err != nil || !slices.Equal(ns(got), want) {
					rt.Fatalf("waiting %v %v, want %v", ns(got), err, want)
				}
				for user := range uint64(5) {
					if w, err := o.Waits(user); err != nil || w != waits[user] {
						rt.Fatalf("user %d waits: %v %v", user, w, err)
					}
				}
				size := uint64(0)
				for _, e := range got {
					b, err := e.Encode()
					if err != nil {
						rt.Fatal(err)
					}
					size += uint64(len(b))
				}
				failed, err := o.Failed(0, 100)
				if err != nil {
					rt.Fatal(err)
				}
				for _, e := range failed {
					b, err := e.Encode()
					if err != nil {
						rt.Fatal(err)
					}
					size += uint64(len(b))
				}
				d := OutboxDepth{Waiting: uint64(len(want)), Failed: uint64(count(OutboxFailed)), Bytes: size, Newest: next}
				if o.Depth() != d {
					rt.Fatalf("depth %+v, want %+v", o.Depth(), d)
				}
				if err := o.db.View(func(tx *bbolt.Tx) error {
					keys, users := tx.Bucket(bucketOutboxKeys).Stats().KeyN, tx.Bucket(bucketOutboxUsers).Stats().KeyN
					if keys != len(model) || users != len(want) {
						return fmt.Errorf("%d keys and %d users for %d entries, of which %d wait", keys, users, len(model), len(want))
					}
					return nil
				}); err != nil {
					rt.Fatal(err)
				}
			},
		})
	})
}

func TestOutboxEntryRefusesOtherBytes(t *testing.T) {
	good, err := tap(7, "k").Encode()
	if err != nil {
		t.Fatal(err)
	}
	if e, err := DecodeOutboxEntry(good); err != nil || e.Command != tap(7, "k").Command {
		t.Fatal(e, err)
	}
	other := tap(7, "k")
	other.Command.Body = attendance.DeactivateUser{UserID: 7}
	noTap, err := other.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:len(good)-1], "long": append(bytes.Clone(good), 0), "no check-in": noTap,
	} {
		if _, err := DecodeOutboxEntry(b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func TestOutboxFileIsOnlyRead(t *testing.T) {
	path := filepath.Join(tempDir(t), "node.db")
	o, shut := openOutbox(t, path, OutboxOptions{})
	for i := range 3 {
		mustPut(t, o, tap(uint64(i+1), "k"))
	}
	if err := o.Fail(1, "no", testClock); err != nil {
		t.Fatal(err)
	}
	if err := o.Decide(OutboxDecision{N: 2, Outcome: decided(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := OutboxFile(path, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("while the node runs: %v", err)
	}
	shut()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if _, err := OutboxFile(path, func(e OutboxEntry) error {
		got = append(got, fmt.Sprint(e.N, " ", e.State, " ", e.User()))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"3 waiting 3", "1 failed 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed: %v", err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OutboxFile(path, nil); err == nil {
		t.Error("rubbish was read")
	}
}
