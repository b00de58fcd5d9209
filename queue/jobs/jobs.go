package jobs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"hadir/attendance"
	"hadir/cluster"
)

// Errors of this package.
var (
	// ErrUnknown: there is no such job, or not any more.
	ErrUnknown = errors.New("no such job")
	// ErrNotDone: the job has no result yet.
	ErrNotDone = errors.New("the job is not done")
	// ErrFull: no more jobs are taken at present.
	ErrFull = errors.New("too many jobs wait")
	// ErrTooLarge: the file or the result is larger than a job may hold.
	ErrTooLarge = errors.New("too large for a job")
	// ErrAway: the place where the job is cannot be asked.
	ErrAway = errors.New("the place of the job cannot be asked")
	// ErrPermanent, wrapped by a Runner's error, says that another try would fail, too.
	ErrPermanent = errors.New("the job cannot be done")
)

// State is how far a job has come.
type State string

// The states.
const (
	Waiting  State = "waiting"
	Running  State = "running"
	Retrying State = "retrying" // it failed and is tried again
	Done     State = "done"
	Failed   State = "failed" // it waits for a person
)

const (
	// Keep is how long a result and a failed job are kept.
	Keep = 24 * time.Hour
	// MaxTries is how often a job is tried before it has failed.
	MaxTries = 5
	// MaxBytes bounds a file, and a result, compressed.
	MaxBytes = 8 << 20

	tryTime    = 15 * time.Minute // for one try
	firstPause = time.Second      // after the first failure; doubled with each
	maxReason  = 500              // bytes that are kept of an error
)

// Task is work to be done.
type Task struct {
	Kind  string
	Owner uint64 // the person who asked for it
	Spec  []byte // what is wanted; small
	File  []byte // what it is to be done with; may be nil
}

// Result is what came of a job.
type Result struct {
	Body []byte
	Seq  uint64 // the newest event that it reflects; 0 when it reflects none
}

// Job is a task and how far it has come. Times that are not known are zero.
type Job struct {
	ID        string
	Kind      string
	Owner     uint64
	Spec      []byte
	State     State
	Tries     int // that failed
	Reason    string
	CreatedAt time.Time
	EndedAt   time.Time
	Seq       uint64 // of the result
	Size      int    // of the result, in bytes
}

// Runner does the work. It may be asked to do the same job twice, on different nodes,
// even at the same time.
type Runner interface {
	RunJob(ctx context.Context, id string, t Task) (Result, error)
}

// Peers asks the other nodes; *cluster.Node does.
type Peers interface {
	Name() string
	Status() cluster.Status
	Ask(ctx context.Context, member, question string, body []byte) ([]byte, error)
	Answer(question string, f cluster.Answerer)
}

// Clock is the source of time.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what is needed. Fields without "optional" are required.
type Config struct {
	Peers Peers
	Clock Clock
	Rand  io.Reader // cryptographic
	Log   *slog.Logger
	// Keys are those that copies in Redis are made with, the one to seal with first.
	Keys [][]byte
	// Redis is where jobs go. Optional: they stay in memory.
	Redis *redis.Options
	// Pace divides pauses and looks, for tests. Optional: 1.
	Pace int
}

// Jobs are all jobs of the cluster, as one node reaches them. All methods may be
// called concurrently.
type Jobs struct {
	cfg    Config
	memory *memory
	shared *shared // nil without Redis
}

// New gives jobs; nobody works on them before Run.
func New(c Config) (*Jobs, error) {
	if c.Peers == nil || c.Clock == nil || c.Rand == nil || c.Log == nil || len(c.Keys) == 0 {
		return nil, errors.New("jobs: Peers, Clock, Rand, Log and Keys are required")
	}
	c.Pace = max(1, c.Pace)
	j := &Jobs{cfg: c, memory: newMemory(c)}
	if c.Redis != nil {
		j.shared = newShared(c)
	}
	j.answer()
	return j, nil
}

// Run has jobs done until ctx ends.
func (j *Jobs) Run(ctx context.Context, r Runner) {
	var wg sync.WaitGroup
	wg.Go(func() { j.memory.run(ctx, r) })
	if j.shared != nil {
		wg.Go(func() { j.shared.run(ctx, r) })
	}
	wg.Wait()
}

// Start takes a task. It waits for two seconds at most. Errors: ErrFull, ErrTooLarge.
func (j *Jobs) Start(ctx context.Context, t Task) (Job, error) {
	packed, err := pack(t)
	if err != nil {
		return Job{}, err
	}
	job := Job{Kind: t.Kind, Owner: t.Owner, Spec: t.Spec, State: Waiting, CreatedAt: j.cfg.Clock.Now()}
	if j.shared != nil {
		var raw [16]byte
		if _, err := io.ReadFull(j.cfg.Rand, raw[:]); err != nil {
			return Job{}, fmt.Errorf("draw a name: %w", err)
		}
		job.ID = redisPlace + "-" + hex.EncodeToString(raw[:])
		err := j.shared.start(ctx, job, packed)
		if err == nil {
			return job, nil
		}
		j.cfg.Log.Warn("a job stays in memory: redis does not take it", "error", err)
	}
	return j.memory.start(job, packed)
}

// Find gives a job. Errors: ErrUnknown, ErrAway.
func (j *Jobs) Find(ctx context.Context, id string) (Job, error) {
	switch place, n := j.placeOf(id); place {
	case here:
		return j.memory.find(n)
	case inRedis:
		return j.shared.find(id)
	case elsewhere:
		return j.findAt(ctx, id)
	}
	return Job{}, ErrUnknown
}

// Result gives what came of a job. Errors: ErrUnknown, ErrNotDone, ErrAway.
func (j *Jobs) Result(ctx context.Context, id string) (body []byte, err error) {
	switch place, n := j.placeOf(id); place {
	case here:
		body, err = j.memory.result(n)
	case inRedis:
		body, err = j.shared.result(ctx, id)
	case elsewhere:
		body, err = j.resultAt(ctx, id)
	default:
		err = ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	return inflate(body)
}

// Act has a failed job tried again, or forgets it, and says whether there was one.
func (j *Jobs) Act(ctx context.Context, id string, dismiss bool) (found bool, err error) {
	switch place, n := j.placeOf(id); place {
	case here:
		return j.memory.act(n, dismiss), nil
	case inRedis:
		return j.shared.act(ctx, id, dismiss)
	case elsewhere:
		return j.actAt(ctx, id, dismiss)
	}
	return false, nil
}

// List gives the jobs that can be reached, the newest first, and the places that
// could not be asked.
func (j *Jobs) List(ctx context.Context) (all []Job, away []string) {
	all = j.memory.list()
	if j.shared != nil {
		found, err := j.shared.list()
		if err != nil {
			away = append(away, redisPlace)
		}
		all = append(all, found...)
	}
	others, missing := j.listAll(ctx)
	all, away = append(all, others...), append(away, missing...)
	slices.SortStableFunc(all, func(a, b Job) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all, away
}

// Counts gives how many jobs there are in each state: those in the memory of this node
// and, where it can be asked, in Redis, which are the same for all nodes.
func (j *Jobs) Counts() map[State]int {
	counts := map[State]int{Waiting: 0, Running: 0, Retrying: 0, Done: 0, Failed: 0}
	for _, job := range j.memory.list() {
		counts[job.State]++
	}
	if j.shared != nil {
		j.shared.count(counts)
	}
	return counts
}

// place is where a job is, as its name says.
type place int

const (
	nowhere place = iota
	here
	inRedis
	elsewhere

	redisPlace = "redis"
)

func (j *Jobs) placeOf(id string) (place, uint64) {
	at, n := Split(id)
	switch {
	case at == redisPlace && n == 0:
		if j.shared == nil {
			return nowhere, 0
		}
		return inRedis, 0
	case n == 0:
		return nowhere, 0
	case at == j.cfg.Peers.Name():
		return here, n
	}
	return elsewhere, n
}

// Split takes the name of a job apart: the node that has it and its number there, or
// redis and 0. For what is no name it gives "".
func Split(id string) (place string, n uint64) {
	cut := strings.LastIndexByte(id, '-')
	if cut < 1 || len(id) > 2*attendance.MaxNodeID {
		return "", 0
	}
	place, rest := id[:cut], id[cut+1:]
	if raw, err := hex.DecodeString(rest); place == redisPlace && err == nil && len(raw) == 16 {
		return redisPlace, 0
	}
	if n, err := strconv.ParseUint(rest, 10, 63); err == nil && n >= FirstNumber {
		return place, n
	}
	return "", 0
}

// Name is the inverse of Split for a node.
func Name(node string, n uint64) string { return node + "-" + strconv.FormatUint(n, 10) }

// pause gives how long to wait after so many failures.
func pause(failed int) time.Duration { return firstPause << (min(failed, MaxTries) - 1) }

// reasonOf gives what is kept of an error.
func reasonOf(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
}
