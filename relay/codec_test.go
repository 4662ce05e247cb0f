package relay

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

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestBombsAreNotDecoded: a request that says much with few bytes is refused at
// the price of those bytes.
func TestBombsAreNotDecoded(t *testing.T) {
	const size = 4 << 20
	empties := func(number protowire.Number) []byte {
		return bytes.Repeat([]byte{byte(number<<3) | 2, 0}, size/2)
	}
	submit := func(body []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body)
	}
	for name, bomb := range map[string][]byte{
		"recipients":    submit(empties(2)),
		"frames in one": empties(1),
		"unknown":       empties(15),
		"welcomed":      submit(protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), empties(3))),
	} {
		t.Run(name, func(t *testing.T) {
			codec := DefaultLimits().codec()
			cost := allocated(func() {
				if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(bomb)}, new(api.ClientFrame)); err == nil || !strings.Contains(err.Error(), "too many fields") {
					t.Errorf("got %v", err)
				}
			})
			if cost > size/4 {
				t.Errorf("refusing %d bytes cost %d more", size, cost)
			}
		})
	}
}

// TestTheLargestRequestsAreDecoded: what is just within the limits passes.
func TestTheLargestRequestsAreDecoded(t *testing.T) {
	limits := DefaultLimits()
	ids := func(n int) (ids [][]byte) {
		for range n {
			ids = append(ids, make([]byte, 16))
		}
		return ids
	}
	packages := make([][]byte, limits.KeyPackages)
	for i := range packages {
		packages[i] = make([]byte, maxKeyPackage)
	}
	for name, request := range map[string]proto.Message{
		"submit": &api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: make([]byte, 16), Recipients: ids(limits.Recipients), Payload: make([]byte, limits.MaxHandshake),
		}}},
		"commit": &api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: make([]byte, 16), Payload: make([]byte, limits.MaxHandshake), Group: &api.GroupEpoch{Id: make([]byte, maxGroupID), Epoch: 1},
			Commit: &api.Commit{Members: ids(limits.Members), Welcomed: ids(limits.Members)},
		}}},
		"key packages": &api.PublishKeyPackagesRequest{KeyPackages: packages, LastResort: make([]byte, maxKeyPackage)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := proto.Marshal(request)
			if err != nil {
				t.Fatal(err)
			}
			decoded := request.ProtoReflect().New().Interface()
			if err := limits.codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, decoded); err != nil || !proto.Equal(decoded, request) {
				t.Errorf("decoding: %v", err)
			}
		})
	}
}
