// Package progress shows a person how far something long has come: a bar that is
// drawn again and again at a terminal, and a plain line now and then where nobody
// looks at it live, such as in the mail of a timer.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	width      = 30
	redraw     = 100 * time.Millisecond
	plainEvery = 5 * time.Second
	rateOver   = 3 * time.Second // the rate is that of about the last so many seconds
)

// Bar shows one thing. Its methods may be called concurrently.
type Bar struct {
	w        io.Writer
	what     string
	terminal bool
	now      func() time.Time

	mu      sync.Mutex
	begun   time.Time
	shown   time.Time
	length  int // of the line on the terminal
	moved   int64
	share   float64
	samples []sample
}

type sample struct {
	at    time.Time
	moved int64
}

// New gives a bar for what is named, which begins now. A terminal gets a bar that
// is drawn over itself, anything else gets lines.
func New(w io.Writer, terminal bool, now func() time.Time, what string) *Bar {
	begun := now()
	return &Bar{w: w, what: what, terminal: terminal, now: now, begun: begun, shown: begun, samples: []sample{{at: begun}}}
}

// Set says how many bytes have moved so far and which share of the whole that is,
// 0 … 1; negative when nobody knows.
func (b *Bar) Set(moved int64, share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved, b.share = moved, min(share, 1)
	now := b.now()
	every := plainEvery
	if b.terminal {
		every = redraw
	}
	if now.Sub(b.shown) < every {
		return
	}
	b.shown = now
	b.samples = append(b.samples, sample{now, moved})
	for len(b.samples) > 2 && now.Sub(b.samples[1].at) >= rateOver {
		b.samples = b.samples[1:]
	}
	b.show(now.Sub(b.samples[0].at), moved-b.samples[0].moved)
}

// Done shows the whole, with the rate from the beginning, and ends the line.
func (b *Bar) Done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.share >= 0 {
		b.share = 1
	}
	b.show(b.now().Sub(b.begun), b.moved)
	b.end()
}

// Stop ends the line where it is, after an error.
func (b *Bar) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.length > 0 {
		b.end()
	}
}

func (b *Bar) end() {
	if b.terminal {
		fmt.Fprintln(b.w)
		b.length = 0
	}
}

func (b *Bar) show(took time.Duration, moved int64) {
	line := b.what + " "
	if b.share >= 0 && b.terminal {
		full := int(b.share * width)
		line += "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] "
	}
	if b.share >= 0 {
		line += fmt.Sprintf("%3.0f %% ", b.share*100)
	}
	line += Bytes(b.moved)
	if took > 0 {
		line += fmt.Sprintf(", %s/s", Bytes(int64(float64(moved)/took.Seconds())))
	}
	if !b.terminal {
		fmt.Fprintln(b.w, line)
		return
	}
	fmt.Fprint(b.w, "\r"+line+strings.Repeat(" ", max(0, b.length-len(line))))
	b.length = len(line)
}

// Bytes writes an amount as people read it, in powers of 1000.
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 999.95 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

var units = [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
