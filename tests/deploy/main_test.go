// Package deploy_test holds what lies in deploy/ against what it is for: the front
// against nodes that misbehave, rules and dashboard against what a node measures,
// and the Compose file against an engine.
//
//	HADIR_TEST_REQUIRE=nginx,promtool  fail instead of leaving out what needs them
//	HADIR_TEST_REQUIRE=docker          run what takes minutes on an engine, too
package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

const root = "../.."

// binary is our program, built once.
var binary = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return harness.Build(ctx, buildDir, false)
})

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "hadir-deploy-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir) //nolint:errcheck // the machine's own temporary folder
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func required(word string) bool {
	return slices.Contains(strings.Split(os.Getenv("HADIR_TEST_REQUIRE"), ","), word)
}

// needs leaves the test out where a program is missing, or fails where it must not be.
func needs(t *testing.T, word string, found error) {
	t.Helper()
	switch {
	case found == nil:
	case required(word):
		t.Fatal(found)
	default:
		t.Skip(found)
	}
}

// installed says why a program cannot be run, nil when it can.
func installed(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s is not installed", name)
	}
	return nil
}

func file(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{root}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// hadir runs a command of ours.
func hadir(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("hadir %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
