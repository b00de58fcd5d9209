package system_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// TestReportOfAnyNode: a report that one node was asked for is fetched from another
// one, with Redis and without; with Redis it outlives the node that wrote it.
func TestReportOfAnyNode(t *testing.T) {
	for _, withRedis := range []bool{false, true} {
		t.Run(map[bool]string{false: "memory", true: "redis"}[withRedis], func(t *testing.T) {
			o := harness.Options{Bin: bin, Dir: filepath.Join(tmp, fmt.Sprint("jobs-", withRedis)), Students: 20, Prefix: "j"}
			if withRedis {
				addr, _ := startRedis(t)
				o.Args = []string{"--redis-url", "redis://" + addr + "/0"}
			}
			c, err := harness.New(o)
			must(t, err)
			t.Cleanup(func() {
				showRaces(t, c.Log())
				if t.Failed() {
					t.Log(c.Log())
				}
				c.Close()
			})
			must(t, c.Up(within(t, 60*time.Second)))
			one, other := c.At(c.Nodes[0]), c.At(c.Nodes[1])
			for i := range 20 {
				a := do(t, one, "POST", "/api/v1/checkins", harness.Key(), harness.Tap{Type: "in", User: uint64(harness.FirstStudent + i)})
				if a.Status != 201 {
					t.Fatal(a)
				}
			}
			seen := do(t, one, "GET", "/api/v1/attendances?limit=1&consistency=strong", "", nil)
			var url, state string
			must(t, harness.Await(within(t, 30*time.Second), func() error {
				a := do(t, one, "POST", "/api/v1/reports", "", map[string]any{"from": "2000-01-01", "min_index": fields(t, seen)["index"]})
				if a.Status != 202 {
					return fmt.Errorf("%s", a)
				}
				url = fmt.Sprint(fields(t, a)["status_url"])
				// Redis takes jobs as soon as the node knows its cluster.
				if strings.Contains(url, "redis-") != withRedis {
					return fmt.Errorf("it is at %s", url)
				}
				return nil
			}))
			must(t, harness.Await(within(t, 30*time.Second), func() error {
				if state = fmt.Sprint(fields(t, do(t, other, "GET", url, "", nil))["state"]); state != "done" {
					return fmt.Errorf("it is %s", state)
				}
				return nil
			}))
			if withRedis {
				c.Nodes[0].Kill()
			}
			a := do(t, other, "GET", url+"/result", "", nil)
			if lines := strings.Count(string(a.Body), "\r\n"); a.Status != 200 || lines != 21 || !strings.HasPrefix(string(a.Body), "id,user_id,") {
				t.Errorf("the file has %d lines: %s", lines, a)
			}
		})
	}
}
