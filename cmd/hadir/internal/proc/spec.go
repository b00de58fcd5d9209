package proc

import (
	"errors"
	"io"
)

// The errors of a Set.
var (
	ErrUnknown = errors.New("there is no process of that name")
	ErrRunning = errors.New("the process runs already")
	ErrGone    = errors.New("the process does not run")
	ErrClosed  = errors.New("the processes are being stopped")
)

// Spec says how a child is started, and started again.
type Spec struct {
	Name string
	Path string
	Args []string // without the program's name
	Env  []string // the whole environment
	Out  io.Writer
}

// State is what a child is doing.
type State string

// The states.
const (
	Running State = "running"
	Frozen  State = "frozen"
	Dead    State = "dead"
)

// Info describes a child. PID is that of the last process, also when it is dead.
type Info struct {
	Name  string
	PID   int
	State State
}

// Event tells that a child was started or has ended.
type Event struct {
	Info
	// Err says how it ended; nil when it was started or ended with code 0.
	Err error
	// Meant is true when it ended because the Set had ended it.
	Meant bool
}
