package httpapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hadir/httpapi/stream"
)

// streamMetrics are the measurements of the stream.
type streamMetrics struct {
	resumes *prometheus.CounterVec
	closes  *prometheus.CounterVec
	slow    prometheus.Counter
	frames  prometheus.Counter
	writes  prometheus.Counter
	seconds prometheus.Histogram
}

var _ stream.Observer = (*streamMetrics)(nil)

func newStreamMetrics() *streamMetrics {
	return &streamMetrics{
		resumes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_stream_resumes_total", Help: "Connections that asked to go on, by result: ok, behind, or why they were reset.",
		}, []string{"result"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_stream_closes_total", Help: "Connections closed, by code.",
		}, []string{"code"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hadir_stream_slow_closes_total", Help: "Connections closed because they were not read in time.",
		}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hadir_stream_frames_total", Help: "Event frames sent.",
		}),
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hadir_stream_writes_total", Help: "Writes in which event frames were sent; the fewer, the more went out together.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_stream_apply_to_frame_seconds", Help: "Time from an event's commit on this node to the end of the write with its frame, by write.",
			Buckets: prometheus.ExponentialBucketsRange(0.0002, 10, 20),
		}),
	}
}

// register adds them and the number of connections.
func (s *streamMetrics) register(m *Metrics, hub *stream.Hub) error {
	for _, c := range []prometheus.Collector{
		s.resumes, s.closes, s.slow, s.frames, s.writes, s.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hadir_stream_clients", Help: "Connections to the stream of this node.",
		}, func() float64 { return float64(hub.Connections()) }),
	} {
		if err := m.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Resumed implements stream.Observer.
func (s *streamMetrics) Resumed(result string) { s.resumes.WithLabelValues(result).Inc() }

// Closed implements stream.Observer.
func (s *streamMetrics) Closed(code stream.Code) {
	s.closes.WithLabelValues(strconv.Itoa(int(code))).Inc()
	if code == stream.Slow {
		s.slow.Inc()
	}
}

// Sent implements stream.Observer.
func (s *streamMetrics) Sent(events int, age time.Duration) {
	s.frames.Add(float64(events))
	s.writes.Inc()
	if age >= 0 {
		s.seconds.Observe(age.Seconds())
	}
}
