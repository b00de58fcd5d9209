package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hadir/cmd/hadir/internal/serve"
)

// TestChaosUsage: what makes no sense is told before anything is started or broken.
func TestChaosUsage(t *testing.T) {
	dir := t.TempDir()
	old, empty := filepath.Join(dir, "old.json"), filepath.Join(dir, "ca.crt")
	for _, f := range []string{old, empty} {
		if err := os.WriteFile(f, []byte(`{"url":"http://127.0.0.1:1"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"--duration 5s", serve.ExitUsage, "--duration 5s is not within 13s"},
		{"--rate 0", serve.ExitUsage, "--rate 0 is not within 1"},
		{"--window 0s", serve.ExitUsage, "--window 0s is no window"},
		{"--info a --compose b", serve.ExitUsage, "not both"},
		{"--port 65534", serve.ExitUsage, "--port 65534 is not within"},
		{"--token a --email b", serve.ExitUsage, "not both"},
		{"--info " + filepath.Join(dir, "none"), serve.ExitFailed, "--info:"},
		{"--info " + old, serve.ExitFailed, "does not say where the demo takes orders"},
		{"--compose x --ca " + filepath.Join(dir, "none"), serve.ExitFailed, "--ca:"},
		{"--compose x --ca " + empty, serve.ExitUsage, "holds no certificate"},
		{"--out " + filepath.Join(old, "below"), serve.ExitFailed, "--out:"},
	} {
		var out, errs bytes.Buffer
		signals := make(chan os.Signal)
		close(signals) // nobody presses Ctrl-C
		w := &world{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, signals: signals}
		args := append([]string{"chaos", "--out", dir}, strings.Fields(tc.args)...)
		if code := run(args, w); code != tc.code || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%s: code %d, %s; want %d, %s", tc.args, code, &errs, tc.code, tc.want)
		}
	}
}
