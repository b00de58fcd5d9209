package load

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hadir/cmd/hadir/internal/api"
)

func TestEventSeq(t *testing.T) {
	for head, want := range map[string]uint64{
		`{"t":"event","seq":10482,"id":"0193"`: 10482, `{"t":"event","seq":7}`: 7, `{"t":"mark","seq":7}`: 0, `{"t":"event","seq":}`: 0, ``: 0,
	} {
		if got, ok := eventSeq([]byte(head)); got != want || ok != (want > 0) {
			t.Errorf("%s: %d %v", head, got, ok)
		}
	}
}

func TestScrape(t *testing.T) {
	before := parseMetrics([]byte("# HELP x\nx_total 3\n"))
	after := parseMetrics([]byte(`# TYPE h histogram
x_total 5
h_bucket{le="0.001"} 10
h_bucket{le="0.002"} 90
h_bucket{le="0.004"} 100
h_bucket{le="+Inf"} 100
h_sum 0.2
nonsense
`))
	if got := after.since(before)["x_total"]; got != 2 {
		t.Errorf("x_total grew by %v", got)
	}
	for q, want := range map[float64]float64{0.05: 0.0005, 0.5: 0.0015, 0.95: 0.003, 1: 0.004} {
		if got := after.quantile("h", "", q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	labels := parseMetrics([]byte("h_bucket{route=\"/x\",le=\"1\"} 4\nh_bucket{route=\"/y\",le=\"9\"} 4\n"))
	if got := labels.quantiles("h", `route="/x",`); got != (Quantiles{500, 990}) {
		t.Errorf("with labels: %v", got)
	}
	if got := after.quantile("other", "", 0.5); got != 0 {
		t.Errorf("nothing: %v", got)
	}
	if got := parseMetrics([]byte("h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 4\n")).quantile("h", "", 0.9); got != 1 {
		t.Errorf("beyond the last bound: %v", got)
	}
}

// fakeStream numbers the check-ins and sends them to whoever is connected, except
// for every tenth where it is told to lose some.
type fakeStream struct {
	mu      sync.Mutex
	seq     int
	clients []*websocket.Conn
	lose    bool
	asked   int // for metrics
}

func (f *fakeStream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/metrics":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked++
		fmt.Fprintf(w, "process_resident_memory_bytes 1048576\nhadir_stream_slow_closes_total %d\n", f.asked/6)
	case "/api/v1/checkins":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seq++
		for _, c := range f.clients {
			if f.lose && f.seq%10 == 5 {
				continue
			}
			//nolint:errcheck // somebody may have gone
			c.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"t":"event","seq":%d,"id":"%s"}`, f.seq, strings.Repeat("x", 300)))
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"status":"accepted","seq":%d}`, f.seq)
	case "/api/v1/stream":
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.WriteMessage(websocket.TextMessage, []byte(`{"t":"hello"}`)) == nil {
			f.clients = append(f.clients, c)
		}
	}
}

func TestFanout(t *testing.T) {
	for _, lose := range []bool{false, true} {
		s := httptest.NewServer(&fakeStream{lose: lose})
		defer s.Close()
		me, err := api.New(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		me.Token = "t"
		defer me.HTTP.CloseIdleConnections()
		r, err := Fanout(t.Context(), FanoutConfig{
			Taps: me, Watch: []*api.Client{me}, Users: []uint64{7}, Clients: 4, Slow: 1, Timed: 1, Rate: 50, Duration: 500 * time.Millisecond, NewKey: api.NewKey,
			Settle: time.Millisecond, Grace: 3 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent == 0 || r.Failed != 0 || r.Broken != 0 || r.Delivered+r.Missing != 3*r.Sent || r.Timed != 1 || r.SendToFrame.Max <= 0 || r.Nodes[0].RSSIdle != 1 {
			t.Errorf("%+v", r)
		}
		if (r.Missing > 0) != lose || (r.Gaps > 0) != lose {
			t.Errorf("lose %v: missing %d, gaps %d", lose, r.Missing, r.Gaps)
		}
	}
}

func TestHabits(t *testing.T) {
	for _, c := range []struct{ clients, slow, timed, want int }{
		{1000, 0, 100, 100}, {200, 20, 100, 100}, {10, 2, 0, 8}, {10, 2, 50, 8}, {7, 0, 3, 3}, {1, 0, 1, 1}, {3, 3, 5, 0},
	} {
		got := map[habit]int{}
		for i := range c.clients {
			got[FanoutConfig{Clients: c.clients, Slow: c.slow, Timed: c.timed}.habit(i)]++
		}
		if got[slow] != c.slow || got[timed] != c.want || got[leisured] != c.clients-c.slow-c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestFanoutIsRefused(t *testing.T) {
	s := httptest.NewServer(&fakeStream{})
	defer s.Close()
	me, err := api.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer me.HTTP.CloseIdleConnections()
	_, err = Fanout(t.Context(), FanoutConfig{Taps: me, Watch: []*api.Client{me}, Users: []uint64{7}, Clients: 2, Duration: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "0 of 2 clients connected") || !strings.Contains(err.Error(), "401") {
		t.Errorf("got %v", err)
	}
}
