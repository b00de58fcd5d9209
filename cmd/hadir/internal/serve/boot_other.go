//go:build !linux

package serve

import (
	"crypto/rand"
	"sync"
	"time"
)

// Elsewhere a start of the process stands for one of the machine: what waited
// before it is as old as the wall clock says.
var processStart = sync.OnceValues(func() (id string, at time.Time) { return rand.Text(), time.Now() })

// Boot names the present start of the process and says how long ago it was.
func (Clock) Boot() (id string, since time.Duration) {
	id, at := processStart()
	return id, time.Since(at)
}
