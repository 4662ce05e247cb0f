package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"slices"
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
		if submission.Group != nil {
			s.checkGroup(submission)
			continue
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

func (s fuzzStore) checkGroup(submission *Submission) {
	limits := DefaultLimits()
	group, commit := submission.Group, submission.Commit
	if len(group.ID) < minGroupID || len(group.ID) > maxGroupID || group.Epoch > MaxEpoch || len(submission.Recipients) > 0 {
		s.t.Errorf("the group %q in epoch %d for %d recipients", group.ID, group.Epoch, len(submission.Recipients))
	}
	if commit == nil {
		return
	}
	ascending := func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) }
	if submission.Kind != api.Kind_KIND_HANDSHAKE || len(commit.Members) > limits.Members ||
		!slices.IsSortedFunc(commit.Members, ascending) || !slices.Contains(commit.Members, submission.Sender) {
		s.t.Errorf("a commit of kind %v for %d members", submission.Kind, len(commit.Members))
	}
	for _, device := range commit.Welcomed {
		if !slices.Contains(commit.Members, device) || device == submission.Sender {
			s.t.Errorf("%v is welcomed", device)
		}
	}
	if len(slices.Compact(slices.Clone(commit.Members))) != len(commit.Members) || !slices.IsSortedFunc(commit.Welcomed, ascending) ||
		len(slices.Compact(slices.Clone(commit.Welcomed))) != len(commit.Welcomed) {
		s.t.Error("a device stands in a list twice")
	}
}

func (s fuzzStore) Read(context.Context, identity.DeviceID, uint64, Page) ([]Envelope, bool, error) {
	return nil, false, nil
}

func (s fuzzStore) Expire(context.Context, Due) (Expired, error) { return Expired{}, nil }

func (s fuzzStore) Status(context.Context, identity.DeviceID, time.Time) (DeviceStatus, error) {
	return DeviceStatus{Username: "fuzzer"}, nil
}

func (s fuzzStore) AddNonces(context.Context, []Nonce) error { return nil }

func (s fuzzStore) Nonces(context.Context, time.Time) ([]Nonce, error) { return nil, nil }

func (s fuzzStore) PublishKeyPackages(_ context.Context, p Publication) (int, error) {
	if len(p.KeyPackages) > p.MaxStock || len(p.LastResort) > maxKeyPackage {
		s.t.Errorf("%d key packages, a last resort of %d bytes", len(p.KeyPackages), len(p.LastResort))
	}
	for _, b := range p.KeyPackages {
		if len(b) == 0 || len(b) > maxKeyPackage {
			s.t.Errorf("a key package of %d bytes", len(b))
		}
	}
	return len(p.KeyPackages), nil
}

func (s fuzzStore) ClaimKeyPackages(_ context.Context, username identity.Username, _ time.Time) ([]KeyPackage, error) {
	if parsed, err := identity.ParseUsername(string(username)); err != nil || parsed != username {
		s.t.Errorf("a claim of the account %q", username)
	}
	return nil, ErrUnknownAccount
}

// fuzzStream is the server's side of a stream that nobody reads.
type fuzzStream struct {
	api.Delivery_ConnectServer
	ctx context.Context
}

func (s fuzzStream) Context() context.Context     { return s.ctx }
func (s fuzzStream) Send(*api.ServerFrames) error { return nil }

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
		{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: make([]byte, 16), Kind: 1, Payload: []byte("x"), Group: &api.GroupEpoch{Id: make([]byte, 16), Epoch: 7},
		}}},
		{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: make([]byte, 16), Kind: 2, Payload: []byte("x"), Group: &api.GroupEpoch{Id: make([]byte, 64), Epoch: MaxEpoch},
			Commit: &api.Commit{
				Members: [][]byte{{15: 1}, {0: 1, 15: 0}}, Welcome: []byte("w"), Welcomed: [][]byte{{15: 1}},
			},
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
		if err := l.greet(); err != nil {
			t.Fatal(err)
		}
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
