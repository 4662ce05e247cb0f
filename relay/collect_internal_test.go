package relay

import "testing"

// TestCollect: memory is given back once enough connections came, and not again
// until as many more did.
func TestCollect(t *testing.T) {
	for _, c := range []struct {
		open, fresh int
		want        bool
	}{
		{0, 0, false},
		{collectAt, collectAt - 1, false},
		{collectAt, collectAt, true},
		{collectPart * 100, 99, false},
		{collectPart * 100, 100, true},
	} {
		cs := connections{open: make(map[*connection]struct{})}
		for range c.open {
			cs.open[new(connection)] = struct{}{}
		}
		cs.fresh.Store(int64(c.fresh))
		if got := cs.collect(); got != c.want {
			t.Errorf("%d new of %d connections are collected for: %v", c.fresh, c.open, got)
		}
		if c.want && (cs.fresh.Load() != 0 || cs.collect()) {
			t.Errorf("%d new of %d connections are collected for twice", c.fresh, c.open)
		}
	}
}
