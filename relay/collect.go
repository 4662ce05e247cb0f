package relay

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// In a storm, at least stormConnections devices connect in each stormInterval, and
	// at least one for every stormPart that are connected.
	stormInterval    = time.Second
	stormConnections = 64
	stormPart        = 32
	// stormGCPercent takes the place of Go's usual 100 then.
	stormGCPercent = 25
)

// collectStorms collects garbage early while devices connect in great numbers, until
// ctx ends. The handshake of one leaves twice as much garbage as an idle connection
// keeps. Were it collected as late as usual, what is kept would lie scattered in it, and
// the pages would stay for as long as the connections do.
func (s *Server) collectStorms(ctx context.Context) {
	ticker := time.NewTicker(stormInterval)
	defer ticker.Stop()
	usual := 0 // the percentage outside of a storm
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			calm(usual)
			return
		}
		switch storm := s.conns.storm(); {
		case storm && usual == 0:
			usual = collectEarly()
		case !storm && usual != 0:
			calm(usual)
			usual = 0
			debug.FreeOSMemory()
		}
	}
}

// collectEarly returns the percentage that was set before, or 0 where garbage is
// collected as early already: by the operator's wish, or by another server in this
// process.
func collectEarly() (usual int) {
	usual = debug.SetGCPercent(stormGCPercent)
	if usual > stormGCPercent {
		return usual
	}
	debug.SetGCPercent(usual)
	return 0
}

func calm(usual int) {
	if usual != 0 {
		debug.SetGCPercent(usual)
	}
}

// storm tells whether many devices connected since it was last asked.
func (cs *connections) storm() bool {
	return cs.fresh.Swap(0) >= max(stormConnections, int64(cs.len()/stormPart))
}
