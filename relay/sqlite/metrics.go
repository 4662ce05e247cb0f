package sqlite

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics say how the disk keeps up.
type metrics struct {
	commit, checkpoint prometheus.Histogram // seconds
	checkpointsFailed  prometheus.Counter

	envelopes, used, file, log, free *prometheus.Desc // looked up when asked
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
		file:      describe("file_bytes", "Size of the database, without its log."),
		log:       describe("log_bytes", "Size of the database's log."),
		free:      describe("disk_free_bytes", "What the server may still write to the disk of its data."),
	}
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(descriptions chan<- *prometheus.Desc) {
	m := &s.metrics
	m.commit.Describe(descriptions)
	m.checkpoint.Describe(descriptions)
	m.checkpointsFailed.Describe(descriptions)
	for _, d := range []*prometheus.Desc{m.envelopes, m.used, m.file, m.log, m.free} {
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
	for d, look := range map[*prometheus.Desc]func() (int64, error){
		m.envelopes: s.reading(`SELECT count(*) FROM entry`),
		m.used:      s.reading(`SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`),
		m.file:      s.reading(`SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`),
		m.log:       func() (int64, error) { return fileSize(s.path + "-wal"), nil },
		m.free:      s.freeBytes,
	} {
		value, err := look()
		if err != nil {
			collected <- prometheus.NewInvalidMetric(d, err)
			continue
		}
		collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value))
	}
}

// reading returns a function that asks the database for a number.
func (s *Store) reading(query string) func() (int64, error) {
	return func() (value int64, err error) {
		err = s.readers.use(context.Background(), func(r *reader) (err error) {
			value, err = queryInt(r.conn, query)
			return err
		})
		return value, err
	}
}

// timed begins to take a time, and what it returns ends that.
func timed(h prometheus.Histogram) (done func()) {
	begin := time.Now()
	return func() { h.Observe(time.Since(begin).Seconds()) }
}
