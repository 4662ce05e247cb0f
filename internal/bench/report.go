package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Report is what a scenario measured.
type Report struct {
	Scenario string   `json:"scenario"`
	Figures  []Figure `json:"figures"`
}

// A Figure is one number of a report.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func (r *Report) add(name string, value float64, unit string) {
	r.Figures = append(r.Figures, Figure{name, value, unit})
}

func (r *Report) addTime(name string, d time.Duration) { r.add(name, d.Seconds()*1000, "ms") }

// addLatency adds what a histogram of nanoseconds says.
func (r *Report) addLatency(name string, h *hdrhistogram.Histogram) {
	for _, p := range []struct {
		name    string
		percent float64
	}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}} {
		r.addTime(name+" "+p.name, time.Duration(h.ValueAtPercentile(p.percent)))
	}
}

// newHistogram holds a microsecond to an hour, with three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Hour), 3)
}

// record adds a time to a histogram; what it cannot hold counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(int64(d), h.HighestTrackableValue())) // in range now
}
