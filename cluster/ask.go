package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// pathAsk is where other packages of a node answer those of another one.
const pathAsk = "/ask/{question}"

// Answerer answers a question that another node of the cluster asks. ctx ends when
// the asker gives up. The error's text goes to the asker.
type Answerer func(ctx context.Context, question []byte) ([]byte, error)

// answerers are by question.
type answerers struct {
	mu sync.RWMutex
	by map[string]Answerer
}

// Answer has f answer a question from now on. What is asked before that is refused.
func (n *Node) Answer(question string, f Answerer) {
	n.answerers.mu.Lock()
	defer n.answerers.mu.Unlock()
	if n.answerers.by == nil {
		n.answerers.by = make(map[string]Answerer)
	}
	n.answerers.by[question] = f
}

// Ask asks another member, by its name, and waits for the answer until ctx ends.
// It may be asked any number of times: nothing is asked again by itself.
func (n *Node) Ask(ctx context.Context, member, question string, body []byte) ([]byte, error) {
	for _, s := range n.servers() {
		if !s.self && nameOf(s.target.ID) == member {
			return n.call(ctx, s.target, http.MethodPost, "/ask/"+question, body, nil)
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknownServer, member)
}

func (n *Node) serveAsk(w http.ResponseWriter, r *http.Request) {
	n.answerers.mu.RLock()
	f := n.answerers.by[r.PathValue("question")]
	n.answerers.mu.RUnlock()
	if f == nil {
		http.Error(w, "nobody answers that here", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		http.Error(w, "body cannot be read", http.StatusBadRequest)
		return
	}
	answer, err := f(r.Context(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, answer)
}
