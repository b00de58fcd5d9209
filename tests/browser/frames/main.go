// Command frames measures whether the dashboard stays smooth while rows arrive.
//
//	go run ./tests/browser/frames [-rows 2000] [-rate 25] [-bin path]
//
// Three nodes run as processes on this machine, and a Chromium without a window and
// without a graphics card has the dashboard open. Check-ins that are all accepted
// come in at the given rate. Reported are the frames of each second, the longest
// time between two of them, and how many elements the page had. It fails when a row
// did not come, when the page grew, or when there were fewer than 50 frames a second
// on average.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"hadir/tests/browser/chromium"
	"hadir/tests/system/harness"
)

type config struct {
	rows, rate int
	bin        string
}

func main() {
	var c config
	flag.IntVar(&c.rows, "rows", 2000, "check-ins")
	flag.IntVar(&c.rate, "rate", 25, "check-ins a second")
	flag.StringVar(&c.bin, "bin", "", "binary to measure (default: built from this source)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "frames:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) (err error) {
	if c.rows < 1 || c.rate < 1 {
		return errors.New("-rows and -rate are at least 1")
	}
	dir, err := os.MkdirTemp("", "hadir-frames-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.bin == "" {
		if c.bin, err = harness.Build(ctx, dir, false); err != nil {
			return err
		}
	}
	cluster, err := harness.New(harness.Options{Bin: c.bin, Dir: filepath.Join(dir, "nodes"), Students: c.rows/2 + 1})
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := cluster.Up(ctx); err != nil {
		return err
	}
	browser, err := chromium.Start()
	if err != nil {
		return err
	}
	defer browser.Close()
	page, err := open(ctx, browser, cluster.Nodes[0].URL)
	if err != nil {
		return err
	}
	if _, err := chromium.Eval[bool](page, watch); err != nil {
		return err
	}
	began := time.Now()
	if err := arrive(ctx, cluster, c); err != nil {
		return err
	}
	took := time.Since(began)
	waiting, end := context.WithTimeout(ctx, 30*time.Second)
	defer end()
	if err := page.Await(waiting, fmt.Sprintf("window.seen.rows >= %d", c.rows)); err != nil {
		return err
	}
	s, err := chromium.Eval[seen](page, "window.seen")
	if err != nil {
		return err
	}
	return s.report(c, took, page.Faults())
}

// open signs the administrator in and opens the dashboard.
func open(ctx context.Context, b *chromium.Browser, base string) (*chromium.Page, error) {
	d, err := b.Device(chromium.Desktop)
	if err != nil {
		return nil, err
	}
	p, err := d.Page()
	if err != nil {
		return nil, err
	}
	if _, err := p.Open(base + "/?lang=en"); err != nil {
		return nil, err
	}
	if err := errors.Join(p.Type("#email", harness.AdminEmail), p.Type("#password", harness.AdminPassword), p.Click("button.main")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := p.Await(ctx, "document.querySelector('nav.rail')"); err != nil {
		return nil, err
	}
	if _, err := p.Open(base + "/dashboard"); err != nil {
		return nil, err
	}
	return p, p.Await(ctx, "document.querySelector('.plot canvas')")
}

// watch counts frames second by second, rows as they are put into the list, and
// elements of the page.
const watch = `(() => {
	const seen = (window.seen = { frames: [], longest: 0, rows: 0, listed: 0, elements: 0 });
	const list = document.getElementById("arrivals");
	new MutationObserver((changes) => {
		for (const c of changes) seen.rows += [...c.addedNodes].filter((n) => n.nodeName === "LI").length;
		seen.listed = Math.max(seen.listed, list.children.length);
	}).observe(list, { childList: true });
	let last = performance.now(), second = last, count = 0;
	const frame = (now) => {
		seen.longest = Math.max(seen.longest, now - last);
		last = now;
		count += 1;
		if (now - second >= 1000) {
			seen.frames.push((count * 1000) / (now - second));
			seen.elements = Math.max(seen.elements, document.getElementsByTagName("*").length);
			[second, count] = [now, 0];
		}
		requestAnimationFrame(frame);
	};
	requestAnimationFrame(frame);
	return true;
})()`

// seen is what the page has counted.
type seen struct {
	Frames   []float64 `json:"frames"`  // of each second
	Longest  float64   `json:"longest"` // ms between two frames
	Rows     int       `json:"rows"`
	Listed   int       `json:"listed"`
	Elements int       `json:"elements"`
}

// arrive has the students come and go, at a steady rate whatever the answers take.
func arrive(ctx context.Context, cluster *harness.Cluster, c config) error {
	ticker := time.NewTicker(time.Second / time.Duration(c.rate))
	defer ticker.Stop()
	failed := make(chan error, c.rows)
	for i := range c.rows {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		tap := harness.Tap{Type: []string{"in", "out"}[i%2], User: uint64(harness.FirstStudent + i/2)}
		at := cluster.At(cluster.Nodes[i%len(cluster.Nodes)])
		go func() {
			a, err := at.Do(ctx, http.MethodPost, "/api/v1/checkins", harness.Key(), tap)
			if err == nil && a.Status != http.StatusCreated {
				err = fmt.Errorf("a check-in was not accepted: %s", a)
			}
			failed <- err
		}()
	}
	var err error
	for range c.rows {
		err = errors.Join(err, <-failed)
	}
	return err
}

// The limits: rows that the list may hold, elements of the page around it, and
// frames a second.
const (
	mostListed   = 50
	mostElements = 800
	leastFrames  = 50
)

func (s *seen) report(c config, took time.Duration, faults []string) error {
	if len(s.Frames) == 0 {
		return errors.New("there was no frame")
	}
	sum := 0.0
	for _, f := range s.Frames {
		sum += f
	}
	average := sum / float64(len(s.Frames))
	sorted := slices.Sorted(slices.Values(s.Frames))
	fmt.Printf("%d cores, %d check-ins in %.1f s (%.1f/s)\n", runtime.NumCPU(), c.rows, took.Seconds(), float64(c.rows)/took.Seconds())
	fmt.Printf("frames a second: average %.1f, median %.1f, worst second %.1f of %d; longest time between two %.0f ms\n",
		average, sorted[len(sorted)/2], sorted[0], len(sorted), s.Longest)
	fmt.Printf("rows %d, in the list at most %d, elements of the page at most %d\n", s.Rows, s.Listed, s.Elements)
	var err error
	for _, f := range faults {
		err = errors.Join(err, errors.New(f))
	}
	switch {
	case s.Rows != c.rows:
		err = errors.Join(err, fmt.Errorf("%d rows came for %d check-ins", s.Rows, c.rows))
	case s.Listed > mostListed || s.Elements > mostElements:
		err = errors.Join(err, fmt.Errorf("the page grew to %d rows and %d elements", s.Listed, s.Elements))
	case average < leastFrames:
		err = errors.Join(err, fmt.Errorf("%.1f frames a second, at least %d are wanted", average, leastFrames))
	}
	return err
}
