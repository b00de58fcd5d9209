package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAskAnotherNode(t *testing.T) {
	g := newGroup(t, 2)
	g.startAll()
	a, b := g.nodes[0], g.nodes[1]
	if _, err := a.Ask(g.ctx(), "n2", "greeting", nil); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("before there is an answer: %v", err)
	}
	b.Answer("greeting", func(_ context.Context, question []byte) ([]byte, error) {
		if len(question) == 0 {
			return nil, errors.New("nobody to greet")
		}
		return append([]byte("hello "), question...), nil
	})
	if got, err := a.Ask(g.ctx(), "n2", "greeting", []byte("n1")); err != nil || string(got) != "hello n1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := a.Ask(g.ctx(), "n2", "greeting", nil); err == nil || !strings.Contains(err.Error(), "nobody to greet") {
		t.Errorf("an error of the other side: %v", err)
	}
	for _, nobody := range []string{"n1", "n9"} { // oneself is no other node
		if _, err := a.Ask(g.ctx(), nobody, "greeting", nil); !errors.Is(err, ErrUnknownServer) {
			t.Errorf("%s: %v", nobody, err)
		}
	}
}
