package system_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"hadir/tests/system/harness"
)

// shell finds the blocks of a section that are to be run.
var shell = regexp.MustCompile("(?s)```sh\n(.*?)```")

// recipe runs the blocks of a section of docs/operations.md as they stand there, in
// a directory, as the administrator of a cluster. Only those that begin with a
// word are run, where one is given.
func recipe(t *testing.T, section, only, dir, stdin string, at harness.Client) (string, error) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	must(t, err)
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	body, _, _ := strings.Cut(rest, "\n## ")
	var script strings.Builder
	for _, m := range shell.FindAllStringSubmatch(body, -1) {
		if strings.HasPrefix(m[1], only) {
			script.WriteString(m[1])
		}
	}
	if !found || script.Len() == 0 {
		t.Fatalf("docs/operations.md has no recipe %q", section)
	}
	path, secret := t.TempDir(), filepath.Join(t.TempDir(), "password")
	must(t, os.Symlink(bin, filepath.Join(path, "hadir")))
	must(t, os.WriteFile(secret, []byte(harness.AdminPassword+"\n"), 0o600))
	cmd := exec.CommandContext(within(t, patience), "sh", "-eu", "-c", script.String())
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	// What the shell has begun ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "HADIR_URL="+at.Base,
		"HADIR_EMAIL="+harness.AdminEmail, "HADIR_PASSWORD_FILE="+secret)
	out, err := cmd.CombinedOutput()
	t.Logf("%s:\n%s\n%s", section, script.String(), out)
	return string(out), err
}

// TestEveryRecipeIsRun: a section of docs/operations.md with a command in it is
// named in a test. What comes after the recipes are not recipes.
func TestEveryRecipeIsRun(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	must(t, err)
	recipes, _, found := strings.Cut(string(text), "\n## What the log says\n")
	if !found {
		t.Fatal("docs/operations.md does not say where its recipes end")
	}
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	var tests strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		tests.Write(b)
	}
	sections := strings.Split(recipes, "\n## ")[1:]
	for _, section := range sections {
		name, body, _ := strings.Cut(section, "\n")
		if shell.MatchString(body) && !strings.Contains(tests.String(), fmt.Sprintf("%q", name)) {
			t.Errorf("nothing runs the recipe %q", name)
		}
	}
	if len(sections) < 5 {
		t.Errorf("docs/operations.md has only %d sections of recipes", len(sections))
	}
}

// proof is a test or fuzz target, as docs/guarantees.md names it.
var proof = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestEveryProofExists: what docs/guarantees.md gives as a proof is there.
func TestEveryProofExists(t *testing.T) {
	text, err := os.ReadFile("../../docs/guarantees.md")
	must(t, err)
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
	must(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == ".cache"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	named := proof.FindAllStringSubmatch(string(text), -1)
	if len(named) < 20 {
		t.Fatalf("docs/guarantees.md names only %d proofs", len(named))
	}
	for _, m := range named {
		if !there[m[1]] {
			t.Errorf("there is no %s", m[1])
		}
	}
}
