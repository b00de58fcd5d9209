package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Questions that nodes ask each other about the jobs in their memories.
const (
	questionFind   = "jobs.find"
	questionResult = "jobs.result"
	questionAct    = "jobs.act"
	questionList   = "jobs.list"

	askTimeout  = 500 * time.Millisecond
	partBytes   = 64 << 10 // of a result in one answer; in JSON it grows by a third
	partTimeout = 2 * time.Second
)

type jobQuestion struct {
	ID      string
	Dismiss bool
	From    int // byte of the result
}

// jobAnswer is the answer to each of them. What is no error of asking is part of it.
type jobAnswer struct {
	Job     Job
	Jobs    []Job
	Part    []byte
	Total   int
	Found   bool
	Unknown bool
	NotDone bool
}

func (a *jobAnswer) err() error {
	switch {
	case a.Unknown:
		return ErrUnknown
	case a.NotDone:
		return ErrNotDone
	}
	return nil
}

// answer answers the other nodes from now on.
func (j *Jobs) answer() {
	for question, f := range map[string]func(n uint64, q jobQuestion) (jobAnswer, error){
		questionFind: func(n uint64, _ jobQuestion) (a jobAnswer, err error) {
			a.Job, err = j.memory.find(n)
			return a, err
		},
		questionResult: func(n uint64, q jobQuestion) (a jobAnswer, err error) {
			body, err := j.memory.result(n)
			if err != nil {
				return a, err
			}
			from := min(max(0, q.From), len(body))
			a.Total, a.Part = len(body), body[from:min(len(body), from+partBytes)]
			return a, nil
		},
		questionAct: func(n uint64, q jobQuestion) (a jobAnswer, err error) {
			a.Found = j.memory.act(n, q.Dismiss)
			return a, nil
		},
		questionList: func(uint64, jobQuestion) (a jobAnswer, err error) {
			a.Jobs = j.memory.list()
			return a, nil
		},
	} {
		j.cfg.Peers.Answer(question, func(_ context.Context, raw []byte) ([]byte, error) {
			var q jobQuestion
			if err := json.Unmarshal(raw, &q); err != nil {
				return nil, err
			}
			_, n := Split(q.ID)
			a, err := f(n, q)
			switch {
			case errors.Is(err, ErrUnknown):
				a.Unknown = true
			case errors.Is(err, ErrNotDone):
				a.NotDone = true
			case err != nil:
				return nil, err
			}
			return json.Marshal(a)
		})
	}
}

// ask asks one node.
func (j *Jobs) ask(ctx context.Context, node, question string, q jobQuestion) (a jobAnswer, err error) {
	raw, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	raw, err = j.cfg.Peers.Ask(ctx, node, question, raw)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %s: %w", ErrAway, node, err)
	}
	return a, a.err()
}

func (j *Jobs) findAt(ctx context.Context, id string) (Job, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	node, _ := Split(id)
	a, err := j.ask(ctx, node, questionFind, jobQuestion{ID: id})
	return a.Job, err
}

func (j *Jobs) actAt(ctx context.Context, id string, dismiss bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	node, _ := Split(id)
	a, err := j.ask(ctx, node, questionAct, jobQuestion{ID: id, Dismiss: dismiss})
	return a.Found, err
}

// resultAt fetches a result in parts.
func (j *Jobs) resultAt(ctx context.Context, id string) (body []byte, err error) {
	node, _ := Split(id)
	for {
		part, cancel := context.WithTimeout(ctx, partTimeout)
		a, err := j.ask(part, node, questionResult, jobQuestion{ID: id, From: len(body)})
		cancel()
		if err != nil {
			return nil, err
		}
		body = append(body, a.Part...)
		switch {
		case len(body) == a.Total:
			return body, nil
		case len(a.Part) == 0 || a.Total > MaxBytes:
			return nil, fmt.Errorf("%w: %s: the result is not whole", ErrAway, node)
		}
	}
}

// listAll gives the jobs in the memories of all other nodes.
func (j *Jobs) listAll(ctx context.Context) (all []Job, away []string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range j.cfg.Peers.Status().Nodes {
		if n.Name == j.cfg.Peers.Name() {
			continue
		}
		wg.Go(func() {
			a, err := j.ask(ctx, n.Name, questionList, jobQuestion{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				away = append(away, n.Name)
				return
			}
			all = append(all, a.Jobs...)
		})
	}
	wg.Wait()
	return all, away
}
