package serve

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootID names the present start of the machine; it cannot change while this
// process lives.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // ages are told by the wall clock then
	}
	return strings.TrimSpace(string(b))
})

// Boot names the present start of the machine and says how long ago it was, sleep
// counted. Without a name the time means nothing beyond this process.
func (Clock) Boot() (id string, since time.Duration) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return "", 0
	}
	return bootID(), time.Duration(t.Nano())
}
