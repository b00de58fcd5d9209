package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"hadir/attendance"
)

// Sentinel errors of the outbox. After all of them nothing was recorded.
var (
	// ErrOutboxFull: no more is taken until something was decided.
	ErrOutboxFull = errors.New("outbox is full")
	// ErrOutboxBroken: an earlier write failed, and what it left behind is unknown.
	// Nothing is taken until the file was opened anew.
	ErrOutboxBroken = errors.New("outbox cannot be written")
	// ErrKeyReused: the outbox has the key with another body.
	ErrKeyReused = errors.New("idempotency key stands for another request")
)

// OutboxState says how far an entry of the outbox has come.
type OutboxState uint8

// The states. A decided entry is kept for a while, so that whoever asks for its
// key gets the decision even before this node has applied it.
const (
	OutboxWaiting OutboxState = 1
	OutboxFailed  OutboxState = 2 // cannot be decided as it is; a person has to look
	OutboxDecided OutboxState = 3
)

// String gives the word used in the API.
func (s OutboxState) String() string {
	switch s {
	case OutboxWaiting:
		return "waiting"
	case OutboxFailed:
		return "failed"
	case OutboxDecided:
		return "decided"
	}
	return "unknown"
}

// Receipt is when a node received a request, on every clock that may be left
// to tell its age.
type Receipt struct {
	Wall   attendance.Millis
	Boot   attendance.Millis // since the machine started, sleep counted
	BootID string            // of that start of the machine; Boot means nothing in another
	Origin string            // incarnation of the node that received it
}

// OutboxEntry is a check-in that was recorded before it was decided.
type OutboxEntry struct {
	N       uint64 // its place; ascending, never used twice
	State   OutboxState
	Command attendance.Command // a CheckIn; its age is in Receipt
	Receipt Receipt
	Outcome attendance.Outcome // of a decided entry
	Reason  string             // why it failed
	At      attendance.Millis  // when it failed or was decided
	Damaged error              // why the stored row cannot be read; only N, State, Reason and At count then
}

// Encode gives what another node needs to have the check-in decided.
func (e OutboxEntry) Encode() ([]byte, error) {
	command, err := attendance.EncodeCommand(e.Command)
	if err != nil {
		return nil, err
	}
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Millis(e.Receipt.Wall)
	w.Millis(e.Receipt.Boot)
	w.String(e.Receipt.BootID)
	w.String(e.Receipt.Origin)
	w.Bytes(command)
	return w.Data(), nil
}

// DecodeOutboxEntry reads what Encode wrote.
func DecodeOutboxEntry(b []byte) (OutboxEntry, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	e := OutboxEntry{Receipt: Receipt{Wall: r.Millis(), Boot: r.Millis(), BootID: r.String(), Origin: r.String()}}
	command := r.Bytes()
	if err := r.Err(); err != nil {
		return OutboxEntry{}, err
	}
	var err error
	if e.Command, err = attendance.DecodeCommand(command); err != nil {
		return OutboxEntry{}, err
	}
	if _, ok := e.Command.Body.(attendance.CheckIn); !ok || e.Command.Key == "" {
		return OutboxEntry{}, fmt.Errorf("%w: %s without a key, or no check-in", attendance.ErrCanon, e.Command.Body.Op())
	}
	return e, nil
}

// User gives whose check-in it is.
func (e OutboxEntry) User() uint64 {
	b, _ := e.Command.Body.(attendance.CheckIn) // DecodeOutboxEntry and Put have seen to it
	return b.UserID
}

// OutboxOptions bound an outbox. The zero value is right for production.
type OutboxOptions struct {
	MaxRows  int   // waiting and failed; 0 means a million
	MaxBytes int64 // of them; 0 means 1 GiB
	// KeepDecided is how many decisions are kept; 0 means ten thousand.
	KeepDecided int
	// Failpoint, where given, is called with the name of each place at which a
	// crash would be interesting. Only for tests.
	Failpoint func(name string)
}

const (
	defaultOutboxRows  = 1_000_000
	defaultOutboxBytes = 1 << 30
	defaultKeepDecided = 10_000
	outboxBatch        = 512 // writes in one transaction
)

// Buckets of the outbox in node.db.
//
//	outbox          n → entry that waits
//	outbox_failed   n → when, why, entry
//	outbox_decided  n → when, outcome, entry
//	outbox_keys     principal, key → n, in any of the three
//	outbox_users    user, n → nothing, for those that wait
//	outbox_meta     one row of counters
var (
	bucketOutbox        = []byte("outbox")
	bucketOutboxFailed  = []byte("outbox_failed")
	bucketOutboxDecided = []byte("outbox_decided")
	bucketOutboxKeys    = []byte("outbox_keys")
	bucketOutboxUsers   = []byte("outbox_users")
	bucketOutboxMeta    = []byte("outbox_meta")

	outboxBuckets = [][]byte{
		bucketOutbox, bucketOutboxFailed, bucketOutboxDecided, bucketOutboxKeys, bucketOutboxUsers, bucketOutboxMeta,
	}
	rowCounters = []byte("counters")
)

// Outbox keeps check-ins on this node's disk until they are decided. An entry is
// synced before Put returns; entries keep their order, and leave in the
// transaction that notes their decision. All methods may be called concurrently;
// writes that come together share one transaction, and there is no timer: the
// sync before is the window in which the next ones gather.
type Outbox struct {
	db        *bbolt.DB
	opts      OutboxOptions
	committed atomic.Pointer[outboxCounters]

	mu     sync.Mutex
	queue  []*outboxWrite
	busy   bool
	broken error
}

type outboxCounters struct {
	next    uint64 // the last n given out
	waiting uint64
	failed  uint64
	decided uint64
	bytes   uint64 // of rows that wait or failed
}

type outboxWrite struct {
	do   func(*outboxTx) error // an error is the database's, and breaks the outbox
	done chan error
}

// Outbox opens the outbox in the node's file. There must be only one.
func (n *Node) Outbox(opts OutboxOptions) (*Outbox, error) {
	if opts.MaxRows == 0 {
		opts.MaxRows = defaultOutboxRows
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = defaultOutboxBytes
	}
	if opts.KeepDecided == 0 {
		opts.KeepDecided = defaultKeepDecided
	}
	if opts.Failpoint == nil {
		opts.Failpoint = func(string) {}
	}
	o := &Outbox{db: n.db, opts: opts}
	err := guard(n.path, func() error {
		return n.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range outboxBuckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			counters, err := readCounters(tx)
			o.committed.Store(&counters)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("outbox in %s: %w", n.path, err)
	}
	return o, nil
}

func readCounters(tx *bbolt.Tx) (c outboxCounters, err error) {
	b := tx.Bucket(bucketOutboxMeta).Get(rowCounters)
	if b == nil {
		return c, nil
	}
	r := attendance.NewReader(b)
	r.Version(1)
	c = outboxCounters{next: r.Uint(), waiting: r.Uint(), failed: r.Uint(), decided: r.Uint(), bytes: r.Uint()}
	return c, r.Err()
}

func (c outboxCounters) encode() []byte {
	w := attendance.NewWriter(make([]byte, 0, 32))
	w.Uint(1)
	for _, v := range []uint64{c.next, c.waiting, c.failed, c.decided, c.bytes} {
		w.Uint(v)
	}
	return w.Data()
}

// OutboxDepth says how much an outbox holds.
type OutboxDepth struct {
	Waiting, Failed uint64
	Bytes           uint64
	Newest          uint64 // n of the newest entry ever
}

// Depth says how much the outbox holds. It costs nothing.
func (o *Outbox) Depth() OutboxDepth {
	c := o.committed.Load()
	return OutboxDepth{Waiting: c.waiting, Failed: c.failed, Bytes: c.bytes, Newest: c.next}
}

// Usable says why nothing can be recorded at present: ErrOutboxBroken,
// ErrOutboxFull or nil.
func (o *Outbox) Usable() error {
	o.mu.Lock()
	broken := o.broken
	o.mu.Unlock()
	if broken != nil {
		return broken
	}
	return o.full(*o.committed.Load(), 0)
}

func (o *Outbox) full(c outboxCounters, more int) error {
	if c.waiting+c.failed >= uint64(o.opts.MaxRows) || c.bytes+uint64(more) > uint64(o.opts.MaxBytes) {
		return fmt.Errorf("%w: it holds %d check-ins in %d bytes", ErrOutboxFull, c.waiting+c.failed, c.bytes)
	}
	return nil
}

// Put records a check-in, synced, and gives it with its place. A key that the
// outbox has already, with the same body, gives the entry as it stands, whose
// receipt is the first one's. Errors are ErrOutboxFull, ErrOutboxBroken,
// ErrKeyReused, ErrClosed, or what makes the entry no check-in with a key.
func (o *Outbox) Put(e OutboxEntry) (OutboxEntry, error) {
	if b, ok := e.Command.Body.(attendance.CheckIn); !ok || b.UserID == 0 || e.Command.Key == "" {
		return e, errors.New("only a check-in of a user with a key can wait in the outbox")
	}
	row, err := e.Encode()
	if err != nil {
		return e, err
	}
	var refused error
	err = o.write(func(t *outboxTx) error {
		if known, found := t.byKey(e.Command.Principal, e.Command.Key); found {
			if known.Damaged == nil && known.Command.BodyHash() != e.Command.BodyHash() {
				refused = ErrKeyReused
			} else {
				e = known
			}
			return nil
		}
		if refused = o.full(t.outboxCounters, len(row)); refused == nil {
			t.next++
			e.N, e.State = t.next, OutboxWaiting
			return errors.Join(
				t.put(bucketOutboxKeys, outboxKey(e.Command.Principal, e.Command.Key), keySeq(e.N)),
				t.wait(e.N, e.User(), row),
			)
		}
		return nil
	})
	return e, errors.Join(err, refused)
}

// OutboxDecision is what became of an entry.
type OutboxDecision struct {
	N       uint64
	Outcome attendance.Outcome
	At      attendance.Millis
}

// Decide takes an entry out of the queue and notes its decision, in one
// transaction. An entry that is not there, or was decided before, is left alone:
// the first decision stays.
func (o *Outbox) Decide(d OutboxDecision) error {
	return o.write(func(t *outboxTx) error {
		row, err := t.leave(d.N)
		if err != nil || row == nil {
			return err
		}
		w := attendance.NewWriter(make([]byte, 0, len(row)+128))
		w.Uint(1)
		w.Millis(d.At)
		w.Bytes(d.Outcome.Encode())
		w.Bytes(row)
		t.decided++
		return errors.Join(t.put(bucketOutboxDecided, keySeq(d.N), w.Data()), t.forget(o.opts.KeepDecided))
	})
}

// Fail sets an entry that waits aside, with the reason.
func (o *Outbox) Fail(n uint64, reason string, at attendance.Millis) error {
	return o.write(func(t *outboxTx) error {
		row, err := t.leave(n)
		if err != nil || row == nil {
			return err
		}
		w := attendance.NewWriter(make([]byte, 0, len(row)+64))
		w.Uint(1)
		w.Millis(at)
		w.String(reason)
		w.Bytes(row)
		t.failed++
		t.bytes += uint64(len(row))
		return t.put(bucketOutboxFailed, keySeq(n), w.Data())
	})
}

// Retry has a failed entry wait again, at its old place, and says whether there
// was one.
func (o *Outbox) Retry(n uint64) (found bool, err error) {
	err = o.write(func(t *outboxTx) error {
		e, row, err := t.unfail(n)
		if found = row != nil; err != nil || !found {
			return err
		}
		return t.wait(n, e.User(), row)
	})
	return found, err
}

// Dismiss deletes a failed entry and says whether there was one. Its key is free
// again.
func (o *Outbox) Dismiss(n uint64) (found bool, err error) {
	err = o.write(func(t *outboxTx) error {
		e, row, err := t.unfail(n)
		if found = row != nil; err != nil || !found {
			return err
		}
		return t.dropKey(n, e)
	})
	return found, err
}

// Waiting gives at most limit entries that wait, in order, from the one after n.
// An entry that cannot be read is there, too, and says so.
func (o *Outbox) Waiting(after uint64, limit int) ([]OutboxEntry, error) {
	return o.list(bucketOutbox, OutboxWaiting, after, limit)
}

// Failed gives at most limit failed entries, in order, from the one after n.
func (o *Outbox) Failed(after uint64, limit int) ([]OutboxEntry, error) {
	return o.list(bucketOutboxFailed, OutboxFailed, after, limit)
}

func (o *Outbox) list(bucket []byte, state OutboxState, after uint64, limit int) (entries []OutboxEntry, err error) {
	err = o.view(func(t *outboxTx) error {
		c := t.tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(keySeq(after + 1)); k != nil && len(entries) < limit; k, v = c.Next() {
			entries = append(entries, decodeOutboxRow(seqOf(k), state, v))
		}
		return nil
	})
	return entries, err
}

// Find gives the entry with a principal's key, or ErrNotFound.
func (o *Outbox) Find(p attendance.Principal, key string) (e OutboxEntry, err error) {
	err = o.view(func(t *outboxTx) error {
		var found bool
		if e, found = t.byKey(p, key); !found {
			return ErrNotFound
		}
		return nil
	})
	return e, err
}

// Waits reports whether an entry of the user waits.
func (o *Outbox) Waits(user uint64) (waits bool, err error) {
	if o.committed.Load().waiting == 0 {
		return false, nil
	}
	err = o.view(func(t *outboxTx) error {
		prefix := keySeq(user)
		k, _ := t.tx.Bucket(bucketOutboxUsers).Cursor().Seek(prefix)
		waits = bytes.HasPrefix(k, prefix)
		return nil
	})
	return waits, err
}

func (o *Outbox) view(f func(*outboxTx) error) error {
	err := o.db.View(func(tx *bbolt.Tx) error { return f(&outboxTx{tx: tx}) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// write runs do in a transaction, perhaps together with other writes, and returns
// when it is synced.
func (o *Outbox) write(do func(*outboxTx) error) error {
	w := &outboxWrite{do: do, done: make(chan error, 1)}
	o.mu.Lock()
	if o.broken != nil {
		defer o.mu.Unlock()
		return o.broken
	}
	o.queue = append(o.queue, w)
	if !o.busy {
		o.busy = true
		go o.commitAll()
	}
	o.mu.Unlock()
	return <-w.done
}

// commitAll commits until nobody waits.
func (o *Outbox) commitAll() {
	for {
		o.mu.Lock()
		n := min(len(o.queue), outboxBatch)
		batch := slices.Clone(o.queue[:n])
		o.queue = slices.Delete(o.queue, 0, n)
		err := o.broken
		if n == 0 {
			o.busy = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		if err == nil {
			err = o.commit(batch)
		}
		for _, w := range batch {
			w.done <- err
		}
	}
}

// commit runs a batch in one transaction. A failure breaks the outbox: the file
// may show what was not synced, and a later sync may claim success.
func (o *Outbox) commit(batch []*outboxWrite) error {
	var counters outboxCounters
	err := o.db.Update(func(tx *bbolt.Tx) error {
		t := &outboxTx{tx: tx, outboxCounters: *o.committed.Load()}
		tx.Bucket(bucketOutbox).FillPercent = appendFill
		tx.Bucket(bucketOutboxDecided).FillPercent = appendFill
		for _, w := range batch {
			if err := w.do(t); err != nil {
				return err
			}
		}
		counters = t.outboxCounters
		o.opts.Failpoint("outbox.before")
		return t.put(bucketOutboxMeta, rowCounters, counters.encode())
	})
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case err != nil:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.broken = fmt.Errorf("%w: %w: check the disk, then start this node again", ErrOutboxBroken, err)
		return o.broken
	}
	o.committed.Store(&counters)
	o.opts.Failpoint("outbox.after")
	return nil
}

// outboxTx is one transaction on the outbox.
type outboxTx struct {
	tx *bbolt.Tx
	outboxCounters
}

func (t *outboxTx) put(bucket, k, v []byte) error { return t.tx.Bucket(bucket).Put(k, v) }

// outbox_keys: principal kind(1) principal id(8) key
func outboxKey(p attendance.Principal, key string) []byte {
	b := make([]byte, 0, 9+len(key))
	b = append(b, byte(p.Kind))
	b = binary.BigEndian.AppendUint64(b, p.ID)
	return append(b, key...)
}

// outbox_users: user(8) n(8)
func outboxUser(user, n uint64) []byte { return binary.BigEndian.AppendUint64(keySeq(user), n) }

// decodeOutboxRow reads a row of one of the three buckets.
func decodeOutboxRow(n uint64, state OutboxState, v []byte) OutboxEntry {
	head := OutboxEntry{N: n, State: state}
	row := v
	if state != OutboxWaiting {
		r := attendance.NewReader(v)
		r.Version(1)
		head.At = r.Millis()
		var outcome []byte
		if state == OutboxFailed {
			head.Reason = r.String()
		} else {
			outcome = r.Bytes()
		}
		row = r.Bytes()
		if head.Damaged = r.Err(); head.Damaged == nil && state == OutboxDecided {
			head.Outcome, head.Damaged = attendance.DecodeOutcome(outcome)
		}
		if head.Damaged != nil {
			return head
		}
	}
	e, err := DecodeOutboxEntry(row)
	if err != nil {
		head.Damaged = err
		return head
	}
	e.N, e.State, e.Outcome, e.Reason, e.At = head.N, head.State, head.Outcome, head.Reason, head.At
	return e
}

func (t *outboxTx) byKey(p attendance.Principal, key string) (e OutboxEntry, found bool) {
	at := t.tx.Bucket(bucketOutboxKeys).Get(outboxKey(p, key))
	if len(at) != 8 {
		return e, false
	}
	for i, bucket := range [][]byte{bucketOutbox, bucketOutboxFailed, bucketOutboxDecided} {
		if v := t.tx.Bucket(bucket).Get(at); v != nil {
			return decodeOutboxRow(seqOf(at), OutboxWaiting+OutboxState(i), v), true
		}
	}
	return e, false
}

// wait puts a row where rows wait.
func (t *outboxTx) wait(n, user uint64, row []byte) error {
	t.waiting++
	t.bytes += uint64(len(row))
	err := t.put(bucketOutbox, keySeq(n), row)
	if user != 0 { // a damaged row is nobody's
		err = errors.Join(err, t.put(bucketOutboxUsers, outboxUser(user, n), []byte{}))
	}
	return err
}

// leave takes a row away from where rows wait; nil when there is none. Its key
// stays.
func (t *outboxTx) leave(n uint64) ([]byte, error) {
	bucket := t.tx.Bucket(bucketOutbox)
	row := bytes.Clone(bucket.Get(keySeq(n)))
	if row == nil {
		return nil, nil
	}
	t.waiting--
	t.bytes -= min(t.bytes, uint64(len(row)))
	if err := bucket.Delete(keySeq(n)); err != nil {
		return nil, err
	}
	e := decodeOutboxRow(n, OutboxWaiting, row)
	if e.Damaged == nil {
		return row, t.tx.Bucket(bucketOutboxUsers).Delete(outboxUser(e.User(), n))
	}
	return row, t.deleteWhere(bucketOutboxUsers, func(k, _ []byte) bool { return len(k) == 16 && seqOf(k[8:]) == n })
}

// unfail takes a row away from the failed ones; nil when there is none.
func (t *outboxTx) unfail(n uint64) (e OutboxEntry, row []byte, err error) {
	bucket := t.tx.Bucket(bucketOutboxFailed)
	v := bucket.Get(keySeq(n))
	if v == nil {
		return e, nil, nil
	}
	r := attendance.NewReader(v)
	r.Version(1)
	r.Millis()
	_ = r.String()
	if row = r.Bytes(); r.Err() != nil || row == nil {
		row = []byte{} // there is one, and nothing in it can be read
	}
	e = decodeOutboxRow(n, OutboxFailed, v)
	t.failed--
	t.bytes -= min(t.bytes, uint64(len(row)))
	return e, row, bucket.Delete(keySeq(n))
}

// dropKey forgets the key of an entry.
func (t *outboxTx) dropKey(n uint64, e OutboxEntry) error {
	if e.Damaged == nil {
		return t.tx.Bucket(bucketOutboxKeys).Delete(outboxKey(e.Command.Principal, e.Command.Key))
	}
	return t.deleteWhere(bucketOutboxKeys, func(_, v []byte) bool { return len(v) == 8 && seqOf(v) == n })
}

// deleteWhere looks through a whole bucket. It is for damaged rows, which do not
// say under which key they are found.
func (t *outboxTx) deleteWhere(bucket []byte, is func(k, v []byte) bool) error {
	b := t.tx.Bucket(bucket)
	var found [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if is(k, v) {
			found = append(found, slices.Clone(k))
		}
	}
	return deleteAll(b, found)
}

// forget drops the oldest decisions over the number that is kept, two at most for
// each new one.
func (t *outboxTx) forget(keep int) error {
	b := t.tx.Bucket(bucketOutboxDecided)
	for range 2 {
		if t.decided <= uint64(keep) {
			return nil
		}
		k, v := b.Cursor().First()
		if k == nil {
			t.decided = 0
			return nil
		}
		k = slices.Clone(k)
		e := decodeOutboxRow(seqOf(k), OutboxDecided, v)
		t.decided--
		if err := errors.Join(b.Delete(k), t.dropKey(e.N, e)); err != nil {
			return err
		}
	}
	return nil
}

// OutboxFile reads the outbox of a node that does not run, entry by entry in their
// order, waiting ones first, and gives the cluster that the node was a member of. It
// changes nothing, and works on a disk that cannot be written.
func OutboxFile(path string, each func(OutboxEntry) error) (id attendance.ClusterID, err error) {
	err = guard(path, func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout, PageSize: pageSize})
		if err != nil {
			return openError(path, err)
		}
		err = db.View(func(tx *bbolt.Tx) error {
			identity := tx.Bucket(bucketIdentity)
			if identity == nil {
				return corrupt(path, "it is not a hadir node file")
			}
			if b := identity.Get(rowCluster); len(b) == len(id) {
				id = attendance.ClusterID(b)
			}
			for state, name := range [][]byte{OutboxWaiting: bucketOutbox, OutboxFailed: bucketOutboxFailed} {
				if name == nil || tx.Bucket(name) == nil {
					continue // a node that never had an outbox
				}
				c := tx.Bucket(name).Cursor()
				for k, v := c.First(); k != nil; k, v = c.Next() {
					if err := each(decodeOutboxRow(seqOf(k), OutboxState(state), v)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		return errors.Join(err, db.Close())
	})
	return id, err
}
