package relay

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sealpost/api"
)

// A boundedCodec decodes requests that are within the limits. What is over them
// is refused before anything is allocated for it: two bytes of a request can say
// "one more, empty", and would cost 25 times as much.
type boundedCodec struct {
	encoding.CodecV2
	limits Limits
}

func newBoundedCodec(limits Limits) boundedCodec {
	return boundedCodec{encoding.GetCodecV2(grpcproto.Name), limits}
}

// smallBody is the size in bytes up to which a request cannot cost much, whatever
// it says. What is no larger is not looked through.
const smallBody = 8 << 10

// maxBody is the size of the largest request that can be valid.
func (c boundedCodec) maxBody(request proto.Message) int {
	switch request.(type) {
	case *api.ClientFrame:
		return c.limits.maxFrame()
	case *api.PublishKeyPackagesRequest:
		return c.limits.maxPublication()
	default:
		return smallBody
	}
}

// Unmarshal implements encoding.CodecV2.
func (c boundedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	request, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	if n := data.Len(); n > c.maxBody(request) {
		return fmt.Errorf("a request of %d bytes", n)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	b := buffer.ReadOnlyData()
	if len(b) > smallBody {
		fields := c.limits.maxFields()
		if err := countFields(request.ProtoReflect().Descriptor(), b, &fields); err != nil {
			return err
		}
	}
	if err := proto.Unmarshal(b, request); err != nil {
		return fmt.Errorf("decoding a request: %w", err)
	}
	return nil
}

// countFields takes the fields of a message and of those in it off a number, and
// returns an error when there are more.
func countFields(message protoreflect.MessageDescriptor, b []byte, left *int) error {
	for len(b) > 0 {
		if *left--; *left < 0 {
			return fmt.Errorf("a request of too many fields")
		}
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		field := message.Fields().ByNumber(number)
		if field != nil && field.Message() != nil && kind == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(b)
			if err := countFields(field.Message(), inner, left); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
