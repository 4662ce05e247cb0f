package api

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A BoundedCodec decodes messages that are within bounds. What is over them is
// refused before anything is allocated for it: two bytes of a message can say
// "one more, empty", and would cost 25 times as much.
type BoundedCodec struct {
	encoding.CodecV2
	maxBody   func(proto.Message) int
	maxFields int
}

// SmallBody is the size in bytes up to which a message cannot cost much, whatever
// it says. What is no larger is not looked through.
const SmallBody = 8 << 10

// NewBoundedCodec returns a codec for messages of at most maxBody bytes, by their
// type, and maxFields fields with those of the messages in them.
func NewBoundedCodec(maxBody func(proto.Message) int, maxFields int) BoundedCodec {
	return BoundedCodec{encoding.GetCodecV2(grpcproto.Name), maxBody, maxFields}
}

// Unmarshal implements encoding.CodecV2.
func (c BoundedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	if n := data.Len(); n > c.maxBody(message) {
		return fmt.Errorf("a message of %d bytes", n)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	b := buffer.ReadOnlyData()
	if len(b) > SmallBody {
		fields := c.maxFields
		if err := countFields(message.ProtoReflect().Descriptor(), b, &fields); err != nil {
			return err
		}
	}
	if err := proto.Unmarshal(b, message); err != nil {
		return fmt.Errorf("decoding a message: %w", err)
	}
	return nil
}

// countFields takes the fields of a message and of those in it off a number, and
// returns an error when there are more.
func countFields(message protoreflect.MessageDescriptor, b []byte, left *int) error {
	for len(b) > 0 {
		if *left--; *left < 0 {
			return fmt.Errorf("a message of too many fields")
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
