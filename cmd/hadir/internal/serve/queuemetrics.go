package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"hadir/queue"
)

// queueCollector tells how the queue of this node is, at each scrape.
type queueCollector struct {
	queue *queue.Queue

	waiting, failed, bytes, oldest, decided, redis, fsync *prometheus.Desc
}

func newQueueCollector(q *queue.Queue) *queueCollector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("hadir_"+name, help, nil, nil) }
	return &queueCollector{
		queue:   q,
		waiting: desc("outbox_waiting", "Check-ins that wait in this node's outbox."),
		failed:  desc("outbox_set_aside", "Check-ins that cannot be decided as they are."),
		bytes:   desc("outbox_bytes", "What both take."),
		oldest:  desc("outbox_oldest_seconds", "How long the oldest one has waited; 0 when none does."),
		decided: desc("outbox_decided_total", "Check-ins decided from the outbox since the start of the process."),
		redis:   desc("mirror_up", "1 when Redis takes copies; there is none without --redis-url."),
		fsync:   desc("mirror_fsync", "1 when copies in Redis survive a power cut."),
	}
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.waiting, c.failed, c.bytes, c.oldest, c.decided, c.redis, c.fsync} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(to chan<- prometheus.Metric) {
	v, err := c.queue.View()
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.waiting, err)
		return
	}
	gauge := func(d *prometheus.Desc, n float64) { to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n) }
	gauge(c.waiting, float64(v.Waiting))
	gauge(c.failed, float64(v.Failed))
	gauge(c.bytes, float64(v.Bytes))
	gauge(c.oldest, v.OldestAge.Seconds())
	to <- prometheus.MustNewConstMetric(c.decided, prometheus.CounterValue, float64(v.Decided))
	if m := v.Mirror; m != nil {
		gauge(c.redis, one(m.Up))
		gauge(c.fsync, one(m.Fsync))
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
