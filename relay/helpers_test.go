package relay_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// A testClock stands still until it is moved.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *testClock { return &testClock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A testRelay is a relay on a loopback address over a real store.
type testRelay struct {
	*relay.Server
	t       testing.TB
	dir     string
	address string
	clock   *testClock
	store   *sqlite.Store
	stop    func()
}

// startRelay starts a relay on a directory; change may edit its configuration.
func startRelay(t testing.TB, dir string, change func(*relay.Config)) *testRelay {
	t.Helper()
	store, err := sqlite.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	config := relay.Config{
		Store: store, Certificate: certificate, Limits: relay.DefaultLimits(), Clock: clock.Now,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&config)
	}
	server, err := relay.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	r := &testRelay{Server: server, t: t, dir: dir, address: listener.Addr().String(), clock: clock, store: store}
	r.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err := errors.Join(err, <-served, store.Close()); err != nil {
			t.Errorf("stopping the relay: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// pinned is what a client's TLS looks like: the key is pinned, and nothing else
// in the certificate counts.
func pinned(id identity.ServerID) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			if identity.ServerIDOf(leaf(state).RawSubjectPublicKeyInfo) != id {
				return errors.New("the server has another key")
			}
			return nil
		},
	}
}

func leaf(state tls.ConnectionState) *x509.Certificate { return state.PeerCertificates[0] }

// A device is a client of the relay in tests.
type device struct {
	relay       *testRelay
	conn        *grpc.ClientConn
	key         identity.DevicePrivateKey
	certificate identity.Certificate
	record      []byte
}

func (d *device) id() identity.DeviceID { return d.certificate.DeviceID }

// unregistered makes a device of a new account.
func (r *testRelay) unregistered(name string) *device {
	r.t.Helper()
	return r.deviceOf(identity.GenerateAccountKey(), name)
}

func (r *testRelay) deviceOf(account identity.AccountPrivateKey, name string) *device {
	r.t.Helper()
	key := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(account, identity.Username(name), key.Public(), identity.NewDeviceID(), r.clock.Now())
	record, err := identity.SignDeviceRecord(key, certificate, "age1pq1test")
	if err != nil {
		r.t.Fatal(err)
	}
	d := &device{key: key, certificate: certificate, record: record.Marshal()}
	d.dial(r)
	return d
}

// dial makes the device speak to a relay, which may be another than before.
func (d *device) dial(r *testRelay) {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+r.address,
		grpc.WithTransportCredentials(credentials.NewTLS(pinned(r.ID()))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(5<<20)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	d.conn, d.relay = conn, r
}

// registered makes a device of a new account and registers it.
func (r *testRelay) registered(name string) *device {
	r.t.Helper()
	d := r.unregistered(name)
	if err := d.register(); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (d *device) request(method string) identity.Request {
	return identity.NewRequest(d.relay.ID(), method, d.id(), d.relay.clock.Now())
}

// signed returns a context with the metadata of a request.
func (d *device) signed(ctx context.Context, r identity.Request) context.Context {
	return withMetadata(ctx, r, r.Sign(d.key))
}

func withMetadata(ctx context.Context, r identity.Request, signature []byte) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		api.MetadataDevice, r.Device.String(),
		api.MetadataTime, strconv.FormatInt(r.Time.UnixMilli(), 10),
		api.MetadataNonce, string(r.Nonce[:]),
		api.MetadataSignature, string(signature))
}

func (d *device) register() error { return d.registerWith(nil) }

func (d *device) registerWith(invite []byte) error {
	ctx := d.signed(d.relay.t.Context(), d.request(api.Directory_Register_FullMethodName))
	_, err := api.NewDirectoryClient(d.conn).Register(ctx, &api.RegisterRequest{DeviceRecord: d.record, Invite: invite})
	return err
}

func (d *device) lookup(name string) ([][]byte, error) {
	ctx := d.signed(d.relay.t.Context(), d.request(api.Directory_Lookup_FullMethodName))
	response, err := api.NewDirectoryClient(d.conn).Lookup(ctx, &api.LookupRequest{Username: name})
	return response.GetDeviceRecords(), err
}

// A line is one Connect stream.
type line struct {
	api.DeliveryStream
	t testing.TB
}

func (d *device) connect() *line {
	d.relay.t.Helper()
	l, err := d.tryConnect()
	if err != nil {
		d.relay.t.Fatal(err)
	}
	return l
}

func (d *device) tryConnect() (*line, error) {
	ctx, cancel := context.WithTimeout(d.signed(d.relay.t.Context(), d.request(api.Delivery_Connect_FullMethodName)), time.Minute)
	d.relay.t.Cleanup(cancel)
	stream, err := api.Connect(ctx, d.conn)
	return &line{stream, d.relay.t}, err
}

func submit(payload string, to ...*device) *api.Submit {
	s := &api.Submit{Id: make([]byte, api.SubmitIDSize), Kind: api.Kind_KIND_APPLICATION, Payload: []byte(payload)}
	rand.Read(s.Id)
	for _, d := range to {
		id := d.id()
		s.Recipients = append(s.Recipients, id[:])
	}
	return s
}

func (l *line) submit(s *api.Submit) {
	l.t.Helper()
	if err := l.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) ack(sequence uint64) {
	l.t.Helper()
	if err := l.Send(&api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: sequence}}}); err != nil {
		l.t.Fatal(err)
	}
}

// Recv returns the next frame but Hello and Drained, which may come between any
// two.
func (l *line) Recv() (*api.ServerFrame, error) {
	for {
		frame, err := l.DeliveryStream.Recv()
		if err != nil || (frame.GetDrained() == nil && frame.GetHello() == nil) {
			return frame, err
		}
	}
}

// hello wants Hello, which is the first frame of a line.
func (l *line) hello() *api.Hello {
	l.t.Helper()
	frame, err := l.DeliveryStream.Recv()
	if err != nil || frame.GetHello() == nil {
		l.t.Fatalf("the first frame is %v, %v", frame, err)
	}
	return frame.GetHello()
}

func (l *line) receive() *api.ServerFrame {
	l.t.Helper()
	frame, err := l.Recv()
	if err != nil {
		l.t.Fatalf("receiving: %v", err)
	}
	return frame
}

// accepted submits and wants it accepted.
func (l *line) accepted(s *api.Submit) {
	l.t.Helper()
	l.submit(s)
	if frame := l.receive(); string(frame.GetAccepted().GetId()) != string(s.Id) {
		l.t.Fatalf("got %v, not Accepted", frame)
	}
}

// rejected submits and wants it rejected.
func (l *line) rejected(s *api.Submit, reason api.Reason) {
	l.t.Helper()
	l.submit(s)
	frame := l.receive()
	if string(frame.GetRejected().GetId()) != string(s.Id) || frame.GetRejected().GetReason() != reason {
		l.t.Fatalf("got %v, not Rejected for %v", frame, reason)
	}
}

// envelope wants an envelope with a payload.
func (l *line) envelope(payload string) uint64 {
	l.t.Helper()
	frame := l.receive()
	if frame.GetEnvelope() == nil || string(frame.GetEnvelope().GetPayload()) != payload {
		l.t.Fatalf("got %.200v, not the envelope %.40q", frame, payload)
	}
	return frame.GetEnvelope().GetSequence()
}

// ends wants the line to end for a reason.
func (l *line) ends(reason api.Reason) {
	l.t.Helper()
	for {
		if _, err := l.Recv(); err != nil {
			wantReason(l.t, err, reason)
			return
		}
	}
}

// settled returns when the relay handled everything sent on the line before.
func (l *line) settled() {
	l.t.Helper()
	l.rejected(submit(""), api.Reason_REASON_MALFORMED)
}

// mailbox connects a device and reads until an envelope that somebody sends now,
// and which therefore is the last.
func (d *device) mailbox(from *device, envelope func(*api.Envelope)) {
	d.relay.t.Helper()
	const last = "the last one"
	from.connect().accepted(submit(last, d))
	l := d.connect()
	for {
		e := l.receive().GetEnvelope()
		if string(e.GetPayload()) == last {
			return
		}
		envelope(e)
	}
}

func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if info.Domain != api.ErrorDomain {
				return fmt.Sprintf("domain %q", info.Domain)
			}
			return info.Reason
		}
	}
	return "no reason"
}

func wantReason(t testing.TB, err error, reason api.Reason) {
	t.Helper()
	if err == nil || reasonOf(err) != reason.String() {
		t.Fatalf("got %v (%s), want %v", err, reasonOf(err), reason)
	}
}
