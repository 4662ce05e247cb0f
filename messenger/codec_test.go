package messenger

import (
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

// TestTheLargestAnswersAreTaken: what an honest relay may say is within the bounds.
func TestTheLargestAnswersAreTaken(t *testing.T) {
	envelope := func(payload int) *api.ServerFrame {
		return &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{
			Sequence: maxSequence, Kind: api.Kind_KIND_APPLICATION, Payload: make([]byte, payload),
			ListHash: make([]byte, 32), Group: make([]byte, 64),
		}}}
	}
	rejected := &api.ServerFrame{Frame: &api.ServerFrame_Rejected{Rejected: &api.Rejected{
		Id: make([]byte, 16), Reason: api.Reason_REASON_MAILBOX_FULL, RetryAfterMs: 1, Epoch: 1, Device: make([]byte, 16),
	}}}
	for name, answer := range map[string]proto.Message{
		"envelopes":   &api.ServerFrames{Frames: slices.Repeat([]*api.ServerFrame{envelope(32)}, api.MaxFrames)},
		"refusals":    &api.ServerFrames{Frames: slices.Repeat([]*api.ServerFrame{rejected}, api.MaxFrames)},
		"a handshake": &api.ServerFrames{Frames: []*api.ServerFrame{envelope(api.DefaultMaxHandshake)}},
		"devices":     &api.LookupResponse{DeviceRecords: slices.Repeat([][]byte{make([]byte, 4<<10)}, 1000)},
		"key packages": &api.ClaimKeyPackagesResponse{KeyPackages: slices.Repeat(
			[]*api.ClaimedKeyPackage{{Device: make([]byte, 16), KeyPackage: make([]byte, 4<<10), LastResort: true}}, 1000)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := proto.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			got := answer.ProtoReflect().New().Interface()
			if err := codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, got); err != nil || !proto.Equal(got, answer) {
				t.Errorf("%d bytes: %v", len(b), err)
			}
		})
	}
}
