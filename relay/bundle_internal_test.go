package relay

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sync/semaphore"

	"sealpost/api"
)

// A countingStream notes how many frames came together.
type countingStream struct {
	api.Delivery_ConnectServer
	together []int
	err      error
}

func (s *countingStream) Send(frames *api.ServerFrames) error {
	s.together = append(s.together, len(frames.GetFrames()))
	return s.err
}

// TestAnswersTogether: no more go out together than a client takes, and what they
// cost is free once they are out.
func TestAnswersTogether(t *testing.T) {
	const n, cost = 2*api.MaxFrames + 10, 3
	stream := new(countingStream)
	l := &line{server: &Server{metrics: NewMetrics()}, stream: stream, uplink: &uplink{unanswered: semaphore.NewWeighted(n * cost)}}
	if !l.uplink.unanswered.TryAcquire(n * cost) {
		t.Fatal("no room")
	}
	out := bundle{line: l}
	for range n {
		if err := out.answer(answered{&api.ServerFrame{}, cost}); err != nil {
			t.Fatal(err)
		}
	}
	if l.uplink.unanswered.TryAcquire(2*api.MaxFrames*cost + 1) {
		t.Error("what is not sent is free")
	}
	if err := out.send(); err != nil {
		t.Fatal(err)
	}
	if want := []int{api.MaxFrames, api.MaxFrames, 10}; !slices.Equal(stream.together, want) {
		t.Errorf("frames came by %v, want %v", stream.together, want)
	}
	if !l.uplink.unanswered.TryAcquire(n * cost) {
		t.Error("not all is free that is sent")
	}
	stream.err = errors.New("the line broke")
	if err := errors.Join(out.answer(answered{&api.ServerFrame{}, cost}), out.send()); !errors.Is(err, stream.err) {
		t.Errorf("a broken line: %v", err)
	}
}
