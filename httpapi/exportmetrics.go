package httpapi

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// exportCollector has the state of the export targets collected at each scrape.
type exportCollector struct {
	exports Exports

	running, connected, watermark, lagEvents, lagSeconds, parked, exported, batches *prometheus.Desc
}

func newExportCollector(e Exports) *exportCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("hadir_export_"+name, help, []string{"target"}, nil)
	}
	return &exportCollector{
		exports:    e,
		running:    desc("running", "1 when this node exports to the target, 0 when another does or nobody can."),
		connected:  desc("connected", "1 when the target answers this node."),
		watermark:  desc("watermark", "Seq up to which every event is in the target."),
		lagEvents:  desc("lag_events", "Events that are not in the target."),
		lagSeconds: desc("lag_seconds", "Age of the oldest event that is not in the target."),
		parked:     desc("parked", "Events that the target refused."),
		exported:   desc("events_total", "Events that this node has exported."),
		batches:    desc("batches_total", "Transactions in which this node has exported."),
	}
}

// Describe implements prometheus.Collector.
func (x *exportCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{x.running, x.connected, x.watermark, x.lagEvents, x.lagSeconds, x.parked, x.exported, x.batches} {
		to <- d
	}
}

// collectTimeout bounds how long a scrape waits for the state.
const collectTimeout = 2 * time.Second

// Collect implements prometheus.Collector. A state that cannot be read gives no
// figures: old ones would look like news.
func (x *exportCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	list, err := x.exports.Status(ctx)
	if err != nil {
		return
	}
	for _, s := range list {
		for _, m := range []struct {
			desc  *prometheus.Desc
			kind  prometheus.ValueType
			value float64
		}{
			{x.running, prometheus.GaugeValue, one(s.State == "running")},
			{x.connected, prometheus.GaugeValue, one(s.Connected)},
			{x.watermark, prometheus.GaugeValue, float64(s.Watermark)},
			{x.lagEvents, prometheus.GaugeValue, float64(s.LagEvents)},
			{x.lagSeconds, prometheus.GaugeValue, s.Lag.Seconds()},
			{x.parked, prometheus.GaugeValue, float64(s.Parked)},
			{x.exported, prometheus.CounterValue, float64(s.Exported)},
			{x.batches, prometheus.CounterValue, float64(s.Batches)},
		} {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value, s.Target)
		}
	}
}
