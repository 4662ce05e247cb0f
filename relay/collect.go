package relay

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// It is a storm when stormDevices connected, and one for every stormPart
	// connections that are open. It is over when in stormInterval no more did.
	stormInterval = time.Second
	stormDevices  = 64
	stormPart     = 32
	// stormGCPercent takes the place of Go's usual 100 then.
	stormGCPercent = 25
	// stormRest is by how many times what giving memory back took the next look waits.
	stormRest = 20
)

// A storm collects garbage early while devices connect in great numbers. What leads to
// a line leaves twice as much garbage as an idle one keeps. Were it collected as late as
// usual, what is kept would lie scattered in it, and the pages would stay for as long
// as the lines do. Only devices that are registered and within their limits count.
type storm struct {
	devices atomic.Int64 // that connected, and made no storm yet
	raging  bool         // belongs to watch
}

// watch returns when ctx ends.
func (s *storm) watch(ctx context.Context, open func() int) {
	timer := time.NewTimer(stormInterval)
	defer timer.Stop()
	defer s.end()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		s.look(open())
		timer.Reset(max(stormInterval, stormRest*time.Since(began)))
	}
}

func (s *storm) look(open int) {
	switch more := s.more(open); {
	case more && !s.raging:
		s.raging = true
		collectEarly()
	case !more && s.raging:
		s.end()
		debug.FreeOSMemory()
	}
}

// more tells whether enough devices connected, and takes them off if so.
func (s *storm) more(open int) bool {
	devices := s.devices.Load()
	if devices < max(stormDevices, int64(open/stormPart)) {
		return false
	}
	s.devices.Add(-devices)
	return true
}

func (s *storm) end() {
	if s.raging {
		s.raging = false
		collectAsUsual()
	}
}

// early are the servers of this process in a storm, and the percentage without.
var early struct {
	sync.Mutex
	servers, usual int
}

// collectEarly changes nothing where garbage is collected as early already.
func collectEarly() {
	early.Lock()
	defer early.Unlock()
	if early.servers == 0 {
		if early.usual = debug.SetGCPercent(stormGCPercent); early.usual <= stormGCPercent {
			debug.SetGCPercent(early.usual)
		}
	}
	early.servers++
}

func collectAsUsual() {
	early.Lock()
	defer early.Unlock()
	if early.servers--; early.servers == 0 {
		debug.SetGCPercent(early.usual)
	}
}
