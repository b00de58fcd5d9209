package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hadir/attendance"
)

// pending is one command on its way to a decision.
type pending struct {
	command  attendance.Command
	received time.Time // monotonic; a check-in counts from then
	size     int       // bytes in an entry
	claimed  atomic.Uint32
	done     chan answer // buffered: whoever answers never waits
}

// answer is what became of a pending command.
type answer struct {
	result Result
	err    error
}

// Who has claimed a pending command: nobody, the sender, or the caller who gave
// up. Only one of the two can, so a caller who gave up in time knows for sure
// that nothing was sent.
const (
	unclaimed = iota
	sent
	abandoned
)

func (p *pending) claim(by uint32) bool { return p.claimed.CompareAndSwap(unclaimed, by) }

func newPending(c attendance.Command, received time.Time) (*pending, error) {
	if body, ok := c.Body.(attendance.SetLevel); ok && body.Level > attendance.Level {
		// In the log it would stop every node with a binary such as this one.
		return nil, fmt.Errorf("%w: command level %d, this program knows %d", ErrInvalid, body.Level, attendance.Level)
	}
	// A check-in grows while it waits: its age is put in when it is sent.
	grown := c
	if body, ok := c.Body.(attendance.CheckIn); ok && !body.WallClock {
		body.Age = attendance.MaxMillis
		grown.Body = body
	}
	size, err := grown.Size()
	if err != nil {
		return nil, err
	}
	return &pending{command: c, received: received, size: size, done: make(chan answer, 1)}, nil
}

// Bounds of a batcher.
const (
	queueLength = 4096
	inFlight    = 2
	// entryOverhead is what an entry takes beside its commands: level, cluster id
	// and time.
	entryOverhead = 64
)

// batcher packs what waits into batches and keeps at most two of them in flight.
// There is no timer: the time that the batch before takes is the window in which
// the next one gathers, so a lone command waits for nobody and a crowd shares.
type batcher struct {
	queue chan *pending
	slots chan struct{}
	send  func([]*pending) // sends and answers each; runs in its own goroutine
	wg    sync.WaitGroup

	mu     sync.Mutex // orders submit and the last refusals
	closed bool
}

func newBatcher(send func([]*pending)) *batcher {
	return &batcher{queue: make(chan *pending, queueLength), slots: make(chan struct{}, inFlight), send: send}
}

// submit queues a command. Errors: ErrOverloaded when the queue is full,
// ErrClosing when nobody serves it any more.
func (b *batcher) submit(p *pending) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosing
	}
	select {
	case b.queue <- p:
		return nil
	default:
		return ErrOverloaded
	}
}

// run packs until ctx ends, then waits for what is in flight.
func (b *batcher) run(ctx context.Context) {
	defer b.wg.Wait()
	var first *pending // did not fit into the batch before
	for {
		// The slot first: what arrives while both are taken goes into one batch.
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			b.refuse(first)
			return
		}
		if first == nil {
			select {
			case first = <-b.queue:
			case <-ctx.Done():
				b.refuse(nil)
				return
			}
		}
		var batch []*pending
		batch, first = b.pack(first)
		if len(batch) == 0 {
			<-b.slots
			continue
		}
		b.wg.Go(func() {
			defer func() { <-b.slots }()
			b.send(batch)
		})
	}
}

// pack takes what is queued, up to the limits of an entry. What its caller has
// given up on is left out.
func (b *batcher) pack(first *pending) (batch []*pending, next *pending) {
	size := entryOverhead
	for p := first; ; {
		if size+p.size > attendance.MaxEntryBytes {
			return batch, p
		}
		if p.claim(sent) {
			batch = append(batch, p)
			size += p.size
		}
		if len(batch) == attendance.MaxCommands {
			return batch, nil
		}
		select {
		case p = <-b.queue:
		default:
			return batch, nil
		}
	}
}

// refuse answers what is still queued when the node shuts down, and whatever comes
// later.
func (b *batcher) refuse(first *pending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for p := first; ; {
		if p != nil && p.claim(sent) {
			p.done <- answer{err: ErrClosing}
		}
		select {
		case p = <-b.queue:
		default:
			return
		}
	}
}

// refuseEncoding handles a batch that could not be encoded, so that nothing of it
// was sent: each command was checked on its way in, but together they may not fit.
// It is sent in halves; only a command that fails alone is to blame.
func refuseEncoding(batch []*pending, err error, send func([]*pending)) {
	if len(batch) == 1 {
		answerAll(batch, fmt.Errorf("%w: %w", ErrInvalid, err))
		return
	}
	send(batch[:len(batch)/2])
	send(batch[len(batch)/2:])
}

// answerAll gives every command of a batch the same error.
func answerAll(batch []*pending, err error) {
	for _, p := range batch {
		p.done <- answer{err: err}
	}
}
