// Command mutants shows that the tests notice mistakes. It seeds one mistake at a
// time (mutants.go), through -overlay, so that the tree is never touched, and
// demands that the tests of the named packages fail.
//
// A mutant whose text is no longer found exactly once is stale and one that does
// not compile proves nothing: both fail the run like a survivor does.
//
//	go run ./tests/mutants [-list] [-check] [-only name,…] [-share i/n]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// mutant is one seeded mistake.
type mutant struct {
	name   string
	breaks string // what goes wrong, in a sentence
	edits  []edit
	pkgs   []string // whose tests must notice, the quickest first
	run    string   // -run pattern; "" for every test
}

// edit replaces text that occurs exactly once in a file.
type edit struct{ file, old, new string }

func main() {
	list := flag.Bool("list", false, "list the mutants and say which are stale")
	check := flag.Bool("check", false, "only show that each applies and compiles")
	only := flag.String("only", "", "comma-separated `names`")
	share := flag.String("share", "1/1", "the `i/n`-th share")
	timeout := flag.Duration("timeout", 300*time.Second, "for the tests of one package")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	chosen, err := choose(*only, *share)
	if err == nil {
		r := runner{ctx: ctx, timeout: *timeout, compileOnly: *check || *list, noCompile: *list}
		err = r.all(chosen)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func choose(only, share string) ([]mutant, error) {
	var i, n int
	if _, err := fmt.Sscanf(share, "%d/%d", &i, &n); err != nil || i < 1 || i > n {
		return nil, fmt.Errorf("share %q is not i/n", share)
	}
	names := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	var out []mutant
	seen := map[string]bool{}
	for k, m := range mutants {
		if seen[m.name] {
			return nil, fmt.Errorf("two mutants are called %s", m.name)
		}
		seen[m.name] = true
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if len(names) == 0 && k%n != i-1 {
			continue
		}
		out = append(out, m)
	}
	if len(names) > 0 && len(out) != len(names) {
		return nil, fmt.Errorf("-only %s: not all of them exist", only)
	}
	return out, nil
}

type runner struct {
	ctx                    context.Context
	timeout                time.Duration
	compileOnly, noCompile bool
}

// all tries every chosen mutant. Its error says that at least one was not killed.
func (r *runner) all(chosen []mutant) error {
	if !r.compileOnly {
		if err := r.baseline(chosen); err != nil {
			return err
		}
	}
	killed, bad := 0, 0
	for _, m := range chosen {
		start := time.Now()
		by, err := r.try(m)
		took := time.Since(start).Seconds()
		switch {
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case err != nil:
			bad++
			fmt.Printf("STALE     %s: %v\n", m.name, err)
		case r.compileOnly:
			fmt.Printf("%-24s %s\n", m.name, m.breaks)
		case by == "":
			bad++
			fmt.Printf("SURVIVED  %s (%.1fs): %s\n", m.name, took, m.breaks)
		default:
			killed++
			fmt.Printf("killed    %s (%.1fs, by %s)\n", m.name, took, by)
		}
	}
	if r.compileOnly {
		fmt.Printf("%d mutants, %d stale\n", len(chosen), bad)
	} else {
		fmt.Printf("%d mutants, %d killed\n", len(chosen), killed)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d survived or are stale", bad, len(chosen))
	}
	return nil
}

// baseline proves that the tests pass without a mutant: otherwise a failure of
// theirs would say nothing.
func (r *runner) baseline(chosen []mutant) error {
	pkgs := make(map[string][]string) // by what is run of them
	for _, m := range chosen {
		pkgs[m.run] = append(pkgs[m.run], m.pkgs...)
	}
	start := time.Now()
	for _, run := range slices.Sorted(maps.Keys(pkgs)) {
		slices.Sort(pkgs[run])
		if out, ok := r.test("", slices.Compact(pkgs[run]), run); !ok {
			return fmt.Errorf("the tests fail without any mutant:\n%s", out)
		}
	}
	fmt.Printf("passed    without a mutant (%.1fs)\n", time.Since(start).Seconds())
	return nil
}

// try gives the test that noticed the mutant, or "" for none.
func (r *runner) try(m mutant) (by string, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.write(dir)
	if err != nil || r.noCompile {
		return "", err
	}
	if out, ok := r.command("build", append([]string{"-overlay", overlay}, m.packages()...)...); !ok {
		return "", fmt.Errorf("it does not compile:\n%s", out)
	}
	if r.compileOnly {
		return "", nil
	}
	// One package after the other, so that the quick ones spare us the slow ones.
	for _, pkg := range m.pkgs {
		out, ok := r.test(overlay, []string{pkg}, m.run)
		if ok {
			continue
		}
		if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
			return "", fmt.Errorf("its tests do not compile:\n%s", out)
		}
		return killer(out), nil
	}
	return "", nil
}

// write applies the edits to copies of the files and gives the overlay's name.
func (m mutant) write(dir string) (string, error) {
	text := map[string]string{}
	for _, e := range m.edits {
		if _, ok := text[e.file]; !ok {
			b, err := os.ReadFile(e.file)
			if err != nil {
				return "", err
			}
			text[e.file] = string(b)
		}
		if n := strings.Count(text[e.file], e.old); n != 1 {
			return "", fmt.Errorf("in %s the text is found %d times, not once: %q", e.file, n, e.old)
		}
		text[e.file] = strings.Replace(text[e.file], e.old, e.new, 1)
	}
	replace := map[string]string{}
	for file, s := range text {
		path, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, []byte(s), 0o600); err != nil {
			return "", err
		}
		replace[path] = copied
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// packages gives what has to compile: where the edits are and where the tests are.
func (m mutant) packages() []string {
	pkgs := slices.Clone(m.pkgs)
	for _, e := range m.edits {
		pkgs = append(pkgs, "./"+filepath.ToSlash(filepath.Dir(e.file)))
	}
	slices.Sort(pkgs)
	return slices.Compact(pkgs)
}

func (r *runner) test(overlay string, pkgs []string, run string) (out string, ok bool) {
	args := []string{"-count=1", "-vet=off", "-failfast", "-timeout", r.timeout.String()}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if run != "" {
		args = append(args, "-run", run)
	}
	args = append(args, pkgs...)
	if len(pkgs) == 1 && r.usesRapid(pkgs[0]) {
		// The failure is all that counts: no smaller example, and no file beside the
		// tests that the next mutant would be tried with.
		args = append(args, "-args", "-rapid.nofailfile", "-rapid.shrinktime=0s")
	}
	return r.command("test", args...)
}

// usesRapid reports whether the tests of a package know the flags of rapid.
func (r *runner) usesRapid(pkg string) bool {
	out, _ := r.command("list", "-f", "{{.TestImports}} {{.XTestImports}}", pkg)
	return strings.Contains(out, "pgregory.net/rapid")
}

// command runs go in a process group of its own, so that an interrupt ends its
// tests too.
func (r *runner) command(verb string, args ...string) (out string, ok bool) {
	cmd := exec.CommandContext(r.ctx, "go", append([]string{verb}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = os.Environ()
	// Fewer random cases than in a test run: a mutant is a gross mistake.
	if os.Getenv("HADIR_CASES") == "" {
		cmd.Env = append(cmd.Env, "HADIR_CASES=2000")
	}
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error(), false
	}
	return string(b), err == nil
}

var (
	failed  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	running = regexp.MustCompile(`(?m)^running tests:\s+(\S+)`)
)

// killer names the test that failed, as far as the output tells: the last line
// of a nest of subtests comes first, so the innermost is the longest name.
func killer(out string) string {
	best := ""
	for _, m := range failed.FindAllStringSubmatch(out, -1) {
		if strings.HasPrefix(m[1], best) {
			best = m[1]
		}
	}
	if best != "" {
		return best
	}
	if m := running.FindStringSubmatch(out); m != nil {
		return m[1] + ", which hung"
	}
	return "a process that died"
}
