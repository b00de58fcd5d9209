package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster/transport"
)

// Bounds of notes.
const (
	MaxNote       = 32 << 10 // bytes of one note
	MaxNoteTopics = 16       // topics that one node may use in its life
	NotesFor      = 10 * time.Second

	maxTopicName = 64
)

// ErrNote means that a note cannot be posted; it is wrapped with what is wrong.
var ErrNote = errors.New("note cannot be posted")

// Note is the newest that another member has said about a topic.
type Note struct {
	Node string // name of the member
	ID   string // its raft server id
	Body []byte // shared by all who ask: do not change it
	// At is when the member last confirmed, to this node, that this is still its
	// note. It says nothing about when it was posted.
	At time.Time
}

// Post replaces this node's note on a topic. All members have it within about
// half a second of being reachable; an empty body withdraws it. Notes are
// forgotten when the node stops, may overtake each other between topics, and one
// that is replaced soon may never be seen: they are for the state of things, not
// for messages. Body is copied; an unchanged one costs nothing.
//
// Post never blocks on another node. Errors: ErrNote when the body has more than
// MaxNote bytes, the topic no name of 1 … 64 bytes, or there are too many topics.
func (n *Node) Post(topic string, body []byte) error {
	switch {
	case topic == "" || len(topic) > maxTopicName:
		return fmt.Errorf("%w: a topic of %d bytes, want 1 … %d", ErrNote, len(topic), maxTopicName)
	case len(body) > MaxNote:
		return fmt.Errorf("%w: %d bytes on %q, at most %d", ErrNote, len(body), topic, MaxNote)
	}
	return n.notes.post(topic, body)
}

// Notes gives what the other members say about a topic, by name of the node. A
// member that has not answered for NotesFor is left out, as are those without a
// note and servers that are no members.
func (n *Node) Notes(topic string) []Note {
	now := n.clock.Now()
	var out []Note
	for _, s := range n.servers() {
		if s.self {
			continue
		}
		if note, ok := n.notes.of(s.target.ID, topic); ok && now.Sub(note.At) <= NotesFor {
			out = append(out, note)
		}
	}
	slices.SortFunc(out, func(a, b Note) int { return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.ID, b.ID)) })
	return out
}

// notes is what this node says and what it has heard. They travel with the probe:
// whoever asks how a node is says which of its notes it has, as generation and
// version, and the answer carries what is newer. So nothing is sent twice, a
// member that was away gets the newest at once, and the one who posts keeps no
// books about who has what.
type notes struct {
	mu      sync.Mutex
	version uint64            // counts own changes
	own     map[string]posted // a body may be empty: withdrawn
	heard   map[string]heard  // by server id
	changes uint64            // counts what was heard
}

type posted struct {
	body    []byte
	version uint64
}

// heard is the notes of one peer. A new generation is a new start of it, which
// knows nothing of what it said before.
type heard struct {
	generation uint64
	version    uint64
	at         time.Time
	topics     map[string]posted
}

func (s *notes) post(topic string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.own[topic]
	switch {
	case known && slices.Equal(old.body, body), !known && len(body) == 0:
		return nil
	case !known && len(s.own) >= MaxNoteTopics:
		return fmt.Errorf("%w: %q is one topic too many, at most %d", ErrNote, topic, MaxNoteTopics)
	}
	if s.own == nil {
		s.own = make(map[string]posted)
	}
	s.version++
	s.own[topic] = posted{slices.Clone(body), s.version}
	return nil
}

func (s *notes) of(id, topic string) (Note, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heard[id]
	p := h.topics[topic]
	return Note{Node: nameOf(id), ID: id, Body: p.body, At: h.at}, len(p.body) > 0
}

// headerNotes says in a request which notes of the asked node are known:
// "generation.version".
const headerNotes = "Hadir-Notes"

// known gives that header for one peer.
func (s *notes) known(id string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heard[id]
	return map[string]string{headerNotes: fmt.Sprintf("%d.%d", h.generation, h.version)}
}

// news encodes what the asker does not know yet.
func (s *notes) news(generation uint64, header string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := uint64(0)
	if g, v, ok := strings.Cut(header, "."); ok && g == strconv.FormatUint(generation, 10) {
		if known, err := strconv.ParseUint(v, 10, 64); err == nil {
			since = known
		}
	}
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(generation)
	w.Uint(s.version)
	count := uint64(0)
	for _, p := range s.own {
		if p.version > since {
			count++
		}
	}
	w.Uint(count)
	for topic, p := range s.own {
		if p.version > since {
			w.String(topic)
			w.Uint(p.version)
			w.Bytes(p.body)
		}
	}
	return w.Data()
}

// serveNews gives the notes for the asker of a probe: only members hear them.
func (n *Node) serveNews(r *http.Request) []byte {
	peer, ok := transport.PeerFrom(r.Context())
	if own := n.clusterID(); !ok || own.IsZero() || peer.ClusterID != own.String() {
		return nil
	}
	return n.notes.news(n.own.Generation(), r.Header.Get(headerNotes))
}

// hear takes the notes of an answer. Answers may overtake each other, so each
// topic has a version of its own.
func (s *notes) hear(id string, raw []byte, at time.Time) error {
	if len(raw) == 0 {
		return nil
	}
	r := attendance.NewReader(raw)
	r.Version(1)
	generation, version, count := r.Uint(), r.Uint(), r.Uint()
	if count > MaxNoteTopics {
		return fmt.Errorf("%w: %d notes", errWire, count)
	}
	topics := make(map[string]posted, count)
	for range count {
		topic := r.String()
		p := posted{version: r.Uint()}
		if p.body = r.Bytes(); len(p.body) > MaxNote {
			return fmt.Errorf("%w: a note of %d bytes", errWire, len(p.body))
		}
		topics[topic] = p
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: %w", errWire, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h, known := s.heard[id]
	switch {
	case known && generation < h.generation:
		return nil // from before it was started again
	case !known || generation > h.generation:
		h = heard{generation: generation, topics: make(map[string]posted)}
		s.changes++
	}
	for topic, p := range topics {
		if p.version > h.topics[topic].version && (h.topics[topic].version > 0 || len(h.topics) < MaxNoteTopics) {
			h.topics[topic] = p
			s.changes++
		}
	}
	h.version = max(h.version, version)
	if at.After(h.at) {
		h.at = at
	}
	if s.heard == nil {
		s.heard = make(map[string]heard)
	}
	s.heard[id] = h
	return nil
}

// heardChanges counts what was heard, so that a change can be told.
func (s *notes) heardChanges() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// keep forgets servers that are no members any more.
func (s *notes) keep(member func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.heard {
		if !member(id) {
			delete(s.heard, id)
		}
	}
}
