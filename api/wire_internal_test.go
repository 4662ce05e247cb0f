package api

import (
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A script is what a relay sends.
type script struct {
	grpc.BidiStreamingClient[ClientFrame, ServerFrames]
	messages []*ServerFrames
}

func (s *script) Recv() (*ServerFrames, error) {
	if len(s.messages) == 0 {
		return nil, io.EOF
	}
	next := s.messages[0]
	s.messages = s.messages[1:]
	return next, nil
}

func TestFramesComeOneByOne(t *testing.T) {
	frame := func(id string) *ServerFrame {
		return &ServerFrame{Frame: &ServerFrame_Accepted{Accepted: &Accepted{Id: []byte(id)}}}
	}
	stream := frameStream{BidiStreamingClient: &script{messages: []*ServerFrames{
		{Frames: []*ServerFrame{frame("a"), frame("b")}}, {Frames: []*ServerFrame{frame("c")}}, {},
	}}}
	for _, want := range []string{"a", "b", "c"} {
		if got, err := stream.Recv(); err != nil || string(got.GetAccepted().GetId()) != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	if got, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("no frames are %v, %v", got, err)
	}
	if got, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v, %v", got, err)
	}
}
