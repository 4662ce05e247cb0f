package messenger

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"sealpost/api"
	"sealpost/identity"
)

// fakeRelay is a relay in memory, with switches for what a bad one may do. Its
// mailboxes and accounts outlive stop and start, as those on a disk do.
type fakeRelay struct {
	api.UnimplementedDirectoryServer
	api.UnimplementedDeliveryServer
	certificate tls.Certificate
	id          identity.ServerID

	mu        sync.Mutex
	cond      *sync.Cond // a mailbox has something new, or the relay stops
	server    *grpc.Server
	listener  *bufconn.Listener
	served    chan struct{}
	life      int // grows with every stop
	accounts  map[identity.Username][][]byte
	devices   map[identity.DeviceID]identity.DeviceKey
	mailboxes map[identity.DeviceID]*fakeMailbox
	accepted  map[string]bool
	nonces    map[string]bool
	lookups   int
	submits   []*api.Submit // every one that came, repeats too

	// What a bad or burdened relay does.
	reject    func(*api.Submit) *api.Rejected
	dropReply func(*api.Submit) bool // take it, break the line before saying so
	listing   func(identity.Username, [][]byte) ([][]byte, error)
	register  func() error
}

type fakeMailbox struct {
	next      uint64
	envelopes []*api.Envelope
}

func newFakeRelay(t testing.TB) *fakeRelay {
	t.Helper()
	r := &fakeRelay{
		accounts:  make(map[identity.Username][][]byte),
		devices:   make(map[identity.DeviceID]identity.DeviceKey),
		mailboxes: make(map[identity.DeviceID]*fakeMailbox),
		accepted:  make(map[string]bool),
		nonces:    make(map[string]bool),
	}
	r.cond = sync.NewCond(&r.mu)
	r.renewCertificate(t)
	r.start(t)
	t.Cleanup(r.stop)
	return r
}

func (r *fakeRelay) renewCertificate(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	r.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	r.id = identity.ServerIDOf(leaf.RawSubjectPublicKeyInfo)
}

func (r *fakeRelay) start(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener = bufconn.Listen(1 << 20)
	r.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{r.certificate}, MinVersion: tls.VersionTLS13,
	})))
	api.RegisterDirectoryServer(r.server, r)
	api.RegisterDeliveryServer(r.server, r)
	server, listener, served := r.server, r.listener, make(chan struct{})
	r.served = served
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
}

func (r *fakeRelay) stop() {
	r.mu.Lock()
	server, served := r.server, r.served
	r.server = nil
	r.life++
	r.cond.Broadcast()
	r.mu.Unlock()
	if server != nil {
		server.Stop()
		<-served
	}
}

func (r *fakeRelay) dial(ctx context.Context, _ string) (net.Conn, error) {
	r.mu.Lock()
	listener, up := r.listener, r.server != nil
	r.mu.Unlock()
	if !up {
		return nil, errors.New("connection refused")
	}
	return listener.DialContext(ctx)
}

// set changes a switch while the relay runs.
func (r *fakeRelay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func refuse(code codes.Code, reason api.Reason) error {
	st, err := status.New(code, "refused").WithDetails(&errdetails.ErrorInfo{Domain: api.ErrorDomain, Reason: reason.String()})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// authenticate checks the signature of a call as the real relay does.
func (r *fakeRelay) authenticate(ctx context.Context, registering *identity.DeviceRecord) (identity.DeviceID, error) {
	unauthenticated := refuse(codes.Unauthenticated, api.Reason_REASON_UNAUTHENTICATED)
	md, _ := metadata.FromIncomingContext(ctx)
	method, _ := grpc.Method(ctx)
	value := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	id, err := identity.ParseDeviceID(value(api.MetadataDevice))
	if err != nil {
		return id, unauthenticated
	}
	ms, err := strconv.ParseInt(value(api.MetadataTime), 10, 64)
	nonce := value(api.MetadataNonce)
	if err != nil || len(nonce) != identity.NonceSize || r.nonces[nonce] {
		return id, unauthenticated
	}
	r.nonces[nonce] = true
	key, known := r.devices[id]
	if registering != nil {
		key, known = registering.Certificate.DeviceKey, true
	}
	if !known {
		return id, refuse(codes.Unauthenticated, api.Reason_REASON_UNKNOWN_DEVICE)
	}
	request := identity.Request{Server: r.id, Method: method, Device: id, Time: time.UnixMilli(ms), Nonce: [identity.NonceSize]byte([]byte(nonce))}
	if request.Verify(key, []byte(value(api.MetadataSignature))) != nil {
		return id, unauthenticated
	}
	return id, nil
}

func (r *fakeRelay) Register(ctx context.Context, request *api.RegisterRequest) (*api.RegisterResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.register != nil {
		if err := r.register(); err != nil {
			return nil, err
		}
	}
	record, err := identity.ParseDeviceRecord(request.GetDeviceRecord())
	if err != nil {
		return nil, refuse(codes.InvalidArgument, api.Reason_REASON_MALFORMED)
	}
	if _, err := r.authenticate(ctx, &record); err != nil {
		return nil, err
	}
	certificate := record.Certificate
	if have := r.accounts[certificate.Username]; len(have) > 0 {
		if string(have[0]) == string(request.GetDeviceRecord()) {
			return &api.RegisterResponse{}, nil
		}
		return nil, refuse(codes.AlreadyExists, api.Reason_REASON_NAME_TAKEN)
	}
	r.add(record)
	return &api.RegisterResponse{}, nil
}

func (r *fakeRelay) add(record identity.DeviceRecord) {
	certificate := record.Certificate
	r.accounts[certificate.Username] = append(r.accounts[certificate.Username], record.Marshal())
	r.devices[certificate.DeviceID] = certificate.DeviceKey
	r.mailboxes[certificate.DeviceID] = &fakeMailbox{}
}

func (r *fakeRelay) Lookup(ctx context.Context, request *api.LookupRequest) (*api.LookupResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.authenticate(ctx, nil); err != nil {
		return nil, err
	}
	r.lookups++
	username := identity.Username(request.GetUsername())
	records := r.accounts[username]
	if r.listing != nil {
		changed, err := r.listing(username, records)
		if err != nil {
			return nil, err
		}
		records = changed
	}
	if len(records) == 0 {
		return nil, refuse(codes.NotFound, api.Reason_REASON_UNKNOWN_ACCOUNT)
	}
	return &api.LookupResponse{DeviceRecords: records}, nil
}

func (r *fakeRelay) Connect(stream grpc.BidiStreamingServer[api.ClientFrame, api.ServerFrame]) error {
	r.mu.Lock()
	id, err := r.authenticate(stream.Context(), nil)
	mailbox, life := r.mailboxes[id], r.life
	r.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cond.Broadcast()
	})
	defer stop()
	frames := make(chan *api.ServerFrame)
	go r.deliver(ctx, mailbox, life, frames)
	failed := make(chan error, 1)
	go func() { failed <- r.listen(ctx, stream, mailbox, frames) }()
	for {
		select {
		case f := <-frames:
			if err := stream.Send(f); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliver hands out a mailbox, from its beginning for each line.
func (r *fakeRelay) deliver(ctx context.Context, mailbox *fakeMailbox, life int, frames chan<- *api.ServerFrame) {
	var last uint64
	for {
		e := r.nextEnvelope(ctx, mailbox, life, last)
		if e == nil {
			return
		}
		last = e.GetSequence()
		select {
		case frames <- &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: e}}:
		case <-ctx.Done():
			return
		}
	}
}

func (r *fakeRelay) nextEnvelope(ctx context.Context, mailbox *fakeMailbox, life int, last uint64) *api.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ctx.Err() == nil && r.life == life {
		for _, e := range mailbox.envelopes {
			if e.GetSequence() > last {
				return e
			}
		}
		r.cond.Wait()
	}
	return nil
}

func (r *fakeRelay) listen(ctx context.Context, stream grpc.BidiStreamingServer[api.ClientFrame, api.ServerFrame], mailbox *fakeMailbox, frames chan<- *api.ServerFrame) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		var answer *api.ServerFrame
		switch f := frame.GetFrame().(type) {
		case *api.ClientFrame_Ack:
			r.ack(mailbox, f.Ack.GetSequence())
			continue
		case *api.ClientFrame_Submit:
			if answer, err = r.submit(f.Submit); err != nil {
				return err
			}
		}
		select {
		case frames <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *fakeRelay) ack(mailbox *fakeMailbox, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(mailbox.envelopes) > 0 && mailbox.envelopes[0].GetSequence() <= sequence {
		mailbox.envelopes = mailbox.envelopes[1:]
	}
	r.cond.Broadcast()
}

func (r *fakeRelay) submit(s *api.Submit) (*api.ServerFrame, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.submits = append(r.submits, s)
	rejected := func(reject *api.Rejected) *api.ServerFrame {
		reject.Id = s.GetId()
		return &api.ServerFrame{Frame: &api.ServerFrame_Rejected{Rejected: reject}}
	}
	if r.reject != nil {
		if reject := r.reject(s); reject != nil {
			return rejected(reject), nil
		}
	}
	if !r.accepted[string(s.GetId())] {
		for _, id := range s.GetRecipients() {
			if r.mailboxes[identity.DeviceID(id)] == nil {
				return rejected(&api.Rejected{Reason: api.Reason_REASON_UNKNOWN_RECIPIENT}), nil
			}
		}
		for _, id := range s.GetRecipients() {
			r.put(identity.DeviceID(id), s.GetPayload())
		}
		r.accepted[string(s.GetId())] = true
	}
	if r.dropReply != nil && r.dropReply(s) {
		return nil, status.Error(codes.Unavailable, "the line broke")
	}
	return &api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: s.GetId()}}}, nil
}

func (r *fakeRelay) put(device identity.DeviceID, payload []byte) {
	mailbox := r.mailboxes[device]
	mailbox.next++
	mailbox.envelopes = append(mailbox.envelopes, &api.Envelope{Sequence: mailbox.next, Kind: api.Kind_KIND_APPLICATION, Payload: payload})
	r.cond.Broadcast()
}

// inject puts bytes of the relay's own choice into a mailbox.
func (r *fakeRelay) inject(device identity.DeviceID, payloads ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range payloads {
		r.put(device, p)
	}
}

// taken returns the payloads that were submitted to a device.
func (r *fakeRelay) taken(device identity.DeviceID) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all [][]byte
	for _, s := range r.submits {
		if identity.DeviceID(s.GetRecipients()[0]) == device {
			all = append(all, s.GetPayload())
		}
	}
	return all
}

// awaitEmpty waits until a mailbox is acknowledged to its end.
func (r *fakeRelay) awaitEmpty(t testing.TB, device identity.DeviceID) {
	t.Helper()
	timeout := time.AfterFunc(testTimeout, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.mailboxes[device].envelopes = nil
		r.cond.Broadcast()
		t.Error("the mailbox is not acknowledged in time")
	})
	defer timeout.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.mailboxes[device].envelopes) > 0 {
		r.cond.Wait()
	}
}
