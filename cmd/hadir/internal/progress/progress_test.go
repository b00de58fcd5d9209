package progress

import (
	"bytes"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	now := time.Unix(0, 0)
	step := func(b *Bar, d time.Duration, moved int64, share float64) { now = now.Add(d); b.Set(moved, share) }
	for _, tc := range []struct {
		name     string
		terminal bool
		run      func(*Bar)
		want     string
	}{
		{"terminal", true, func(b *Bar) {
			step(b, time.Second, 5_000_000, 0.5)
			step(b, time.Millisecond, 5_000_001, 0.5) // too soon
			step(b, time.Second-time.Millisecond, 10_000_000, 2)
			b.Done()
		}, "\rbackup [###############...............]  50 % 5.0 MB, 5.0 MB/s" +
			"\rbackup [##############################] 100 % 10.0 MB, 5.0 MB/s" +
			"\rbackup [##############################] 100 % 10.0 MB, 5.0 MB/s\n"},
		{"the rest of a longer line is wiped", true, func(b *Bar) {
			step(b, time.Second, 123_400, -1)
			step(b, 10*time.Second, 123_401, -1)
			b.Stop()
		}, "\rbackup 123.4 kB, 123.4 kB/s\rbackup 123.4 kB, 0 B/s     \n"},
		{"no terminal", false, func(b *Bar) {
			step(b, time.Second, 100, 0.1)
			step(b, 4*time.Second, 500, 0.5)
			step(b, time.Second, 600, 0.6)
			b.Done()
		}, "backup  50 % 500 B, 100 B/s\nbackup 100 % 600 B, 100 B/s\n"},
		{"nothing was shown", true, func(b *Bar) { b.Stop() }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.run(New(&out, tc.terminal, func() time.Time { return now }, "backup"))
			if got := out.String(); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1 << 40: "1.1 TB", 1<<63 - 1: "9.2 EB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
