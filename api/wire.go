package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Metadata keys of a signed call.
const (
	MetadataDevice    = "sealpost-device"
	MetadataTime      = "sealpost-time"
	MetadataNonce     = "sealpost-nonce-bin"
	MetadataSignature = "sealpost-signature-bin"
)

// ErrorDomain is the domain in the google.rpc.ErrorInfo of the relay's errors.
const ErrorDomain = "sealpost.v1"

// SubmitIDSize is the size of a submit id in bytes.
const SubmitIDSize = 16

// MaxFrames is how many frames a relay sends together at most.
const MaxFrames = 512

// Default limits on payloads, in bytes. A relay may be set to others.
const (
	DefaultMaxMessage   = 64 << 10
	DefaultMaxHandshake = 4 << 20
)

// A DeliveryStream is a device's end of Delivery.Connect.
type DeliveryStream = grpc.BidiStreamingClient[ClientFrame, ServerFrame]

// Connect calls Delivery.Connect. The relay's frames come one by one from Recv, also
// where some came together. What has none is an error with [codes.Internal].
func Connect(ctx context.Context, conn grpc.ClientConnInterface) (DeliveryStream, error) {
	stream, err := NewDeliveryClient(conn).Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &frameStream{BidiStreamingClient: stream}, nil
}

// A frameStream takes apart what comes together.
type frameStream struct {
	grpc.BidiStreamingClient[ClientFrame, ServerFrames]
	frames []*ServerFrame // came and were not handed out
}

// Recv implements grpc.BidiStreamingClient.
func (s *frameStream) Recv() (*ServerFrame, error) {
	if len(s.frames) == 0 {
		together, err := s.BidiStreamingClient.Recv()
		if err != nil {
			return nil, err
		}
		if s.frames = together.GetFrames(); len(s.frames) == 0 {
			return nil, status.Error(codes.Internal, "the relay says nothing that this version knows")
		}
	}
	next := s.frames[0]
	s.frames[0], s.frames = nil, s.frames[1:]
	return next, nil
}
