package relay_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sealpost/api"
	"sealpost/relay"
)

// metricValue returns a metric's value, or how many times it was observed. Labels
// are given as name, value, and so on.
func metricValue(t testing.TB, collector prometheus.Collector, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if labelled(m, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

func labelled(m *dto.Metric, labels []string) bool {
	if len(m.GetLabel())*2 != len(labels) {
		return false
	}
	for i, label := range m.GetLabel() {
		if label.GetName() != labels[2*i] || label.GetValue() != labels[2*i+1] {
			return false
		}
	}
	return true
}

// awaitMetric returns when a metric has a value.
func awaitMetric(t testing.TB, collector prometheus.Collector, name string, want float64, labels ...string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		got := metricValue(t, collector, name, labels...)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v, want %v", name, got, want)
		}
	}
}

// TestMetrics drives a relay and reads what it says about it.
func TestMetrics(t *testing.T) {
	metrics := relay.NewMetrics()
	r := startRelay(t, t.TempDir(), func(c *relay.Config) {
		c.Metrics = metrics
		c.Limits.MailboxRows, c.Limits.MailboxShare = 2, 100
	})
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	a.accepted(submit("one", bob))
	b.ack(b.envelope("one"))
	b.settled()
	a.accepted(submit("two", alice))
	a.envelope("two")
	a.accepted(submit("three", alice))
	a.envelope("three")
	a.rejected(submit("four", alice), api.Reason_REASON_MAILBOX_FULL)
	a.rejected(submit("five", r.unregistered("carol")), api.Reason_REASON_UNKNOWN_RECIPIENT)
	if _, err := alice.lookup("nobody"); err == nil {
		t.Fatal("nobody is somebody")
	}
	r.clock.move(2 * relay.DefaultLimits().Retention)
	r.Sweep(t.Context())
	for _, want := range []struct {
		name   string
		value  float64
		labels []string
	}{
		{"sealpost_devices_connected", 2, nil},
		{"sealpost_connections", 2, nil},
		{"sealpost_connections_accepted_total", 2, nil},
		{"sealpost_registrations_total", 2, nil},
		{"sealpost_frames_received_total", 6, []string{"frame", "submit"}},
		{"sealpost_frames_received_total", 1, []string{"frame", "ack"}},
		{"sealpost_submits_accepted_total", 3, nil},
		{"sealpost_envelopes_sent_total", 3, nil},
		{"sealpost_submits_rejected_total", 1, []string{"reason", "mailbox_full"}},
		{"sealpost_submits_rejected_total", 1, []string{"reason", "unknown_recipient"}},
		{"sealpost_submits_rejected_total", 1, []string{"reason", "malformed"}},
		{"sealpost_limit_hits_total", 1, []string{"limit", "mailbox"}},
		{"sealpost_calls_failed_total", 1, []string{"reason", "unknown_account"}},
		{"sealpost_envelopes_expired_total", 2, nil},
		{"sealpost_internal_errors_total", 0, nil},
		{"sealpost_write_queue_submits", 0, nil},
	} {
		if got := metricValue(t, metrics, want.name, want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	batches := metricValue(t, metrics, "sealpost_write_seconds")
	if batches == 0 || batches != metricValue(t, metrics, "sealpost_write_batch_submits") {
		t.Errorf("%v batches were timed", batches)
	}
}

// TestLimitsAreShownFromTheStart: a limit that was never hit is 0, not absent, and is
// explained.
func TestLimitsAreShownFromTheStart(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(relay.NewMetrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]int)
	for _, family := range families {
		shown[family.GetName()] = len(family.GetMetric())
		if family.GetName() != "sealpost_limit_hits_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			limit := m.GetLabel()[0].GetValue()
			if !strings.Contains(string(text), "`"+limit+"`") && !strings.Contains(string(text), "`"+strings.ReplaceAll(limit, "_", "-")+"`") {
				t.Errorf("docs/operations.md does not explain the limit %s", limit)
			}
		}
	}
	for name, least := range map[string]int{"sealpost_limit_hits_total": 20, "sealpost_calls_failed_total": 15, "sealpost_submits_rejected_total": 15} {
		if shown[name] < least {
			t.Errorf("%s has %d labels at the start, want %d", name, shown[name], least)
		}
	}
}
