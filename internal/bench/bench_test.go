package bench_test

import (
	"testing"

	"go.uber.org/goleak"

	"sealpost/internal/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunDeliversEverything(t *testing.T) {
	for name, rate := range map[string]int{"saturation": 0, "steady": 2000} {
		t.Run(name, func(t *testing.T) {
			result, err := bench.Run(t.Context(), bench.Config{
				Pairs: 3, Messages: 200, Size: 300, Window: 8, Rate: rate, Dir: t.TempDir(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if result.Messages != 200 || result.AcceptedPerSecond < result.DeliveredPerSecond ||
				result.P50 <= 0 || result.P99 < result.P50 || result.Max < result.P99 || result.CPUPerMessage <= 0 {
				t.Fatalf("figures that cannot be: %+v", result)
			}
		})
	}
}

func TestRunRefusesAnImpossibleLoad(t *testing.T) {
	for _, c := range []bench.Config{
		{Pairs: 0, Messages: 1, Size: 300, Window: 1},
		{Pairs: 2, Messages: 1, Size: 300, Window: 1},
		{Pairs: 1, Messages: 1, Size: 7, Window: 1},
		{Pairs: 1, Messages: 1, Size: 1 << 20, Window: 1},
		{Pairs: 1, Messages: 1, Size: 300, Window: 0},
	} {
		if _, err := bench.Run(t.Context(), c); err == nil {
			t.Errorf("%+v ran", c)
		}
	}
}
