package relay

import (
	"runtime/debug"
	"testing"
)

// TestStorm: what is a storm depends on how many are connected, and counts once.
func TestStorm(t *testing.T) {
	for _, c := range []struct {
		open, fresh int
		want        bool
	}{
		{0, 0, false},
		{stormConnections, stormConnections - 1, false},
		{stormConnections, stormConnections, true},
		{stormPart * 100, 99, false},
		{stormPart * 100, 100, true},
	} {
		cs := connections{open: make(map[*connection]struct{})}
		for range c.open {
			cs.open[new(connection)] = struct{}{}
		}
		for range c.fresh {
			(&connection{all: &cs}).authenticated(true)
		}
		if got := cs.storm(); got != c.want || cs.storm() {
			t.Errorf("%d new of %d connections are a storm: %v", c.fresh, c.open, got)
		}
	}
}

// TestStrangersMakeNoStorm: who proves nothing causes no work for the collector.
func TestStrangersMakeNoStorm(t *testing.T) {
	cs := connections{open: make(map[*connection]struct{}), metrics: NewMetrics()}
	for range stormConnections {
		stranger := &connection{all: &cs}
		stranger.authenticated(false)
	}
	known := &connection{all: &cs}
	for range stormConnections {
		known.authenticated(true)
	}
	if cs.storm() {
		t.Error("one device and many strangers make a storm")
	}
}

// TestCollectEarly: the percentage is put back, whoever else changed it meanwhile.
func TestCollectEarly(t *testing.T) {
	gcPercent := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	defer debug.SetGCPercent(gcPercent())
	for _, usual := range []int{100, 50, stormGCPercent, 10, -1} {
		debug.SetGCPercent(usual)
		first := collectEarly()
		second := collectEarly() // of another server
		if got := gcPercent(); usual >= 0 && got > stormGCPercent {
			t.Errorf("garbage is collected at %d", got)
		}
		calm(first)
		calm(second)
		if got := gcPercent(); got != usual {
			t.Errorf("afterwards garbage is collected at %d, want %d", got, usual)
		}
	}
}
