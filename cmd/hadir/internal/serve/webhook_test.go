package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"hadir/queue/redistest"
	"hadir/queue/webhook"
)

// ask sends a request to a node and gives the answer as an object.
func ask(t *testing.T, method, url, token, body string) (status int, doc map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatalf("%s %s: %d, %v", method, url, resp.StatusCode, err)
	}
	return resp.StatusCode, doc
}

// TestAWebhookOfANode: what a person does at a node is told to the program in the file.
func TestAWebhookOfANode(t *testing.T) {
	const secret = "a secret of many characters"
	got, ids := make(chan string, 16), make(chan string, 16)
	var refusals atomic.Int32 // that are left
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		want := webhook.Sign([]byte(strings.ReplaceAll(secret, " ", "-")), r.Header.Get("X-Hadir-Timestamp"), body)
		if err != nil || r.Header.Get("X-Hadir-Signature") != want {
			t.Errorf("%v: %s", r.Header, body)
		}
		ids <- r.Header.Get("X-Hadir-Id")
		if refusals.Add(-1) >= 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		got <- r.Header.Get("X-Hadir-Event")
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(endpoint.Close)
	dir := t.TempDir()
	files := map[string]string{"password": "rahasia sekali\n", "hooks": fmt.Sprintf("gate %s %s group.created private\n", endpoint.URL, strings.ReplaceAll(secret, " ", "-"))}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url, stop := start(t, Options{
		NodeID: "n1", DataDir: filepath.Join(dir, "data"), HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0",
		BootstrapExpect: 1, RaftMultiplier: 1, TimeZone: "Asia/Jakarta", AdminEmail: "kepala@sekolah.example",
		AdminPasswordFile: filepath.Join(dir, "password"), LogLevel: "info", LogFormat: "json", WebhookFile: filepath.Join(dir, "hooks"),
	})
	_, session := ask(t, "POST", url+"/api/v1/session", "", `{"email":"kepala@sekolah.example","password":"rahasia sekali"}`)
	token, _ := session["token"].(string)
	state := func() string {
		_, doc := ask(t, "GET", url+"/api/v1/webhooks", token, "")
		items, _ := doc["items"].([]any)
		if len(items) != 1 {
			t.Fatalf("webhooks: %v", doc)
		}
		hook, _ := items[0].(map[string]any)
		return fmt.Sprint(hook["name"], " ", hook["state"], " ", hook["lag_events"], " ", hook["place"])
	}
	want := "gate delivering 0 " + endpoint.URL
	redistest.Await(t, "the node delivers", func() bool { return state() == want })
	if status, doc := ask(t, "POST", url+"/api/v1/groups", token, `{"name":"X-1","kind":"class"}`); status != http.StatusCreated {
		t.Fatal(status, doc)
	}
	if event := <-got; event != "group.created" {
		t.Errorf("the first event is %s", event)
	}
	redistest.Await(t, "all is delivered", func() bool { return state() == want })
	// What is refused three times becomes a job, which delivers the same event.
	<-ids
	refusals.Store(3)
	if status, doc := ask(t, "POST", url+"/api/v1/groups", token, `{"name":"X-2","kind":"class"}`); status != http.StatusCreated {
		t.Fatal(status, doc)
	}
	first := <-ids
	for range 3 {
		if id := <-ids; id != first {
			t.Errorf("%s was delivered as %s", first, id)
		}
	}
	if event := <-got; event != "group.created" {
		t.Errorf("the job delivers %s", event)
	}
	// A mark of a webhook is no SQL target.
	if _, doc := ask(t, "GET", url+"/api/v1/export", token, ""); strings.Contains(fmt.Sprint(doc), "webhook") {
		t.Errorf("export: %v", doc)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestWebhookFileIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hooks")
	p := &plan{Options: Options{WebhookFile: path}}
	if err := p.readWebhooks(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(path, []byte("gate https://h/ this-is-a-secret-word everything\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var usage *UsageError
	if err := p.readWebhooks(); !errors.As(err, &usage) || !strings.Contains(err.Error(), "line 1") || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("a kind that there is not: %v", err)
	}
}
