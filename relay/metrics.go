package relay

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sealpost/api"
)

// Metrics count what a relay does. No label names a person, a device or an
// address: docs/operations.md says what each metric means, and there is no more
// to see. They are a prometheus.Collector, for whoever serves them to register.
type Metrics struct {
	prometheus.Collector

	connections         prometheus.Gauge
	connectionsAccepted prometheus.Counter
	devicesConnected    prometheus.Gauge

	submits, acks prometheus.Counter // frames received
	envelopes     prometheus.Counter // frames sent
	accepted      prometheus.Counter
	rejected      *prometheus.CounterVec // by reason
	callsFailed   *prometheus.CounterVec // by reason
	limitHits     *prometheus.CounterVec // by limit

	batchSubmits prometheus.Histogram
	writeSeconds prometheus.Histogram
	queued       prometheus.Gauge

	registrations            prometheus.Counter
	keyPackages, lastResorts prometheus.Counter // claimed
	expired                  prometheus.Counter
	recordsExpired           *prometheus.CounterVec // by kind
	internalErrors           prometheus.Counter
}

// diskBuckets go from a fast disk to one that stalls, in seconds.
var diskBuckets = []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .125, .25, .5, 1, 2, 4, 8}

// NewMetrics returns metrics that are all 0, for one Server.
func NewMetrics() *Metrics {
	registry := prometheus.NewRegistry()
	make := promauto.With(registry)
	gauge := func(name, help string) prometheus.Gauge {
		return make.NewGauge(prometheus.GaugeOpts{Name: "sealpost_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return make.NewCounterVec(prometheus.CounterOpts{Name: "sealpost_" + name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter { return counters(name, help).WithLabelValues() }
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return make.NewHistogram(prometheus.HistogramOpts{Name: "sealpost_" + name, Help: help, Buckets: buckets})
	}
	received := counters("frames_received_total", "Frames from connected devices.", "frame")
	claimed := counters("key_packages_claimed_total", "Key packages handed out.", "from")
	m := &Metrics{
		Collector: registry,

		connections:         gauge("connections", "Open connections."),
		connectionsAccepted: counter("connections_accepted_total", "Connections that were opened."),
		devicesConnected:    gauge("devices_connected", "Devices that are connected for envelopes."),

		submits:     received.WithLabelValues("submit"),
		acks:        received.WithLabelValues("ack"),
		envelopes:   counter("envelopes_sent_total", "Envelopes handed to devices, repeats too."),
		accepted:    counter("submits_accepted_total", "Submits that are on disk, repeats too."),
		rejected:    counters("submits_rejected_total", "Submits that were refused.", "reason"),
		callsFailed: counters("calls_failed_total", "Calls and connections that ended with an error.", "reason"),
		limitHits:   counters("limit_hits_total", "Times that a limit held a client back.", "limit"),

		batchSubmits: histogram("write_batch_submits", "Submits in one transaction.", prometheus.ExponentialBuckets(1, 4, 7)),
		writeSeconds: histogram("write_seconds", "Time for one transaction of submits and acknowledgements.", diskBuckets),
		queued:       gauge("write_queue_submits", "Submits that wait for the disk."),

		registrations:  counter("registrations_total", "Registrations of devices, repeats too."),
		keyPackages:    claimed.WithLabelValues("stock"),
		lastResorts:    claimed.WithLabelValues("last_resort"),
		expired:        counter("envelopes_expired_total", "Envelopes deleted because nobody fetched them in time."),
		recordsExpired: counters("records_expired_total", "Submit ids, nonces, key packages, invitations and groups deleted because their time was over.", "kind"),
		internalErrors: counter("internal_errors_total", "Errors of the relay itself, each with a line in the log."),
	}
	m.begin()
	return m
}

// begin shows every label from the start: of a series that begins with its first
// event, Prometheus sees no increase.
func (m *Metrics) begin() {
	reasons := []api.Reason{api.Reason_REASON_INTERNAL}
	limits := slices.Clone(connectionLimits)
	for _, a := range answers {
		reasons = append(reasons, a.reason)
		if a.limit != "" {
			limits = append(limits, a.limit)
		}
	}
	for _, r := range reasons {
		m.rejected.WithLabelValues(reasonLabel(r))
		m.callsFailed.WithLabelValues(reasonLabel(r))
	}
	for _, l := range limits {
		m.limitHits.WithLabelValues(l)
	}
	m.expire(Expired{})
}

// reasonLabel is mailbox_full for REASON_MAILBOX_FULL.
func reasonLabel(r api.Reason) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "REASON_"))
}

// expire counts what the sweeper deleted.
func (m *Metrics) expire(gone Expired) {
	m.expired.Add(float64(gone.Envelopes))
	m.recordsExpired.WithLabelValues("submit_id").Add(float64(gone.SubmitIDs))
	m.recordsExpired.WithLabelValues("nonce").Add(float64(gone.Nonces))
	m.recordsExpired.WithLabelValues("key_package").Add(float64(gone.KeyPackages))
	m.recordsExpired.WithLabelValues("invite").Add(float64(gone.Invites))
	m.recordsExpired.WithLabelValues("group").Add(float64(gone.Groups))
}

// limitHit counts that a limit held a client back.
func (m *Metrics) limitHit(limit string) { m.limitHits.WithLabelValues(limit).Inc() }

// refused counts an answer under its reason, and the limit that it is about.
func (m *Metrics) refused(counter *prometheus.CounterVec, a answer) {
	counter.WithLabelValues(reasonLabel(a.reason)).Inc()
	if a.limit != "" {
		m.limitHit(a.limit)
	}
}
