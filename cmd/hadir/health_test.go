package main

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hadir/cmd/hadir/internal/serve"
)

// aNode answers as a node does, ready or not.
func aNode(ready bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "ready: %v\n", ready)
	})
	return mux
}

func TestHealth(t *testing.T) {
	ready, joining := httptest.NewServer(aNode(true)), httptest.NewServer(aNode(false))
	defer ready.Close()
	defer joining.Close()
	_, port, err := net.SplitHostPort(ready.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"serves":              {[]string{"--http-addr=" + ready.Listener.Addr().String()}, 0, "ok"},
		"serves, by its port": {[]string{"--http-addr=:" + port}, 0, "ok"},
		"all interfaces":      {[]string{"--http-addr=0.0.0.0:" + port}, 0, "ok"},
		"ready":               {[]string{"--ready", "--http-addr=:" + port}, 0, "ready: true"},
		"not ready, serves":   {[]string{"--http-addr=" + joining.Listener.Addr().String()}, 0, "ok"},
		"not ready":           {[]string{"--ready", "--http-addr=" + joining.Listener.Addr().String()}, serve.ExitFailed, "503"},
		"gone":                {[]string{"--http-addr=" + gone.Listener.Addr().String()}, serve.ExitFailed, "does not answer"},
		"no address":          {[]string{"--http-addr=8080"}, serve.ExitUsage, "no address"},
		"no certificate":      {[]string{"--tls-cert=/nonexistent.pem"}, serve.ExitFailed, "--tls-cert"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := try(t, append([]string{"health"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errs, tc.says) {
				t.Errorf("code %d: %s%s", code, out, errs)
			}
		})
	}
}

// TestHealthOverTLS: only the node's own certificate is believed.
func TestHealthOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(aNode(true))
	defer server.Close()
	dir := t.TempDir()
	own := filepath.Join(dir, "own.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(own, b, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := "--http-addr=" + server.Listener.Addr().String()
	if code, out, errs := try(t, "health", addr, "--tls-cert="+own); code != 0 || out != "ok\n" {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	if code, out, errs := try(t, "dev-cert", "--dir="+dir, "127.0.0.1"); code != 0 {
		t.Fatalf("code %d: %s%s", code, out, errs)
	}
	if code, out, _ := try(t, "health", addr, "--tls-cert="+filepath.Join(dir, "server.crt")); code != serve.ExitFailed {
		t.Errorf("another certificate: code %d: %s", code, out)
	}
}

func TestDevCert(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := try(t, "dev-cert", "--dir="+dir, "absen.lan", "192.168.1.10")
	if code != 0 || !strings.Contains(out, "a new authority") || !strings.Contains(out, filepath.Join(dir, "ca.crt")) {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	code, out, errs = try(t, "dev-cert", "--dir="+dir, "--days=30", "absen.lan")
	if code != 0 || !strings.Contains(out, "the authority of before") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	for _, args := range [][]string{{}, {"--days=826", "absen.lan"}, {"https://absen.lan"}, {"--days=0", "absen.lan"}} {
		if code, out, errs := try(t, append([]string{"dev-cert", "--dir=" + dir}, args...)...); code != serve.ExitUsage || out != "" {
			t.Errorf("%q: code %d: %s%s", args, code, out, errs)
		}
	}
	if code, _, errs := try(t, "dev-cert", "--dir="+dir, "bank.example"); code != serve.ExitFailed || !strings.Contains(errs, "may not vouch") {
		t.Errorf("another name: code %d: %s", code, errs)
	}
}
