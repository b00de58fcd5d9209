// Command gotest runs `go test` with its own arguments and prints what go test
// would print, then one list of the tests that were left out and why: without
// -v go test hides them, and a test that never runs looks like one that passes.
// What failed is said once more at the end, in a line each: the logs of a cluster
// are long.
//
// The tests of whole clusters come first: they take longest and mostly wait, and
// what computes is done beside them.
//
// It reads the stream of -json, not a log of its own, so that results from the
// test cache are listed too.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = 1
	}
	os.Exit(code)
}

// event is one line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

func run(args []string) (code int, err error) {
	// An interrupt reaches go test as well; it ends its tests, and we end after it.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	if args, err = clustersFirst(args); err != nil {
		return 0, err
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	r := report{output: map[string][]string{}}
	lines := bufio.NewReaderSize(pipe, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Printf("%s", line) // a panic before the first test is not JSON
			} else {
				r.add(e)
			}
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	r.print()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// clustersFirst gives the arguments with the packages of their last one, a pattern,
// in the order in which they are to begin.
func clustersFirst(args []string) ([]string, error) {
	if len(args) == 0 || strings.HasPrefix(args[len(args)-1], "-") {
		return args, nil
	}
	last := len(args) - 1
	list := exec.Command("go", "list", args[last])
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", args[last], err)
	}
	packages := strings.Fields(string(out))
	slices.SortStableFunc(packages, func(a, b string) int { return place(a) - place(b) })
	return append(slices.Clone(args[:last]), packages...), nil
}

var longest = []string{"/tests/system", "/tests/browser", "/tests/export", "/cluster"}

// place gives a package's place: those that wait longest first.
func place(name string) int {
	for i, suffix := range longest {
		if strings.HasSuffix(name, suffix) {
			return i
		}
	}
	return len(longest)
}

type report struct {
	output  map[string][]string // of each test that runs
	leftOut []string
	failed  []string
}

func (r *report) add(e event) {
	name := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" {
			fmt.Print(e.Output)
		}
	case e.Action == "output":
		// Benchmarks and fuzzing report under their own name while they run.
		if strings.HasPrefix(e.Test, "Benchmark") || strings.HasPrefix(e.Output, "fuzz: ") {
			fmt.Print(e.Output)
			return
		}
		r.output[name] = append(r.output[name], e.Output)
	case e.Action == "fail" && e.Test != "":
		r.failed = append(r.failed, name+": "+complaints(r.output[name]))
		fmt.Print(strings.Join(r.output[name], ""))
		delete(r.output, name)
	case e.Action == "fail":
		// A process that died fails no test: say what was running.
		for test, lines := range r.output {
			if strings.HasPrefix(test, e.Package+" ") {
				fmt.Print(strings.Join(lines, ""))
				delete(r.output, test)
			}
		}
	case e.Action == "skip" && e.Test != "":
		r.leftOut = append(r.leftOut, fmt.Sprintf("%s: %s", name, reason(r.output[name])))
		delete(r.output, name)
	case e.Action == "pass":
		delete(r.output, name)
	}
}

// reason gives what the test said before it was skipped: "x_test.go:7: why".
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, rest, ok := strings.Cut(line, ".go:"); ok {
			if _, why, ok := strings.Cut(rest, ": "); ok {
				line = why
			}
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "it does not say why"
	}
	return strings.Join(said, " ")
}

// said is how a line begins that a test wrote: file and line.
var said = regexp.MustCompile(`^\w+\.go:\d+: `)

// complaints gives what a test said itself, shortly.
func complaints(output []string) string {
	const enough, wide = 5, 300
	var lines []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "WARNING: DATA RACE") || said.MatchString(line) {
			lines = append(lines, line[:min(len(line), wide)])
		}
		if len(lines) == enough {
			break
		}
	}
	return strings.Join(lines, " | ")
}

func (r *report) print() {
	defer func() {
		for _, line := range r.failed {
			fmt.Println("failed: " + line)
		}
	}()
	if len(r.leftOut) == 0 {
		fmt.Println("left out: nothing")
		return
	}
	fmt.Printf("left out: %d\n", len(r.leftOut))
	for _, line := range r.leftOut {
		fmt.Println("  " + line)
	}
}
