package relay

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// collectInterval bounds how often garbage is collected for connections; and the
	// work that strangers can cause so, collectRest, by how many times what the last
	// collection took the next one waits.
	collectInterval = time.Second
	collectRest     = 20
	// collectAt is how many make it worth while, at least, and collectPart which
	// part of those that are open, as to collect costs in proportion to them.
	collectAt   = 64
	collectPart = 32
)

// collectForever gives memory back while connections come, until ctx ends. The
// handshake of one leaves twice as much garbage as an idle connection keeps. Were it
// collected as late as usual, what is kept would lie scattered in it, and the pages
// would stay for as long as the connections do.
func (s *Server) collectForever(ctx context.Context) {
	timer := time.NewTimer(collectInterval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		s.conns.collect()
		timer.Reset(max(collectInterval, collectRest*time.Since(began)))
	}
}

// collect tells whether there was enough to collect.
func (cs *connections) collect() bool {
	fresh := cs.fresh.Load()
	if fresh < max(collectAt, int64(cs.len()/collectPart)) {
		return false
	}
	debug.FreeOSMemory()
	cs.fresh.Add(-fresh)
	return true
}
