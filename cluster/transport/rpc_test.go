package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func serveRPC(t *testing.T, n *testNode, h http.Handler) *http.Server {
	t.Helper()
	srv := n.NewRPCServer(h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(n.RPC()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		<-done
	})
	return srv
}

func whoami(w http.ResponseWriter, r *http.Request) {
	p, ok := PeerFrom(r.Context())
	if !ok || r.ProtoMajor != 2 {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	io.WriteString(w, p.ID+" "+p.ClusterID) //nolint:errcheck // test
}

func get(n *testNode, target Target) (string, error) {
	resp, err := (&http.Client{Transport: n.RPCTransport(target)}).Get(target.URL("/who"))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // test
	b, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(b), err
}

func TestRPC(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	serveRPC(t, server, http.HandlerFunc(whoami))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got, err := get(client, server.target()); err != nil || got != "200 OK n1 c1" {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	wg.Wait()
	for range 10 {
		if _, err := get(client, server.target()); err != nil {
			t.Error(err)
		}
	}
	if got := server.Stats().Accepted; got != 1 {
		t.Errorf("%d connections for one target", got)
	}
	if client.RPCTransport(server.target()) != client.RPCTransport(server.target()) {
		t.Error("two transports for one target")
	}
}

// TestRPCSurvivesLostConnections cuts the connection again and again under
// load. Requests may fail; the next one after a cut must find a way.
func TestRPCSurvivesLostConnections(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	serveRPC(t, server, http.HandlerFunc(whoami))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					get(client, server.target()) //nolint:errcheck // failures are expected here
				}
			}
		})
	}
	for i := range 30 {
		who := []*testNode{server, client}[i%2]
		eventually(t, "a connection to cut", func() bool {
			return who.Drop(func(Peer) bool { return true }) > 0
		})
	}
	close(stop)
	wg.Wait()
	if got, err := get(client, server.target()); err != nil || got != "200 OK n1 c1" {
		// One dead connection may still be pooled.
		if got, err = get(client, server.target()); err != nil || got != "200 OK n1 c1" {
			t.Errorf("%q %v", got, err)
		}
	}
}

// TestRPCDialFailureIsShared: all requests behind one failing dial fail with
// it, not one after the other.
func TestRPCDialFailureIsShared(t *testing.T) {
	clock := newHandClock()
	n := startNode(t, mustKeys(t, testKeys(t, 1)...), "n1", func(c *Config) { c.Clock = clock })
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close() //nolint:errcheck // test
	target := Target{ID: "n2", Addr: mute.Addr().String()}
	const requests = 20
	errs := make(chan error, requests)
	for range requests {
		go func() {
			_, err := get(n, target)
			errs <- err
		}()
	}
	clock.waitTimers(t, 1)
	clock.advance(DefaultDialTimeout) // once; the clock then stands still
	for range requests {
		if err := <-errs; !errors.Is(err, ErrHandshakeTimeout) {
			t.Errorf("%v", err)
		}
	}
}

func TestRPCErrorsKeepTheirSentinel(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2.new"), startNode(t, keys, "n1")
	serveRPC(t, server, http.HandlerFunc(whoami))
	_, err := get(client, Target{ID: "n2.old", Addr: server.Addr().String()})
	var refused *RefusedError
	if !errors.Is(err, ErrNotAddressee) || !errors.As(err, &refused) || refused.Peer.ID != "n2.new" {
		t.Errorf("%v", err)
	}
	if got, err := get(client, Target{Addr: server.Addr().String()}); err != nil || !strings.HasPrefix(got, "200") {
		t.Errorf("%q %v", got, err)
	}
	if n := len(client.clients.byAddr); n != 1 {
		t.Errorf("%d transports for one address", n)
	}
}

func TestRPCShutdownIsGraceful(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	entered, leave := make(chan struct{}), make(chan struct{})
	srv := serveRPC(t, server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		io.WriteString(w, "done") //nolint:errcheck // test
	}))
	answer := make(chan string)
	go func() {
		got, err := get(client, server.target())
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	<-entered
	down := make(chan error)
	go func() { down <- srv.Shutdown(context.Background()) }()
	eventually(t, "listener closed", func() bool {
		select {
		case <-server.rpc.closed:
			return true
		default:
			return false
		}
	})
	close(leave)
	if got := <-answer; got != "200 OK done" {
		t.Errorf("running request: %s", got)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestHTTP1IsRefused(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	serveRPC(t, server, http.HandlerFunc(whoami))
	conn, err := client.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // test
	if _, err := io.WriteString(conn, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err != nil && len(b) > 0 {
		t.Errorf("%q %v", b, err)
	} else if strings.Contains(string(b), "200") {
		t.Errorf("served HTTP/1: %q", b)
	}
}
