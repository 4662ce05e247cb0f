package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sealpost/relay/sqlite"
)

// TestSizesAreShown: what an operator sees of the disk is what is there.
func TestSizesAreShown(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const free = 123 << 20
	s.SetFreeBytes(free)
	register(t, s, "alice")
	log, err := os.Stat(filepath.Join(dir, sqlite.FileName+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	for name, want := range map[string]int64{"sealpost_store_disk_free_bytes": free, "sealpost_store_log_bytes": log.Size(), "sealpost_store_envelopes": 0} {
		if value, shown := got[name]; !shown || value != float64(want) {
			t.Errorf("%s is %v, want %d", name, value, want)
		}
	}
	if log.Size() == 0 || got["sealpost_store_used_bytes"] == 0 || got["sealpost_store_file_bytes"] < got["sealpost_store_used_bytes"] {
		t.Errorf("a log of %d bytes, and %v", log.Size(), got)
	}
}
