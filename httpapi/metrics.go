package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hadir/cluster"
)

// Metrics are a node's measurements, hadir_*, in a registry of their own. They
// implement cluster.Observer, so they are made before the node.
type Metrics struct {
	registry *prometheus.Registry

	checkIns   *prometheus.CounterVec
	replays    prometheus.Counter
	signIns    *prometheus.CounterVec
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	commit     prometheus.Histogram
	batch      prometheus.Histogram
	forward    prometheus.Histogram
	storeLogs  *prometheus.HistogramVec
	elections  prometheus.Counter
	leaderless prometheus.Histogram
	changes    *prometheus.CounterVec
	snapshots  prometheus.Histogram
}

var _ cluster.Observer = (*Metrics)(nil)

// NewMetrics gives the measurements of a node that runs that version.
func NewMetrics(version string) *Metrics {
	fast := prometheus.ExponentialBucketsRange(0.0002, 5, 16)
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		checkIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_checkins_total", Help: "Check-ins by outcome; a word of the error where there was none.",
		}, []string{"outcome"}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hadir_checkin_replays_total", Help: "Check-ins answered from an earlier decision under the same key.",
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_sign_ins_total", Help: "Attempts to sign in by result.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_http_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hadir_http_request_seconds", Help: "Time to answer a request, by route.", Buckets: fast,
		}, []string{"route"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_commit_seconds", Help: "Time on the leader from proposal to applied, by entry.", Buckets: fast,
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_commit_commands", Help: "Commands in one entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		forward: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_forward_seconds", Help: "Time of a batch that was sent to the leader, to its answer.", Buckets: fast,
		}),
		storeLogs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hadir_store_logs_seconds", Help: "Time of operations of the raft log store.", Buckets: fast,
		}, []string{"op"}),
		elections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hadir_elections_total", Help: "New leaders that this node learned of.",
		}),
		leaderless: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_leaderless_seconds", Help: "How long there had been no leader.",
			Buckets: prometheus.ExponentialBucketsRange(0.1, 120, 12),
		}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hadir_member_changes_total",
			Help: "Servers that this node, as the leader, has admitted, replaced, promoted or removed.",
		}, []string{"act"}),
		snapshots: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hadir_snapshot_seconds", Help: "Time to take a snapshot of the state.",
			Buckets: prometheus.ExponentialBucketsRange(0.01, 300, 12),
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hadir_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(m.checkIns, m.replays, m.signIns, m.requests, m.seconds, m.commit, m.batch, m.forward,
		m.storeLogs, m.elections, m.leaderless, m.changes, m.snapshots, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds a collector, such as one for the files of a node.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// Committed implements cluster.Observer.
func (m *Metrics) Committed(commands int, took time.Duration) {
	m.batch.Observe(float64(commands))
	m.commit.Observe(took.Seconds())
}

// Forwarded implements cluster.Observer.
func (m *Metrics) Forwarded(_ int, took time.Duration) { m.forward.Observe(took.Seconds()) }

// StoredLogs implements cluster.Observer.
func (m *Metrics) StoredLogs(op string, took time.Duration) {
	m.storeLogs.WithLabelValues(op).Observe(took.Seconds())
}

// Elected implements cluster.Observer.
func (m *Metrics) Elected(leaderless time.Duration) {
	m.elections.Inc()
	m.leaderless.Observe(leaderless.Seconds())
}

// MemberChanged implements cluster.Observer.
func (m *Metrics) MemberChanged(act string) { m.changes.WithLabelValues(act).Inc() }

// Snapshotted implements cluster.Observer.
func (m *Metrics) Snapshotted(took time.Duration) { m.snapshots.Observe(took.Seconds()) }

func (m *Metrics) checkedIn(outcome string, replayed bool) {
	if replayed {
		m.replays.Inc()
		return
	}
	m.checkIns.WithLabelValues(outcome).Inc()
}

func (m *Metrics) signIn(result string) { m.signIns.WithLabelValues(result).Inc() }

// methodLabels keeps strangers from inventing label values.
var methodLabels = map[string]string{
	http.MethodGet: "GET", http.MethodHead: "HEAD", http.MethodPost: "POST", http.MethodDelete: "DELETE",
	http.MethodPut: "PUT", http.MethodPatch: "PATCH", http.MethodOptions: "OPTIONS",
}

func methodLabel(method string) string {
	if label, known := methodLabels[method]; known {
		return label
	}
	return "other"
}

func (m *Metrics) served(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(methodLabel(method), route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// watch has the node's own view collected at each scrape.
func (m *Metrics) watch(n Node) error {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hadir_"+name, help, labels, nil)
	}
	return m.registry.Register(&statusCollector{
		node:      n,
		leader:    gauge("is_leader", "1 when this node leads."),
		known:     gauge("leader_known", "1 when this node knows of a leader."),
		term:      gauge("raft_term", "Term of raft."),
		applied:   gauge("applied_index", "Raft index that is applied."),
		lag:       gauge("apply_lag", "Events that this node is behind the newest it knows of."),
		seq:       gauge("events", "Seq of the newest event."),
		age:       gauge("fresh_age_seconds", "Age of the proof of freshness; -1 when there is none."),
		stale:     gauge("stale", "1 when reads of this node say stale."),
		canLose:   gauge("can_lose", "Voters that may fail before nothing is decided."),
		voters:    gauge("voters", "Servers with a vote."),
		members:   gauge("members", "Servers of the cluster, those without a vote included."),
		healthy:   gauge("healthy", "1 when the leader's autopilot finds every server healthy, 0 when not; -1 while nobody says."),
		tolerance: gauge("failure_tolerance", "Healthy voters that may fail, by the leader's autopilot; -1 while nobody says."),
		diskFree:  gauge("disk_free_bytes", "Bytes left for this node's files."),
		diskLow:   gauge("disk_low", "1 while this node takes nothing in because its disk is nearly full."),
		reachable: gauge("node_reachable", "1 when a node answered a probe lately.", "node"),
	})
}

type statusCollector struct {
	node Node

	leader, known, term, applied, lag, seq, age, stale, canLose, reachable *prometheus.Desc
	voters, members, healthy, tolerance, diskFree, diskLow                 *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (s *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.leader, s.known, s.term, s.applied, s.lag, s.seq, s.age, s.stale, s.canLose, s.reachable,
		s.voters, s.members, s.healthy, s.tolerance, s.diskFree, s.diskLow,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s *statusCollector) Collect(to chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	view := s.node.Status()
	put(s.leader, one(view.Leader != "" && view.Leader == view.Node))
	put(s.known, one(view.Leader != ""))
	put(s.term, float64(view.Term))
	put(s.applied, float64(s.node.Applied()))
	put(s.stale, one(view.Fresh.Stale))
	put(s.canLose, float64(view.CanLose))
	if view.Fresh.Age < 0 {
		put(s.age, -1)
	} else {
		put(s.age, view.Fresh.Age.Seconds())
	}
	healthy, tolerance := -1.0, -1.0
	if view.Health.Known {
		healthy, tolerance = one(view.Health.Healthy), float64(view.Health.Tolerance)
	}
	put(s.healthy, healthy)
	put(s.tolerance, tolerance)
	voters := 0
	for _, n := range view.Nodes {
		if n.Voter {
			voters++
		}
	}
	put(s.voters, float64(voters))
	put(s.members, float64(len(view.Nodes)))
	seen := make(map[string]bool)
	for _, n := range view.Nodes {
		if seen[n.Name] {
			continue // a name that is being replaced is there twice for a while
		}
		seen[n.Name] = true
		put(s.reachable, one(n.Reachable), n.Name)
		if n.Name == view.Node {
			put(s.lag, float64(n.Lag))
			put(s.seq, float64(n.Seq))
			put(s.diskFree, float64(n.DiskFree))
			put(s.diskLow, one(n.DiskLow))
		}
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func getMetrics(c *call) error {
	m := c.api.Metrics
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(c.w, c.r)
	return nil
}
