package relay

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// gcPercent returns how early garbage is collected.
func gcPercent() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}

func wantGCPercent(t *testing.T, when string, want int) {
	t.Helper()
	if got := gcPercent(); got != want {
		t.Errorf("%s garbage is collected at %d, want %d", when, got, want)
	}
}

// TestStormNeedsMany: what is a storm depends on how many are connected. Who comes
// slowly counts, too, and once.
func TestStormNeedsMany(t *testing.T) {
	for _, c := range []struct{ open, devices int }{
		{0, stormDevices}, {stormDevices, stormDevices}, {stormPart * 100, 100},
	} {
		var s storm
		for i := range c.devices {
			if s.more(c.open) {
				t.Errorf("%d new devices and %d open connections are a storm", i, c.open)
			}
			s.devices.Add(1)
		}
		if !s.more(c.open) {
			t.Errorf("%d new devices and %d open connections are no storm", c.devices, c.open)
		}
		if s.more(c.open) {
			t.Errorf("%d new devices are a storm twice", c.devices)
		}
	}
}

// TestStormCollectsEarly: garbage is collected early from one look to the next after
// the last devices, and as usual after that or when the server stops.
func TestStormCollectsEarly(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var s storm
		go s.watch(ctx, func() int { return 0 })
		look := func(devices int64) {
			s.devices.Add(devices)
			time.Sleep(stormInterval)
			synctest.Wait()
		}
		look(stormDevices - 1)
		wantGCPercent(t, "before the storm", 100)
		look(1)
		wantGCPercent(t, "in the storm", stormGCPercent)
		look(stormDevices)
		wantGCPercent(t, "while it goes on", stormGCPercent)
		look(0)
		wantGCPercent(t, "after it", 100)
		look(stormDevices)
		wantGCPercent(t, "in the next storm", stormGCPercent)
		cancel()
		synctest.Wait()
		wantGCPercent(t, "when the server has stopped", 100)
	})
}

// TestCollectEarly: the percentage is put back when the last server's storm is over,
// and what is set already stays.
func TestCollectEarly(t *testing.T) {
	defer debug.SetGCPercent(gcPercent())
	for usual, want := range map[int]int{100: stormGCPercent, 50: stormGCPercent, stormGCPercent: stormGCPercent, 10: 10, -1: -1} {
		debug.SetGCPercent(usual)
		collectEarly()
		collectEarly()
		wantGCPercent(t, "with two storms", want)
		collectAsUsual()
		wantGCPercent(t, "with one storm", want)
		collectAsUsual()
		wantGCPercent(t, "with none", usual)
	}
}
