package relay

import "sealpost/api"

// bundleBytes is how much payload goes out together, but for a single larger one: much
// beside what sending costs each time. What is around the payloads is at most four times
// that, in frames that hold next to none.
const bundleBytes = 16 << 10

// A bundle is frames on their way out together.
type bundle struct {
	line      *line
	frames    []*api.ServerFrame
	bytes     int   // of payload
	cost      int64 // of the submissions that are answered
	envelopes int
}

func (b *bundle) answer(a answered) error {
	if err := b.add(a.frame, 0); err != nil {
		return err
	}
	b.cost += a.cost
	return nil
}

func (b *bundle) envelope(e Envelope) error {
	frame := &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{
		Sequence: e.Sequence, Kind: e.Kind, Payload: e.Payload, Group: e.Group, ListHash: e.ListHash,
	}}}
	if err := b.add(frame, len(e.Payload)); err != nil {
		return err
	}
	b.envelopes++
	b.line.sent = e.Sequence
	return nil
}

// add makes room first, where there is none.
func (b *bundle) add(frame *api.ServerFrame, payload int) error {
	if len(b.frames) == api.MaxFrames || b.bytes+payload > bundleBytes {
		if err := b.send(); err != nil {
			return err
		}
	}
	b.frames = append(b.frames, frame)
	b.bytes += payload
	return nil
}

func (b *bundle) send() error {
	if len(b.frames) == 0 {
		return nil
	}
	if b.envelopes > 0 {
		b.line.mu.Lock()
		b.line.given = max(b.line.given, b.line.sent)
		b.line.mu.Unlock()
	}
	if err := b.line.stream.Send(&api.ServerFrames{Frames: b.frames}); err != nil {
		return err
	}
	if b.cost > 0 {
		b.line.uplink.unanswered.Release(b.cost)
	}
	b.line.server.metrics.envelopes.Add(float64(b.envelopes))
	clear(b.frames)
	*b = bundle{line: b.line, frames: b.frames[:0]}
	return nil
}
