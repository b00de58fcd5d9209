package httpapi_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"hadir/cluster"
	"hadir/fsm"
	"hadir/httpapi"
)

// fakeWatch is the rest of a cluster: what this node has told the others, and what
// they say. To begin with everybody is connected to n2 once.
type fakeWatch struct {
	node *fakeNode

	mu      sync.Mutex
	posted  map[string][]byte
	notes   map[string][]cluster.Note
	refuse  error
	changed chan struct{}
}

var _ httpapi.Watcher = (*cluster.Node)(nil)

func newWatch(node *fakeNode) *fakeWatch {
	return &fakeWatch{
		node: node, posted: make(map[string][]byte), changed: make(chan struct{}),
		notes: map[string][]cluster.Note{"people": {{Node: "n2", ID: "n2-bb", Body: httpapi.EncodePeople(map[uint64]int{
			adminID: 1, teacherID: 1, aniID: 1, budiID: 1, citraID: 1,
		})}}},
	}
}

func (w *fakeWatch) Subscribe(f func(fsm.Commit)) { w.node.machine.Subscribe(f) }

func (w *fakeWatch) Post(topic string, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return w.refuse
	}
	w.posted[topic] = bytes.Clone(body)
	return nil
}

func (w *fakeWatch) Notes(topic string) []cluster.Note {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.notes[topic])
}

func (w *fakeWatch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// say has another node say something.
func (w *fakeWatch) say(topic, node string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes[topic] = slices.DeleteFunc(slices.Clone(w.notes[topic]), func(n cluster.Note) bool { return n.Node == node })
	w.notes[topic] = append(w.notes[topic], cluster.Note{Node: node, ID: node + "-xx", Body: body})
	close(w.changed)
	w.changed = make(chan struct{})
}

// wake tells that something has changed.
func (w *fakeWatch) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// told gives what this node has posted.
func (w *fakeWatch) told(topic string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.posted[topic]
}

// toldPeople gives the note about people in words.
func (w *fakeWatch) toldPeople() string {
	people, err := httpapi.DecodePeople(w.told("people"))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(people)
}
