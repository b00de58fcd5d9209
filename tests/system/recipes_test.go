package system_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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
	cmd := exec.CommandContext(within(t, 60*time.Second), "sh", "-eu", "-c", script.String())
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "HADIR_URL="+at.Base,
		"HADIR_EMAIL="+harness.AdminEmail, "HADIR_PASSWORD_FILE="+secret)
	out, err := cmd.CombinedOutput()
	t.Logf("%s:\n%s\n%s", section, script.String(), out)
	return string(out), err
}
