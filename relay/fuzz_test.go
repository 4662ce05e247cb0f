package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
	"sealpost/identity"
)

// fuzzStore accepts what is within the contract and fails the test on anything
// else: the handlers must let nothing malformed through.
type fuzzStore struct{ t *testing.T }

func (s fuzzStore) Register(context.Context, Registration) error { return nil }

func (s fuzzStore) Device(context.Context, identity.DeviceID) (identity.DeviceKey, error) {
	return identity.DeviceKey{}, ErrUnknownDevice
}

func (s fuzzStore) Records(context.Context, identity.Username) ([][]byte, error) {
	return nil, ErrUnknownAccount
}

func (s fuzzStore) Write(_ context.Context, batch *Batch) error {
	limits := DefaultLimits()
	for _, ack := range batch.Acks {
		if ack.Sequence > MaxSequence {
			s.t.Errorf("an acknowledgement of %d", ack.Sequence)
		}
	}
	for _, submission := range batch.Submissions {
		n := len(submission.Payload)
		if n == 0 || n > limits.maxPayload(submission.Kind) {
			s.t.Errorf("a payload of %d bytes of kind %d", n, submission.Kind)
		}
		seen := make(map[identity.DeviceID]bool)
		for _, recipient := range submission.Recipients {
			seen[recipient] = true
		}
		if len(seen) == 0 || len(seen) != len(submission.Recipients) || len(seen) > limits.Recipients {
			s.t.Errorf("%d recipients, %d of them different", len(submission.Recipients), len(seen))
		}
	}
	return nil
}

func (s fuzzStore) Read(context.Context, identity.DeviceID, uint64, Page) ([]Envelope, bool, error) {
	return nil, false, nil
}

func (s fuzzStore) Expire(context.Context, time.Time) (int, error) { return 0, nil }

// fuzzStream is the server's side of a stream that nobody reads.
type fuzzStream struct {
	api.Delivery_ConnectServer
	ctx context.Context
}

func (s fuzzStream) Context() context.Context    { return s.ctx }
func (s fuzzStream) Send(*api.ServerFrame) error { return nil }

func fuzzServer(t *testing.T) *Server {
	t.Helper()
	certificate, err := createCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, certificate)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Store: fuzzStore{t}, Certificate: pair, Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// FuzzFrame gives the handler of a line any frame. It must refuse it, answer it,
// or pass on what the store may get; every submit with an id of the right size is
// answered.
func FuzzFrame(f *testing.F) {
	for _, frame := range []*api.ClientFrame{
		{},
		{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: 1 << 63}}},
		{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{Id: make([]byte, 16)}}},
		{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: make([]byte, 16), Recipients: [][]byte{make([]byte, 16)}, Kind: 1, Payload: []byte("x"),
		}}},
	} {
		b, err := proto.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame := new(api.ClientFrame)
		if proto.Unmarshal(b, frame) != nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLine(fuzzServer(t), identity.DeviceID{1}, fuzzStream{ctx: ctx})
		err := l.handle(frame)
		if err != nil && !errors.Is(err, errMalformed) {
			t.Fatal(err)
		}
		l.finish(nil) // ends when everything is answered
		<-l.ended
	})
}

// FuzzRequest gives the authentication any metadata; nothing but a registered
// device with its signature may pass.
func FuzzRequest(f *testing.F) {
	device := identity.NewDeviceID().String()
	f.Add(device, "1700000000000", "0123456789abcdef", string(make([]byte, 64)))
	f.Add(device, "-1", "", "")
	f.Fuzz(func(t *testing.T, device, at, nonce, signature string) {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(
			api.MetadataDevice, device, api.MetadataTime, at, api.MetadataNonce, nonce, api.MetadataSignature, signature))
		s := fuzzServer(t)
		r, err := parseRequest(ctx, s.id, "/m")
		if err != nil && !errors.Is(err, errUnauthenticated) {
			t.Fatal(err)
		}
		if err == nil && r.Device.String() != device {
			t.Fatalf("device %q is read as %v", device, r.Device)
		}
		if _, err := s.authenticate(ctx, "/m", s.registeredKey(ctx)); err == nil {
			t.Fatal("a stranger passed")
		}
	})
}
