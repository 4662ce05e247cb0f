package relay

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"sealpost/api"
	"sealpost/identity"
)

// authenticated is the prefix of the methods that need a signature; health and
// reflection do not.
const authenticated = "/sealpost.v1."

// signedRequest is a request as its metadata has it; nothing of it is verified.
type signedRequest struct {
	identity.Request
	signature []byte
}

// parseRequest reads the metadata of a call. Each entry must be there once, in
// its canonical form.
func parseRequest(ctx context.Context, server identity.ServerID, method string) (signedRequest, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var entries [4]string
	for i, key := range []string{api.MetadataDevice, api.MetadataTime, api.MetadataNonce, api.MetadataSignature} {
		values := md.Get(key)
		if len(values) != 1 {
			return signedRequest{}, fmt.Errorf("%w: %d entries %s", errUnauthenticated, len(values), key)
		}
		entries[i] = values[0]
	}
	device, err := identity.ParseDeviceID(entries[0])
	if err != nil {
		return signedRequest{}, fmt.Errorf("%w: the device id does not parse", errUnauthenticated)
	}
	milliseconds, err := strconv.ParseInt(entries[1], 10, 64)
	if err != nil || strconv.FormatInt(milliseconds, 10) != entries[1] {
		return signedRequest{}, fmt.Errorf("%w: the time does not parse", errUnauthenticated)
	}
	if len(entries[2]) != identity.NonceSize || len(entries[3]) != ed25519.SignatureSize {
		return signedRequest{}, fmt.Errorf("%w: a nonce or signature of the wrong size", errUnauthenticated)
	}
	return signedRequest{
		Request: identity.Request{
			Server: server, Method: method, Device: device,
			Time: time.UnixMilli(milliseconds), Nonce: [identity.NonceSize]byte([]byte(entries[2])),
		},
		signature: []byte(entries[3]),
	}, nil
}

// authenticate checks a request against a device's key. The cheap refusals come
// first, and only what is signed reaches the memory of nonces.
func (s *Server) authenticate(ctx context.Context, method string, key func(identity.DeviceID) (identity.DeviceKey, error)) (identity.DeviceID, error) {
	r, err := parseRequest(ctx, s.id, method)
	if err != nil {
		return identity.DeviceID{}, err
	}
	now := s.clock()
	if r.Time.Before(now.Add(-s.limits.ClockSkew)) || r.Time.After(now.Add(s.limits.ClockSkew)) {
		return identity.DeviceID{}, errClockSkew
	}
	deviceKey, err := key(r.Device)
	if err != nil {
		return identity.DeviceID{}, err
	}
	if err := r.Verify(deviceKey, r.signature); err != nil {
		return identity.DeviceID{}, fmt.Errorf("%w: %w", errUnauthenticated, err)
	}
	return r.Device, s.nonces.use(now, r.Request)
}

type deviceContextKey struct{}

// callingDevice returns the device that made an authenticated call.
func callingDevice(ctx context.Context) identity.DeviceID {
	return ctx.Value(deviceContextKey{}).(identity.DeviceID)
}

func (s *Server) registeredKey(ctx context.Context) func(identity.DeviceID) (identity.DeviceKey, error) {
	return func(id identity.DeviceID) (identity.DeviceKey, error) { return s.store.Device(ctx, id) }
}

// admit stands before every call, when nothing but its header is read: whoever
// has no right to a single call costs no more than that. Register brings its key
// in its body and authenticates itself. A stream is authenticated by its handler,
// which reads nothing before: here the whole connection would wait for it.
func (s *Server) admit(ctx context.Context, call *tap.Info) (context.Context, error) {
	switch {
	case !strings.HasPrefix(call.FullMethodName, authenticated) || call.FullMethodName == api.Delivery_Connect_FullMethodName:
		return ctx, nil
	case call.FullMethodName == api.Directory_Register_FullMethodName:
		return ctx, s.toStatus(ctx, s.rates.registrations.take(s.clock(), peerAddress(ctx)))
	default:
		ctx, err := s.authenticateCall(ctx, call.FullMethodName)
		return ctx, s.toStatus(ctx, err)
	}
}

// authenticateCall returns a context that knows the calling device.
func (s *Server) authenticateCall(ctx context.Context, method string) (context.Context, error) {
	device, err := s.authenticate(ctx, method, s.registeredKey(ctx))
	noteSignature(ctx, err == nil)
	if err == nil {
		err = s.rates.calls.take(s.clock(), device)
	}
	return context.WithValue(ctx, deviceContextKey{}, device), err
}

// answerUnary turns the error of a single call into a status.
func (s *Server) answerUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, request)
	if strings.HasPrefix(info.FullMethod, authenticated) {
		err = s.toStatus(ctx, err)
	}
	return response, err
}

// authenticateStream stands before every handler of a stream, and turns its error
// into a status.
func (s *Server) authenticateStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if !strings.HasPrefix(info.FullMethod, authenticated) {
		return handle(server, stream)
	}
	var ctx context.Context
	var err error
	aside(func() { ctx, err = s.authenticateCall(stream.Context(), info.FullMethod) })
	if err == nil {
		err = handle(server, &deviceStream{stream, ctx})
	}
	return s.toStatus(ctx, err)
}

// A deviceStream is a stream whose context knows the calling device.
type deviceStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *deviceStream) Context() context.Context { return s.ctx }

// keyOf accepts only the device of a record.
func keyOf(c identity.Certificate) func(identity.DeviceID) (identity.DeviceKey, error) {
	return func(id identity.DeviceID) (identity.DeviceKey, error) {
		if id != c.DeviceID {
			return identity.DeviceKey{}, fmt.Errorf("%w: the record is of another device", errUnauthenticated)
		}
		return c.DeviceKey, nil
	}
}

// isLoopback tells whether an address is reached from this machine only.
func isLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
