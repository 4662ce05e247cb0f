package api_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

func unmarshal(c api.BoundedCodec, b []byte, into proto.Message) error {
	return c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, into)
}

// TestBoundedCodec: a message that says much with few bytes is refused at the
// price of those bytes.
func TestBoundedCodec(t *testing.T) {
	const size = 4 << 20
	codec := api.NewBoundedCodec(func(m proto.Message) int {
		if _, small := m.(*api.LookupResponse); small {
			return 10
		}
		return size
	}, 1000)
	empty := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), nil)
	for name, test := range map[string]struct {
		b    []byte
		into proto.Message
		want string
	}{
		"frames":            {bytes.Repeat(empty, size/2), new(api.ServerFrames), "too many fields"},
		"a frame too many":  {bytes.Repeat(empty, api.SmallBody), new(api.ServerFrames), "too many fields"},
		"too large":         {make([]byte, 11), new(api.LookupResponse), "11 bytes"},
		"a length too long": {append(make([]byte, 0, 2), 10, 1), new(api.ServerFrames), "decoding"},
		"cut, and large":    {append([]byte{10, 0xff, 0x7f}, make([]byte, api.SmallBody)...), new(api.ServerFrames), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := unmarshal(codec, test.b, test.into)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %s", err, test.want)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > size/4 {
				t.Errorf("refusing %d bytes cost %d more", len(test.b), cost)
			}
		})
	}
}

// FuzzBoundedCodec: what is decoded is what protobuf itself decodes.
func FuzzBoundedCodec(f *testing.F) {
	for _, frames := range []*api.ServerFrames{
		{},
		{Frames: []*api.ServerFrame{{}, {Frame: &api.ServerFrame_Drained{Drained: &api.Drained{}}}}},
		{Frames: []*api.ServerFrame{
			{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: make([]byte, api.SubmitIDSize)}}},
			{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{Sequence: 1, Payload: make([]byte, api.SmallBody)}}},
		}},
	} {
		b, err := proto.Marshal(frames)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	const maxBody, maxFields = 1 << 20, 100
	codec := api.NewBoundedCodec(func(proto.Message) int { return maxBody }, maxFields)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, want := new(api.ServerFrames), new(api.ServerFrames)
		err, wantErr := unmarshal(codec, b, got), proto.Unmarshal(b, want)
		if err == nil && (wantErr != nil || !proto.Equal(got, want)) {
			t.Errorf("decoded to %v, want %v, %v", got, want, wantErr)
		}
		if err != nil && wantErr == nil && len(b) <= api.SmallBody {
			t.Errorf("refused what is small and right: %v", err)
		}
	})
}
