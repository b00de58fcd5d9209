package demo

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestInfoIsReplacedInOneStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "info.json")
	short, long := Info{URL: "http://a", Nodes: []InfoNode{{ID: "n1", PID: 1}}}, Info{URL: "http://" + strings.Repeat("b", 64<<10)}
	if err := WriteInfo(path, short); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				got, err := ReadInfo(path)
				if err != nil || (!reflect.DeepEqual(got, short) && !reflect.DeepEqual(got, long)) {
					t.Errorf("a reader saw something else: %v", err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 200 {
		if err := WriteInfo(path, []Info{short, long}[i%2]); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Fatalf("left behind: %v %v", files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v %v", info.Mode(), err)
	}
	if err := WriteInfo(filepath.Join(path, "x"), short); err == nil {
		t.Fatal("a path that cannot be gave no error")
	}
}

func TestLayoutIsKept(t *testing.T) {
	dir := t.TempDir()
	// The demo needs the ports behind its own too, and other programs come and go.
	var a *layout
	port, err := 0, error(nil)
	for range 20 {
		if port, err = freePort(map[int]bool{}); err != nil {
			t.Fatal(err)
		}
		if a, err = arrange(dir, 3, port); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := a.save(); err != nil {
		t.Fatal(err)
	}
	b, err := arrange(dir, 3, port)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Fatalf("%+v and %+v, %v", a, b, err)
	}
	if _, err := arrange(dir, 5, port); err == nil || !strings.Contains(err.Error(), "--nodes 3") {
		t.Fatalf("another number of nodes: %v", err)
	}
	taken, err := net.Listen("tcp", loopback(a.Nodes[1].Peer))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := arrange(dir, 3, port); err == nil || !strings.Contains(err.Error(), "is taken") || !strings.Contains(err.Error(), "--dir") {
		t.Fatalf("taken port: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, layoutFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := arrange(dir, 3, port); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("damaged: %v", err)
	}
}
