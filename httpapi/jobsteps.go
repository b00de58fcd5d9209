package httpapi

import (
	"encoding/json"
	"maps"
	"sync"
	"time"

	"hadir/httpapi/stream"
)

const (
	jobsTopic = "jobs" // the note with how far this node's jobs have come
	// endedFor is how long it is told that a job has ended: longer than a note needs to
	// reach the node to which its owner is connected.
	endedFor = 5 * time.Second
)

// jobStep is how far a job has come that a node works on, or has just worked on.
type jobStep struct {
	Owner uint64
	Done  int
	Of    int // 0 when nobody can say
	Ended bool
}

// steps are those of this node's jobs.
type steps struct {
	clock Clock

	mu    sync.Mutex
	by    map[string]jobStep
	ended map[string]time.Time
}

func newSteps(c Clock) *steps {
	return &steps{clock: c, by: make(map[string]jobStep), ended: make(map[string]time.Time)}
}

// following is one try of a job.
type following struct {
	steps *steps
	id    string
}

func (s *steps) follow(id string, owner uint64) *following {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ended, id)
	s.by[id] = jobStep{Owner: owner}
	return &following{s, id}
}

// at notes how far it has come. It may be called concurrently, and never goes back.
func (f *following) at(done, of int) {
	f.steps.mu.Lock()
	defer f.steps.mu.Unlock()
	step := f.steps.by[f.id]
	step.Done, step.Of = max(step.Done, done), of
	f.steps.by[f.id] = step
}

func (f *following) end() {
	f.steps.mu.Lock()
	defer f.steps.mu.Unlock()
	step := f.steps.by[f.id]
	step.Ended = true
	f.steps.by[f.id] = step
	f.steps.ended[f.id] = f.steps.clock.Now()
}

// now gives the steps of this node's jobs, by id.
func (s *steps) now() map[string]jobStep {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.ended {
		if s.clock.Now().Sub(at) > endedFor {
			delete(s.by, id)
			delete(s.ended, id)
		}
	}
	return maps.Clone(s.by)
}

// jobSteps gives those of all nodes, as far as this one has heard of them.
func (a *API) jobSteps() map[string]jobStep {
	all := make(map[string]jobStep)
	if a.Watcher != nil {
		for _, note := range a.Watcher.Notes(jobsTopic) {
			var theirs map[string]jobStep
			if json.Unmarshal(note.Body, &theirs) == nil {
				maps.Copy(all, theirs)
			}
		}
	}
	maps.Copy(all, a.steps.now())
	return all
}

// jobFrameJSON is progress of a job. Its seq is 0: it is no tap's.
type jobFrameJSON struct {
	Seq   uint64 `json:"seq"`
	Job   string `json:"job"`
	State string `json:"state"` // running, or ended: then GET /jobs/{id} says how
	Done  int    `json:"done"`
	Of    int    `json:"of"`
}

// showJobs tells the other nodes how far this one's jobs have come, and owners who are
// connected here how far theirs have, wherever they are done.
func (p *pushes) showJobs() {
	own := p.api.steps.now()
	var body []byte
	if len(own) > 0 {
		var err error
		if body, err = json.Marshal(own); err != nil {
			p.api.Log.Error("steps of jobs could not be encoded", "error", err)
			return
		}
	}
	if err := p.watch.Post(jobsTopic, body); err != nil {
		p.api.Log.Debug("the others are not told how far jobs have come", "error", err)
	}
	all := p.api.jobSteps()
	for id, step := range all {
		if p.jobs[id] == step {
			continue
		}
		state := "running"
		if step.Ended {
			state = "ended"
		}
		data, err := json.Marshal(jobFrameJSON{Job: id, State: state, Done: step.Done, Of: step.Of})
		if err != nil {
			p.api.Log.Error("progress of a job could not be encoded", "error", err)
			return
		}
		p.hub.Publish(stream.Progress, []uint64{step.Owner}, data)
	}
	p.jobs = all
}
