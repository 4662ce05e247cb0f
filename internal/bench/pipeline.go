package bench

import (
	"fmt"
	"strings"

	"sealpost/api"
)

// pipeline submits what next returns for 0 to count-1, with at most window
// submits unanswered, and returns when all are accepted.
func pipeline(stream api.DeliveryStream, count, window int, next func(int) (*api.Submit, error)) error {
	free := make(chan struct{}, window)
	for range window {
		free <- struct{}{}
	}
	failed := make(chan error, 1)
	go func() { failed <- answers(stream, count, free) }()
	for i := range count {
		select {
		case <-free:
		case err := <-failed:
			return err
		}
		submit, err := next(i)
		if err != nil {
			return err
		}
		if err := stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: submit}}); err != nil {
			return <-failed // Recv has the reason
		}
	}
	return <-failed
}

// answers reads an Accepted for each submit.
func answers(stream api.DeliveryStream, count int, free chan<- struct{}) error {
	for range count {
		frame, err := nextFrame(stream)
		if err != nil {
			return err
		}
		if frame.GetAccepted() == nil {
			return fmt.Errorf("%w a message: %s", ErrRefused, reason(frame.GetRejected().GetReason()))
		}
		free <- struct{}{}
	}
	return nil
}

// reason is mailbox full for REASON_MAILBOX_FULL.
func reason(r api.Reason) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(r.String(), "REASON_"), "_", " "))
}

// nextFrame returns the next frame but Hello, which comes first, and Drained,
// which may come between any two.
func nextFrame(stream api.DeliveryStream) (*api.ServerFrame, error) {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return nil, told(err)
		}
		if frame.GetDrained() == nil && frame.GetHello() == nil {
			return frame, nil
		}
	}
}
