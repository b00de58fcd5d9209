package load

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hadir/cmd/hadir/internal/api"
)

func TestPercentiles(t *testing.T) {
	var d []time.Duration
	for i := 1000; i >= 1; i-- {
		d = append(d, time.Duration(i)*time.Millisecond)
	}
	if got, want := percentiles(d), (Percentiles{500, 900, 990, 999, 1000}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if got, want := percentiles(d[:1]), (Percentiles{1, 1, 1, 1, 1}); got != want {
		t.Fatalf("one value: %+v", got)
	}
	if got := percentiles(nil); got != (Percentiles{}) {
		t.Fatalf("nothing: %+v", got)
	}
}

func TestRunCountsWhatWasAnswered(t *testing.T) {
	var keys sync.Map
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, twice := keys.LoadOrStore(r.Header.Get("Idempotency-Key"), true); twice {
			t.Error("a key was used twice")
		}
		status := []int{201, 409, 503}[n.Add(1)%3]
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"status": http.StatusText(status)}) //nolint:errcheck // test
	}))
	defer s.Close()
	c, err := api.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	var key atomic.Int64
	r, err := Run(t.Context(), Config{
		As: []*api.Client{c}, Users: []uint64{7}, Clients: 4, Duration: 300 * time.Millisecond,
		NewKey: func() string { return strconv.FormatInt(key.Add(1), 10) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered == 0 || r.Answered != r.Accepted+r.Duplicate || r.Status["503"] == 0 || r.Failed != 0 || r.LatencyMS.Max == 0 {
		t.Fatalf("%+v", r)
	}
}

func TestRunNeedsPeople(t *testing.T) {
	if _, err := Run(t.Context(), Config{}); !errors.Is(err, ErrNobody) {
		t.Fatalf("got %v", err)
	}
}
