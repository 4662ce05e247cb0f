package sqlite

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics say how the disk keeps up.
type metrics struct {
	commit, checkpoint  prometheus.Histogram // seconds
	checkpointsFailed   prometheus.Counter
	envelopes, used, db *prometheus.Desc // read from the database when asked
}

func newMetrics() metrics {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sealpost_store_" + name, Help: help,
			Buckets: prometheus.ExponentialBuckets(.0005, 2, 15)})
	}
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sealpost_store_"+name, help, nil, nil)
	}
	return metrics{
		commit:     histogram("commit_seconds", "Time to commit a transaction, fsync included."),
		checkpoint: histogram("checkpoint_seconds", "Time to copy the log back into the database."),
		checkpointsFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_store_checkpoints_failed_total", Help: "Checkpoints that failed, as on a full disk."}),
		envelopes: describe("envelopes", "Envelopes in all mailboxes."),
		used:      describe("used_bytes", "Bytes in use in the database, without its log."),
		db:        describe("file_bytes", "Size of the database, without its log."),
	}
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(descriptions chan<- *prometheus.Desc) {
	m := &s.metrics
	m.commit.Describe(descriptions)
	m.checkpoint.Describe(descriptions)
	m.checkpointsFailed.Describe(descriptions)
	for _, d := range []*prometheus.Desc{m.envelopes, m.used, m.db} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. It counts the envelopes in an index,
// some 10 ms for a million, on a connection that nobody waits for.
func (s *Store) Collect(collected chan<- prometheus.Metric) {
	m := &s.metrics
	m.commit.Collect(collected)
	m.checkpoint.Collect(collected)
	m.checkpointsFailed.Collect(collected)
	for d, query := range map[*prometheus.Desc]string{
		m.envelopes: `SELECT count(*) FROM entry`,
		m.used:      `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
		m.db:        `SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`,
	} {
		var value int64
		err := s.readers.use(context.Background(), func(r *reader) (err error) {
			value, err = queryInt(r.conn, query)
			return err
		})
		if err != nil {
			collected <- prometheus.NewInvalidMetric(d, err)
			continue
		}
		collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value))
	}
}

// timed begins to take a time, and what it returns ends that.
func timed(h prometheus.Histogram) (done func()) {
	begin := time.Now()
	return func() { h.Observe(time.Since(begin).Seconds()) }
}
