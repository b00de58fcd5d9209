package harness

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// LeaveOut skips a test for want of something with a name, or fails it where
// HADIR_TEST_REQUIRE names that.
func LeaveOut(t testing.TB, name string, why any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("HADIR_TEST_REQUIRE"), ","), name) {
		t.Fatalf("%s is required: %v", name, why)
	}
	t.Skipf("%s: %v", name, why)
}

// Turn leaves a long test out unless it is its turn: of that many tests, the seed
// of the run, which is the commit's, picks one. HADIR_LONG=1, as in make
// test-full, runs all of them.
func Turn(t *testing.T, which, of int) {
	t.Helper()
	if os.Getenv("HADIR_LONG") == "1" {
		return
	}
	seed, err := strconv.Atoi(os.Getenv("HADIR_SEED"))
	if err != nil {
		seed = 0
	}
	if seed%of != which {
		t.Skip("long tests take turns by commit; make test-full runs all of them")
	}
}
