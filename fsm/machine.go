package fsm

import (
	"errors"
	"fmt"
	"sync"

	"hadir/attendance"
	"hadir/store"
)

// ErrHalted says that the machine has stopped for good; the reason went to Halt.
var ErrHalted = errors.New("state machine has stopped")

// Options are what the machine needs from outside.
type Options struct {
	// Halt ends the process. It is called once, with a line that says what
	// happened and what to do. If it returns, as it does in tests, the machine
	// answers ErrHalted for ever and touches the state no more.
	Halt func(reason error)
	// Failpoint, where given, is called with the name of each place at which a
	// crash would be interesting. Only for tests.
	Failpoint func(name string)

	keepExpired bool // tests of this package turn retention work off to show that it is invisible
}

// Commit is what one transaction changed, for those who watch.
type Commit struct {
	Index    uint64   // raft index that is applied now
	Term     uint64   // and its term
	FirstSeq uint64   // of Events; they are dense
	Events   [][]byte // stored form, in order; read only
	Restored bool     // the whole state was replaced: everything before is void
}

// LastSeq gives the seq of the last event, or the one before FirstSeq.
func (c Commit) LastSeq() uint64 { return c.FirstSeq + uint64(len(c.Events)) - 1 }

// Machine applies the replicated log to the state. Apply and Restore are called
// by one goroutine at a time, in log order; everything else may be called
// concurrently.
type Machine struct {
	state *store.State
	opts  Options

	mu          sync.Mutex
	halted      error
	subscribers []func(Commit)
}

// New gives a machine over an open state. The state must be changed by nobody
// else.
func New(state *store.State, opts Options) *Machine { return &Machine{state: state, opts: opts} }

// State gives the state, for reading.
func (m *Machine) State() *store.State { return m.state }

// Subscribe has f called after each commit, in order, by the goroutine that
// applies. f must not block: it wakes others and returns.
func (m *Machine) Subscribe(f func(Commit)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subscribers = append(m.subscribers, f)
}

// Apply applies entries in one transaction and gives the outcomes of each, or
// stops the process. When it returns, the effects are synced to disk.
//
// The error is ErrHalted and nothing else: the log is committed by a majority,
// so a node that cannot follow it may not go on.
func (m *Machine) Apply(entries []Entry) ([][]attendance.Outcome, error) {
	if err := m.err(); err != nil {
		return nil, err
	}
	// Everything is decoded before the transaction: a node that cannot read an
	// entry stops before it has changed anything in this batch.
	batch := make([]decoded, len(entries))
	for i, e := range entries {
		content, err := attendance.DecodeEntry(e.Data)
		if err != nil {
			return nil, m.halt(decodeError(e, err))
		}
		batch[i] = decoded{Entry: e, content: content}
	}
	var commit Commit
	out := make([][]attendance.Outcome, len(batch))
	err := m.state.Update(func(tx *store.Tx) error {
		commit.FirstSeq = tx.Meta().Seq + 1
		for i, e := range batch {
			outcomes, err := m.applyEntry(tx, e)
			if err != nil {
				return err
			}
			out[i] = outcomes
		}
		commit.Index, commit.Term, commit.Events = tx.Meta().Applied, tx.Meta().Term, tx.Appended()
		return nil
	})
	if err != nil {
		return nil, m.halt(applyError(err))
	}
	m.publish(commit)
	return out, nil
}

// Configure stores a raft configuration, in the form in which raft encodes it,
// for people who look at a stopped node. It advances the applied index like any
// other entry.
func (m *Machine) Configure(index, term uint64, configuration []byte) error {
	if err := m.err(); err != nil {
		return err
	}
	var commit Commit
	err := m.state.Update(func(tx *store.Tx) error {
		before := tx.Meta()
		if index > before.Applied {
			tx.SetMeta(func(meta *store.Meta) { meta.Applied, meta.Term = index, term })
			if err := tx.PutConfiguration(configuration); err != nil {
				return err
			}
		}
		commit = Commit{Index: tx.Meta().Applied, Term: tx.Meta().Term, FirstSeq: before.Seq + 1}
		return checkOrder(before, index, term)
	})
	if err != nil {
		return m.halt(applyError(err))
	}
	m.publish(commit)
	return nil
}

// replace swaps in a whole state that was received and verified.
func (m *Machine) replace(path string) error {
	if err := m.state.Replace(path); err != nil {
		return err
	}
	var commit Commit
	if err := m.state.View(func(tx *store.ReadTx) error {
		meta := tx.Meta()
		commit = Commit{Index: meta.Applied, Term: meta.Term, FirstSeq: meta.Seq + 1, Restored: true}
		return nil
	}); err != nil {
		return err
	}
	m.publish(commit)
	return nil
}

func (m *Machine) publish(c Commit) {
	m.mu.Lock()
	subscribers := m.subscribers
	m.mu.Unlock()
	for _, f := range subscribers {
		f(c)
	}
}

// err says whether the machine has stopped.
func (m *Machine) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.halted
}

// halt stops the process, once.
func (m *Machine) halt(reason error) error {
	m.mu.Lock()
	first := m.halted == nil
	if first {
		m.halted = fmt.Errorf("%w: %w", ErrHalted, reason)
	}
	err := m.halted
	m.mu.Unlock()
	if first {
		m.opts.Halt(reason)
	}
	return err
}

// hit calls a failpoint, where there is one.
func hit(failpoint func(string), name string) {
	if failpoint != nil {
		failpoint(name)
	}
}

func decodeError(e Entry, err error) error {
	switch {
	case errors.Is(err, attendance.ErrUnknownLevel), errors.Is(err, attendance.ErrUnknownOp):
		return fmt.Errorf("log entry %d of term %d cannot be applied: %w: install a hadir at least as new as the one "+
			"that leads the cluster, then start this node again", e.Index, e.Term, err)
	}
	return fmt.Errorf("log entry %d of term %d cannot be applied: %w: the log of this node is damaged: %s",
		e.Index, e.Term, err, asNewNode)
}

func applyError(err error) error {
	switch {
	case errors.Is(err, ErrForeignLog):
		return fmt.Errorf("%w: %s", err, asNewNode)
	case errors.Is(err, ErrDiverged):
		return err
	case errors.Is(err, attendance.ErrUnknownLevel):
		return fmt.Errorf("%w: install the newer hadir, then start this node again", err)
	}
	return fmt.Errorf("the state cannot be written: %w: check the disk, then start this node again", err)
}
