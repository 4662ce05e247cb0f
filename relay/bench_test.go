package relay_test

import (
	"testing"

	"sealpost/internal/bench"
)

// The load of the relay and of the floor.
const (
	benchPairs  = 16
	benchWindow = 256
	benchSize   = 300
)

func benchLoad(b *testing.B) bench.Config {
	return bench.Config{
		Devices: benchPairs, Messages: max(b.N, benchPairs), Size: benchSize, Window: benchWindow, Dir: b.TempDir(),
	}
}

// BenchmarkSaturation is the relay, 1:1: every message is accepted, delivered
// and acknowledged. It is to reach 70 % of BenchmarkFloor in the same run.
func BenchmarkSaturation(b *testing.B) {
	result, err := bench.Load(b.Context(), benchLoad(b))
	if err != nil {
		b.Fatal(err)
	}
	reportSaturation(b, result)
}

func reportSaturation(b *testing.B, result bench.Result) {
	b.ReportMetric(result.AcceptedPerSecond, "msg/s")
	b.ReportMetric(result.DeliveredPerSecond, "delivered/s")
	b.ReportMetric(float64(result.CPUPerMessage.Nanoseconds())/1e3, "cpu-µs/msg")
}

// BenchmarkLatency is the relay at 1,000 messages a second.
func BenchmarkLatency(b *testing.B) {
	load := benchLoad(b)
	load.Rate = 1000
	result, err := bench.Load(b.Context(), load)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(result.Latency.ValueAtPercentile(50))/1e3, "p50-µs")
	b.ReportMetric(float64(result.Latency.ValueAtPercentile(99))/1e3, "p99-µs")
}
