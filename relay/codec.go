package relay

import (
	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

// codec decodes requests that are within the limits.
func (l Limits) codec() api.BoundedCodec {
	return api.NewBoundedCodec(l.maxBody, l.maxFields())
}

// maxBody is the size of the largest request that can be valid.
func (l Limits) maxBody(request proto.Message) int {
	switch request.(type) {
	case *api.ClientFrame:
		return l.maxFrame()
	case *api.PublishKeyPackagesRequest:
		return l.maxPublication()
	default:
		return api.SmallBody
	}
}
