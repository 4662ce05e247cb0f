package messenger

import (
	"context"
	"sync"
)

// eventBuffer is how many events a subscriber may be behind.
const eventBuffer = 1024

// subscribers hands events to whoever listens, and waits for nobody.
type subscribers struct {
	mu     sync.Mutex
	closed bool
	all    map[*subscriber]struct{}
}

type subscriber struct {
	events chan Event // one place more than eventBuffer, for Lagged
	lagged bool
	stop   func() bool
}

func (s *subscribers) add(ctx context.Context) <-chan Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := &subscriber{events: make(chan Event, eventBuffer+1)}
	if s.closed || ctx.Err() != nil {
		close(sub.events)
		return sub.events
	}
	if s.all == nil {
		s.all = make(map[*subscriber]struct{})
	}
	s.all[sub] = struct{}{}
	sub.stop = context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(sub)
	})
	return sub.events
}

func (s *subscribers) drop(sub *subscriber) {
	if _, listens := s.all[sub]; listens {
		delete(s.all, sub)
		close(sub.events)
	}
}

func (s *subscribers) publish(events ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		for sub := range s.all {
			sub.put(e)
		}
	}
}

// put leaves events out from when the buffer is full until Lagged, the last in
// it, was taken: whoever takes it reads the rows that the events told of.
func (sub *subscriber) put(e Event) {
	if sub.lagged && len(sub.events) > 0 {
		return
	}
	if sub.lagged = len(sub.events) >= eventBuffer; sub.lagged {
		e = Lagged{}
	}
	sub.events <- e
}

func (s *subscribers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for sub := range s.all {
		sub.stop()
		s.drop(sub)
	}
}
