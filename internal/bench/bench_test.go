package bench_test

import (
	"testing"

	"go.uber.org/goleak"

	"sealpost/internal/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoadDeliversEverything(t *testing.T) {
	for name, rate := range map[string]int{"saturation": 0, "steady": 2000} {
		t.Run(name, func(t *testing.T) {
			result, err := bench.Load(t.Context(), bench.Config{
				Devices: 3, Messages: 200, Size: 300, Window: 8, Rate: rate, Dir: t.TempDir(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if result.Messages != 200 || result.AcceptedPerSecond < result.DeliveredPerSecond ||
				result.Latency.TotalCount() != 200 || result.Latency.Min() <= 0 || result.CPUPerMessage <= 0 {
				t.Fatalf("figures that cannot be: %+v", result)
			}
		})
	}
}

func TestLoadRefusesTheImpossible(t *testing.T) {
	for _, c := range []bench.Config{
		{Devices: 0, Messages: 1, Size: 300, Window: 1},
		{Devices: 2, Messages: 1, Size: 300, Window: 1},
		{Devices: 1, Messages: 1, Size: 7, Window: 1},
		{Devices: 1, Messages: 1, Size: 1 << 20, Window: 1},
		{Devices: 1, Messages: 1, Size: 300, Window: 0},
	} {
		if _, err := bench.Load(t.Context(), c); err == nil {
			t.Errorf("%+v ran", c)
		}
	}
}

// TestScenarios: each runs small and reports its figures. Idle needs a relay in
// another process: see the scripts of package cli.
func TestScenarios(t *testing.T) {
	for name, test := range map[string]struct {
		config  bench.Config
		figures int
	}{
		"saturate": {bench.Config{Devices: 2, Messages: 100, Size: 300, Window: 8}, 8},
		"steady":   {bench.Config{Devices: 2, Messages: 100, Size: 300, Window: 8, Rate: 1000, MLS: true}, 8},
		"connect":  {bench.Config{Devices: 10}, 8},
		"backlog":  {bench.Config{Devices: 3, Messages: 500, Rate: 2000}, 12},
		"group":    {bench.Config{Devices: 20, Messages: 5}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Dir = t.TempDir()
			report, err := bench.Run(t.Context(), name, test.config)
			if err != nil {
				t.Fatal(err)
			}
			if report.Scenario != name || len(report.Figures) != test.figures {
				t.Errorf("got %+v, want %d figures", report, test.figures)
			}
			for _, f := range report.Figures {
				if f.Value <= 0 {
					t.Errorf("%s is %v", f.Name, f.Value)
				}
			}
		})
	}
	if _, err := bench.Run(t.Context(), "group", bench.Config{MLS: true, Dir: t.TempDir()}); err == nil {
		t.Error("a scenario without MLS payloads ran with them")
	}
	if _, err := bench.Run(t.Context(), "nonsense", bench.Config{}); err == nil {
		t.Error("a scenario that does not exist ran")
	}
}
