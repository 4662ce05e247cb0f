package relay

import (
	"sync"

	"sealpost/api"
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

func (ls *lines) isDraining() bool {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.draining
}

// offer hands a stored submission to those of its recipients who are connected.
func (ls *lines) offer(s *Submission) {
	if s.Err != nil {
		return
	}
	e := Envelope{Sequence: s.FirstSequence, Kind: s.Kind, Payload: s.Payload, ListHash: s.ListHash}
	if s.Group != nil {
		e.Group = []byte(s.Group.ID)
	}
	ls.offerTo(s.Recipients, e)
	if s.Commit != nil {
		e.Sequence, e.Kind, e.Payload, e.ListHash = s.Commit.FirstSequence, api.Kind_KIND_WELCOME, s.Commit.Welcome, s.Commit.ListHash
		ls.offerTo(s.Commit.Welcomed, e)
	}
}

// offerTo hands an envelope to devices, numbered on from the first one's.
func (ls *lines) offerTo(devices []identity.DeviceID, e Envelope) {
	if e.Sequence == 0 {
		return // a repeat
	}
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	for _, device := range devices {
		if l := ls.lines[device]; l != nil {
			l.offer(e)
		}
		e.Sequence++
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
