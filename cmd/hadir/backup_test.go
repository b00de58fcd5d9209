package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hadir/attendance"
	"hadir/store"
)

// aBackup gives the backup of a nearly empty state.
func aBackup(t *testing.T) []byte {
	t.Helper()
	s, err := store.OpenState(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Cluster, m.Applied, m.Term = attendance.ClusterID{7}, 12, 3 })
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	picture, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = picture.Write(context.Background(), &b)
	picture.Release()
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archive is a server that gives a backup, or what is left of it, and takes one.
func archive(t *testing.T, gives []byte, takes http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/v1/backup":
			w.Write(gives) //nolint:errcheck // the test notices
		case r.URL.Path == "/api/v1/restore":
			takes(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBackupIsAllOrNothing(t *testing.T) {
	good := aBackup(t)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-40] ^= 1
	for name, tc := range map[string]struct {
		gives []byte
		token string
		args  []string
		there string // what is in the file before
		code  int
		says  string
		after string // "" for no file, "new" for the backup
	}{
		"whole":              {good, "secret", nil, "", 0, "events up to 0", "new"},
		"cut":                {good[:len(good)-1], "secret", nil, "", 1, "backup is damaged", ""},
		"flipped":            {flipped, "secret", nil, "", 1, "backup is damaged", ""},
		"not a backup":       {[]byte("<html>"), "secret", nil, "", 1, "backup is damaged", ""},
		"refused":            {good, "other", nil, "", 1, "401", ""},
		"there is one":       {good, "secret", nil, "old", 2, "--force", "old"},
		"forced":             {good, "secret", []string{"--force"}, "old", 0, "SHA-256", "new"},
		"forced, and cut":    {good[:100], "secret", []string{"--force"}, "old", 1, "backup is damaged", "old"},
		"forced, and failed": {good, "other", []string{"--force"}, "old", 1, "401", "old"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "b")
			if tc.there != "" {
				if err := os.WriteFile(file, []byte(tc.there), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, out, errs := try(t, append([]string{"backup", file, "--token", tc.token, "--url", archive(t, tc.gives, nil)}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errs, tc.says) {
				t.Errorf("code %d, %q, %q", code, out, errs)
			}
			want := map[string]string{"new": string(good)}[tc.after]
			if want == "" {
				want = tc.after
			}
			got, err := os.ReadFile(file)
			if string(got) != want || (err != nil) != (want == "") {
				t.Errorf("the file holds %d bytes, want %d, %v", len(got), len(want), err)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) > 1 || (len(names) == 1) != (want != "") {
				t.Errorf("left behind: %v, %v", names, err)
			}
			if info, err := os.Stat(file); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
	code, out, errs := try(t, "backup", "-", "--token", "secret", "--url", archive(t, good, nil))
	if code != 0 || out != string(good) || !strings.Contains(errs, "SHA-256") {
		t.Errorf("to standard output: %d, %d bytes of %d, %q", code, len(out), len(good), errs)
	}
	if code, _, errs := try(t, "backup", t.TempDir(), "--token", "secret"); code != 2 || !strings.Contains(errs, "directory") {
		t.Errorf("to a directory: %d %q", code, errs)
	}
}

func TestRestoreProvesBeforeItSends(t *testing.T) {
	good := aBackup(t)
	var got []byte
	url := archive(t, nil, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)                                      //nolint:errcheck // its length is checked
		io.WriteString(w, `{"epoch":"c7f2-2","seq":3,"waiting":["n3"]}`) //nolint:errcheck // the test notices
	})
	file := filepath.Join(t.TempDir(), "b")
	restore := func(content []byte) (int, string, string) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return try(t, "restore", file, "--token", "secret", "--url", url)
	}
	if code, _, errs := restore(good[:len(good)-1]); code != 1 || !strings.Contains(errs, "backup is damaged") || got != nil {
		t.Errorf("a cut one: %d %q, %d bytes were sent", code, errs, len(got))
	}
	code, out, errs := restore(good)
	if code != 0 || !bytes.Equal(got, good) || !strings.Contains(out, "epoch c7f2-2") || !strings.Contains(out, "n3: not there yet") ||
		!strings.Contains(out, "sign in again") || !strings.Contains(errs, "restoring") {
		t.Errorf("%d, %d bytes of %d, %q, %q", code, len(got), len(good), out, errs)
	}
	url = archive(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"code":"not_empty","detail":"Found a new one."}`) //nolint:errcheck // the test notices
	})
	if code, _, errs := restore(good); code != 1 || !strings.Contains(errs, "not_empty Found a new one.") {
		t.Errorf("refused: %d %q", code, errs)
	}
}

func TestInspectAndRecoverRefuseWhatIsNoNode(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"inspect", dir}, {"recover", dir}, {"recover", dir, "--yes-i-understand", "recover n1"}, {"inspect", filepath.Join(dir, "none")}} {
		if code, out, errs := try(t, args...); code != 1 || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
	own, err := store.OpenNode(filepath.Join(dir, "node.db"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := try(t, "inspect", dir); code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("of a node that runs: %d %q", code, errs)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := try(t, "inspect", dir)
	if code != 0 || !strings.Contains(out, "missing") || !strings.Contains(out, "state.db") {
		t.Errorf("of a node that never joined: %d %q %q", code, out, errs)
	}
	if code, _, errs := try(t, "recover", dir, "--yes-i-understand", "recover n1"); code != 1 || !strings.Contains(errs, "nothing to recover") {
		t.Errorf("nothing to recover: %d %q", code, errs)
	}
}
