package ops

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// metricNames returns what a server shows of its own, histograms with what their
// names end in.
func metricNames(t *testing.T) []string {
	t.Helper()
	store, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		relay.NewMetrics().Describe(descriptions)
		store.Describe(descriptions)
		CertificateMetric(func() time.Time { return time.Time{} }).Describe(descriptions)
	}()
	var names []string
	for d := range descriptions {
		names = append(names, regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1])
	}
	if len(names) < 20 {
		t.Fatalf("only %v", names)
	}
	return names
}

var metricName = regexp.MustCompile(`\bsealpost_[a-z_]+`)

func TestEveryMetricIsExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := metricNames(t)
	explained := metricsIn(text, names)
	for _, name := range names {
		if !slices.Contains(explained, name) {
			t.Errorf("docs/operations.md does not explain %s", name)
		}
	}
	for _, name := range explained {
		if !slices.Contains(names, name) {
			t.Errorf("docs/operations.md explains %s, which there is not", name)
		}
	}
}

// metricsIn returns the metrics that a text speaks of, those of names by their name
// where it speaks of a part of a histogram.
func metricsIn(text []byte, names []string) []string {
	found := metricName.FindAllString(string(text), -1)
	for i, name := range found {
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, end); ok && slices.Contains(names, base) {
				found[i] = base
			}
		}
	}
	return found
}

func TestDashboardShowsMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("no JSON")
	}
	names := metricNames(t)
	shown := metricsIn(text, names)
	for _, name := range shown {
		if !slices.Contains(names, name) {
			t.Errorf("the dashboard shows %s, which there is not", name)
		}
	}
	if len(shown) < 20 {
		t.Errorf("the dashboard shows only %v", shown)
	}
}
