package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"hadir/cmd/hadir/internal/logs"
)

// awaitNodes returns when every node can decide and has the sample people: a
// node is ready when it can check sessions, and the secret for that is the last
// thing that a new cluster is given.
func (s *stage) awaitNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	begun := time.Now()
	waiting := map[int]bool{}
	for i := range s.layout.Nodes {
		waiting[i] = true
	}
	err := s.poll(ctx, func() bool {
		for i := range waiting {
			if s.ready(ctx, i) {
				delete(waiting, i)
				fmt.Fprintf(s.cfg.Out, "%s is ready after %.1f s\n", s.layout.Nodes[i].ID, time.Since(begun).Seconds())
			}
		}
		return len(waiting) == 0
	})
	if err != nil {
		for i := range waiting {
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("node %s is not ready after %s; the end of its log: %s", s.layout.Nodes[i].ID, readyTimeout, lastLine(s.layout.log(i)))
			}
		}
		return err
	}
	return nil
}

// ready asks a node whether it can take part in decisions.
func (s *stage) ready(ctx context.Context, i int) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.layout.url(i)+"/readyz?decide", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close() //nolint:errcheck // only the status counts
	return resp.StatusCode == http.StatusOK
}

func (s *stage) poll(ctx context.Context, ok func() bool) error {
	return s.pollEvery(ctx, readyEvery, ok)
}

// pollEvery asks until the answer is yes, ctx ends or a node has ended.
func (s *stage) pollEvery(ctx context.Context, every time.Duration, ok func() bool) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.fallen:
			return s.explainFall()
		}
	}
	return nil
}

// explainFall repeats what a node said before it ended.
func (s *stage) explainFall() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.layout.Nodes {
		if _, ok := s.fell[n.ID]; ok {
			return fmt.Errorf("node %s did not start: %s", n.ID, lastLine(s.layout.log(i)))
		}
	}
	return errors.New("a node did not start")
}

const tailBytes = 4 << 10

// lastLine gives the last line of a log.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	b = b[max(0, len(b)-tailBytes):]
	return logs.OneLine(string(b[bytes.LastIndexByte(b, '\n')+1:]))
}
