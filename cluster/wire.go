package cluster

import (
	"errors"
	"fmt"
	"time"

	"hadir/attendance"
)

// The node RPC carries canonical encodings (attendance.Writer) over HTTP/2.
// Errors travel as numbers, so that the two sides agree on what was decided
// whatever the text says. Numbers are append only.
type code uint8

const (
	codeOK         code = 0
	codeNoLeader   code = 1
	codeOverloaded code = 2
	codeUnknown    code = 3
	codeInvalid    code = 4
	codeClosing    code = 5

	codeUnknownServer code = 6
	codeQuorumAtRisk  code = 7
	codeDiskLow       code = 8
)

var codes = []struct {
	code code
	err  error
}{
	{codeUnknown, ErrUnknown}, {codeOverloaded, ErrOverloaded}, {codeInvalid, ErrInvalid}, {codeClosing, ErrClosing},
	{codeUnknownServer, ErrUnknownServer}, {codeQuorumAtRisk, ErrQuorumAtRisk}, {codeDiskLow, ErrDiskLow},
	{codeNoLeader, ErrNoLeader}, {codeNoLeader, ErrNotLeader},
}

// codeOf gives the number of an error. What is not known to be a no is unknown.
func codeOf(err error) code {
	if err == nil {
		return codeOK
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codeUnknown
}

// err gives the error of a number. ErrClosing of another node means that there
// is no leader for the moment, not that this node closes.
func (c code) err() error {
	switch c {
	case codeOK:
		return nil
	case codeDiskLow: // of the leader: it hands over
		return fmt.Errorf("%w: the leader's disk is nearly full", ErrNoLeader)
	case codeClosing, codeNoLeader:
		return fmt.Errorf("%w: the node that was asked does not lead", ErrNoLeader)
	}
	for _, known := range codes {
		if known.code == c {
			return fmt.Errorf("%w: so says the leader", known.err)
		}
	}
	return ErrUnknown
}

var errWire = errors.New("malformed message on the node RPC")

// encodeBatch gives the commands of a forwarded batch, each as old as it is now.
func encodeBatch(batch []*pending, now time.Time) ([]byte, error) {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(len(batch)))
	for _, p := range batch {
		b, err := attendance.EncodeCommand(aged(p, now))
		if err != nil {
			return nil, err
		}
		w.Bytes(b)
	}
	return w.Data(), nil
}

// decodeBatch reads a forwarded batch. received is when it arrived; a check-in's
// receipt lies its age before that.
func decodeBatch(b []byte, received time.Time) ([]*pending, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	n := r.Uint()
	if n == 0 || n > attendance.MaxCommands {
		return nil, fmt.Errorf("%w: %d commands", errWire, n)
	}
	batch := make([]*pending, 0, n)
	for range n {
		c, err := attendance.DecodeCommand(r.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWire, err)
		}
		at := received
		if body, ok := c.Body.(attendance.CheckIn); ok {
			at = at.Add(-body.Age.Duration())
		}
		p, err := newPending(c, at)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWire, err)
		}
		batch = append(batch, p)
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	return batch, nil
}

func encodeAnswers(answers []answer) []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(len(answers)))
	for _, a := range answers {
		w.Uint(uint64(codeOf(a.err)))
		if a.err != nil {
			continue
		}
		w.Bytes(a.result.Outcome.Encode())
		w.String(a.result.Leader)
		w.Uint(a.result.Term)
		w.Uint(a.result.Index)
		w.Int(a.result.Commit.Microseconds())
	}
	return w.Data()
}

func decodeAnswers(b []byte, want int) ([]answer, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	if n := r.Uint(); n != uint64(want) {
		return nil, fmt.Errorf("%w: %d answers to %d commands", errWire, n, want)
	}
	answers := make([]answer, want)
	for i := range answers {
		if c := code(r.Small()); c != codeOK {
			answers[i].err = c.err()
			continue
		}
		outcome, err := attendance.DecodeOutcome(r.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWire, err)
		}
		answers[i].result = Result{
			Outcome: outcome, Leader: r.String(), Term: r.Uint(), Index: r.Uint(),
			Commit: time.Duration(r.Int()) * time.Microsecond,
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	return answers, nil
}

// encodeSections joins parts of an answer to which later versions add more: who
// does not know a section leaves it alone.
func encodeSections(sections ...[]byte) []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(len(sections)))
	for _, s := range sections {
		w.Bytes(s)
	}
	return w.Data()
}

const maxSections = 64

// decodeSections gives at least want sections; those that an older version did not
// send are empty.
func decodeSections(b []byte, want int) ([][]byte, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	n := r.Uint()
	if n > maxSections {
		return nil, fmt.Errorf("%w: %d sections", errWire, n)
	}
	sections := make([][]byte, max(uint64(want), n))
	for i := range n {
		sections[i] = r.Bytes()
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	return sections, nil
}

// The sections of the answer to a probe.
const (
	sectionProbe = iota
	sectionNotes
	probeSections
)

// maxServers bounds what is believed about the size of a cluster.
const maxServers = 1024

// probe is what a node says about itself when another one asks.
type probe struct {
	name      string
	role      Role
	term      uint64
	leader    string // server id
	commit    uint64
	applied   uint64
	seq       uint64
	wall      attendance.Millis // its wall clock
	version   string
	level     uint32
	startedAt attendance.Millis
	http      string
	lastIndex uint64 // of the log
	lastTerm  uint64 // of the log
	settled   bool   // has noted that it may not lose its log
	nonVoter  bool   // wants no vote
	diskLow   bool   // takes nothing in
	free      uint64 // bytes left for its files; 0 when it does not look
	health    Health // of the leader
	unhealthy []string
}

func (p probe) encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.String(p.name)
	w.String(string(p.role))
	w.Uint(p.term)
	w.String(p.leader)
	w.Uint(p.commit)
	w.Uint(p.applied)
	w.Uint(p.seq)
	w.Millis(p.wall)
	w.String(p.version)
	w.Uint(uint64(p.level))
	w.Millis(p.startedAt)
	w.String(p.http)
	w.Uint(p.lastIndex)
	w.Uint(p.lastTerm)
	w.Bool(p.settled)
	w.Bool(p.nonVoter)
	w.Bool(p.diskLow)
	w.Uint(p.free)
	w.Bool(p.health.Known)
	w.Bool(p.health.Healthy)
	w.Uint(uint64(p.health.Tolerance))
	w.Uint(uint64(len(p.unhealthy)))
	for _, id := range p.unhealthy {
		w.String(id)
	}
	return w.Data()
}

func decodeProbe(b []byte) (probe, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	p := probe{
		name: r.String(), role: Role(r.String()), term: r.Uint(), leader: r.String(), commit: r.Uint(), applied: r.Uint(),
		seq: r.Uint(), wall: r.Millis(), version: r.String(), level: r.Uint32(), startedAt: r.Millis(), http: r.String(),
		lastIndex: r.Uint(), lastTerm: r.Uint(), settled: r.Bool(), nonVoter: r.Bool(), diskLow: r.Bool(), free: r.Uint(),
		health: Health{Known: r.Bool(), Healthy: r.Bool(), Tolerance: int(r.Uint32())},
	}
	unhealthy := r.Uint()
	if unhealthy > maxServers {
		return probe{}, fmt.Errorf("%w: %d servers", errWire, unhealthy)
	}
	for range unhealthy {
		p.unhealthy = append(p.unhealthy, r.String())
	}
	if err := r.Err(); err != nil {
		return probe{}, fmt.Errorf("%w: %w", errWire, err)
	}
	return p, nil
}

// indexAnswer is the leader's answer to "how far must I be to have seen everything
// acknowledged before I asked", and, without an index, to a request to hand over.
type indexAnswer struct {
	code  code
	index uint64
}

func (i indexAnswer) encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(uint64(i.code))
	w.Uint(i.index)
	return w.Data()
}

func decodeIndex(b []byte) (indexAnswer, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	i := indexAnswer{code: code(r.Small()), index: r.Uint()}
	if err := r.Err(); err != nil {
		return indexAnswer{}, fmt.Errorf("%w: %w", errWire, err)
	}
	return i, nil
}

func (c Comparison) encode() []byte {
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.String(c.Node)
	w.Uint(c.Index)
	w.Uint(c.Seq)
	w.Bytes(c.Chain[:])
	w.Bytes(c.State[:])
	w.String(c.Err)
	return w.Data()
}

func decodeComparison(b []byte) (Comparison, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	c := Comparison{Node: r.String(), Index: r.Uint(), Seq: r.Uint()}
	chain, state := r.Bytes(), r.Bytes()
	c.Err = r.String()
	if err := r.Err(); err != nil {
		return Comparison{}, fmt.Errorf("%w: %w", errWire, err)
	}
	if len(chain) != len(c.Chain) || len(state) != len(c.State) {
		return Comparison{}, errWire
	}
	c.Chain, c.State = attendance.Hash(chain), attendance.Hash(state)
	return c, nil
}
