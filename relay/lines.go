package relay

import (
	"sync"

	"sealpost/identity"
)

// lines are the connected devices.
type lines struct {
	mu       sync.RWMutex
	lines    map[identity.DeviceID]*line
	draining bool
}

// add makes a line the line of its device and ends the one that was. A call that
// is over already, as after a slow authentication, takes nobody's place.
func (ls *lines) add(l *line) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.draining {
		return errShutdown
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if old := ls.lines[l.device]; old != nil {
		old.end(errReplaced)
	}
	ls.lines[l.device] = l
	return nil
}

// remove forgets a line unless another took its place.
func (ls *lines) remove(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.lines[l.device] == l {
		delete(ls.lines, l.device)
	}
}

// drain tells every line to finish and lets no new one in.
func (ls *lines) drain() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.draining = true
	for _, l := range ls.lines {
		l.finish(errShutdown)
	}
}

// offer hands a stored submission to those of its recipients who are connected.
func (ls *lines) offer(s *Submission) {
	if s.FirstSequence == 0 {
		return
	}
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for i, device := range s.Recipients {
		if l := ls.lines[device]; l != nil {
			l.offer(Envelope{Sequence: s.FirstSequence + uint64(i), Kind: s.Kind, Payload: s.Payload})
		}
	}
}

// lookAgain makes connected devices read their mailboxes.
func (ls *lines) lookAgain(devices []identity.DeviceID) {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, device := range devices {
		if l := ls.lines[device]; l != nil {
			l.lookAgain()
		}
	}
}
