package messenger

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
)

// A tap sits before the relay and does what a bad, burdened or unlucky one does.
// Its zero value changes nothing but the numbers of envelopes: it leaves room
// between them for what it puts in.
type tap struct {
	mu      sync.Mutex
	cond    sync.Cond
	submits []*api.Submit // every one that came, repeats too
	lines   map[identity.DeviceID]*tappedLine

	reject    func(*api.Submit) *api.Rejected
	dropReply func(*api.Submit) bool // take it, break the line before saying so
	listing   func(identity.Username, [][]byte) [][]byte
	register  func() error
	greet     func(*api.Hello)
	withhold  func(identity.DeviceID, *api.Envelope) bool
}

// inBetween is the number of low bits of a sequence number that are the tap's own.
const inBetween = 8

type tappedLine struct {
	stream    *tappedStream // the last one
	delivered []*api.Envelope
	withheld  []*api.Envelope
	last      uint64 // sequence number
	acked     uint64
}

func newTap() *tap {
	t := &tap{lines: make(map[identity.DeviceID]*tappedLine)}
	t.cond.L = &t.mu
	return t
}

// set changes a switch while the relay runs.
func (t *tap) set(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

func (t *tap) line(device identity.DeviceID) *tappedLine {
	if t.lines[device] == nil {
		t.lines[device] = new(tappedLine)
	}
	return t.lines[device]
}

func (t *tap) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(t.unary), grpc.ChainStreamInterceptor(t.connect)}
}

func (t *tap) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	t.mu.Lock()
	register, listing := t.register, t.listing
	t.mu.Unlock()
	if _, ok := request.(*api.RegisterRequest); ok && register != nil {
		if err := register(); err != nil {
			return nil, err
		}
	}
	response, err := handler(ctx, request)
	if lookup, ok := request.(*api.LookupRequest); ok && err == nil && listing != nil {
		answer := response.(*api.LookupResponse)
		answer.DeviceRecords = listing(identity.Username(lookup.GetUsername()), answer.GetDeviceRecords())
	}
	return response, err
}

func (t *tap) connect(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	var device identity.DeviceID
	if values := md.Get(api.MetadataDevice); len(values) == 1 {
		device, _ = identity.ParseDeviceID(values[0])
	}
	s := &tappedStream{ServerStream: stream, tap: t, device: device}
	t.set(func() { t.line(device).stream = s })
	return handler(server, s)
}

type tappedStream struct {
	grpc.ServerStream
	tap     *tap
	device  identity.DeviceID
	sending sync.Mutex
	breaks  map[string]bool // ids of submits whose answer breaks the line
}

func (s *tappedStream) send(f *api.ServerFrame) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.ServerStream.SendMsg(&api.ServerFrames{Frames: []*api.ServerFrame{f}})
}

func (s *tappedStream) SendMsg(m any) error {
	together, ok := m.(*api.ServerFrames)
	if !ok {
		return s.ServerStream.SendMsg(m)
	}
	for _, frame := range together.GetFrames() {
		if err := s.sendFrame(frame); err != nil {
			return err
		}
	}
	return nil
}

func (s *tappedStream) sendFrame(frame *api.ServerFrame) error {
	switch f := frame.GetFrame().(type) {
	case *api.ServerFrame_Hello:
		hello := &api.Hello{Acked: f.Hello.GetAcked() << inBetween, KeyPackages: f.Hello.GetKeyPackages(), LastSubmit: f.Hello.GetLastSubmit()}
		s.tap.mu.Lock()
		greet := s.tap.greet
		s.tap.mu.Unlock()
		if greet != nil {
			greet(hello)
		}
		return s.send(&api.ServerFrame{Frame: &api.ServerFrame_Hello{Hello: hello}})
	case *api.ServerFrame_Accepted:
		s.tap.mu.Lock()
		breaks := s.breaks[string(f.Accepted.GetId())]
		s.tap.mu.Unlock()
		if breaks {
			return status.Error(codes.Unavailable, "the line broke")
		}
	case *api.ServerFrame_Envelope:
		e := &api.Envelope{
			Sequence: f.Envelope.GetSequence() << inBetween, Kind: f.Envelope.GetKind(), Payload: f.Envelope.GetPayload(),
			ListHash: f.Envelope.GetListHash(), Group: f.Envelope.GetGroup(),
		}
		if s.tap.passes(s.device, e) {
			return s.send(&api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: e}})
		}
		return nil
	}
	return s.send(frame)
}

// passes notes an envelope, and says whether it is delivered.
func (t *tap) passes(device identity.DeviceID, e *api.Envelope) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.line(device)
	l.last = max(l.last, e.GetSequence())
	if t.withhold != nil && t.withhold(device, e) {
		l.withheld = append(l.withheld, e)
		t.cond.Broadcast()
		return false
	}
	l.delivered = append(l.delivered, e)
	t.cond.Broadcast()
	return true
}

func (s *tappedStream) RecvMsg(m any) error {
	for {
		if err := s.ServerStream.RecvMsg(m); err != nil {
			return err
		}
		frame, ok := m.(*api.ClientFrame)
		if !ok {
			return nil
		}
		switch f := frame.GetFrame().(type) {
		case *api.ClientFrame_Ack:
			s.tap.acked(s.device, f.Ack.GetSequence())
			f.Ack.Sequence >>= inBetween
			if f.Ack.GetSequence() > 0 {
				return nil
			}
		case *api.ClientFrame_Submit:
			rejected := s.tap.judge(s, f.Submit)
			if rejected == nil {
				return nil
			}
			if err := s.send(&api.ServerFrame{Frame: &api.ServerFrame_Rejected{Rejected: rejected}}); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (t *tap) acked(device identity.DeviceID, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.line(device)
	l.acked = max(l.acked, sequence)
	t.cond.Broadcast()
}

func (t *tap) judge(s *tappedStream, submit *api.Submit) *api.Rejected {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.submits = append(t.submits, submit)
	if t.reject != nil {
		if rejected := t.reject(submit); rejected != nil {
			rejected.Id = submit.GetId()
			return rejected
		}
	}
	if t.dropReply != nil && t.dropReply(submit) {
		if s.breaks == nil {
			s.breaks = make(map[string]bool)
		}
		s.breaks[string(submit.GetId())] = true
	}
	return nil
}

// inject delivers envelopes of the tap's own choice to somebody who is connected,
// and waits until they are acknowledged.
func (t *tap) inject(tb testing.TB, to *person, envelopes ...*api.Envelope) {
	tb.Helper()
	device := to.Self().DeviceID
	for _, e := range envelopes {
		t.mu.Lock()
		l := t.line(device)
		l.last++
		stream := l.stream
		frame := &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{
			Sequence: l.last, Kind: e.GetKind(), Payload: e.GetPayload(), ListHash: e.GetListHash(), Group: e.GetGroup(),
		}}}
		t.mu.Unlock()
		if err := stream.send(frame); err != nil {
			tb.Fatalf("injecting: %v", err)
		}
	}
	t.awaitAcked(tb, to)
}

// awaitAcked waits until everything that was delivered to somebody is acknowledged.
func (t *tap) awaitAcked(tb testing.TB, to *person) {
	tb.Helper()
	t.await(tb, to, func(l *tappedLine) bool { return l.acked >= l.last })
}

func (t *tap) await(tb testing.TB, to *person, done func(*tappedLine) bool) {
	tb.Helper()
	late := false
	timeout := time.AfterFunc(testTimeout, func() {
		t.set(func() { late = true })
		t.cond.Broadcast()
	})
	defer timeout.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for !done(t.line(to.Self().DeviceID)) {
		if late {
			tb.Fatalf("%s does not get or acknowledge what it should in time", to.name())
		}
		t.cond.Wait()
	}
}

// awaitDelivered waits until an envelope of a kind went to somebody.
func (t *tap) awaitDelivered(tb testing.TB, to *person, kind api.Kind) {
	tb.Helper()
	t.await(tb, to, func(l *tappedLine) bool {
		return slices.ContainsFunc(l.delivered, func(e *api.Envelope) bool { return e.GetKind() == kind })
	})
}

// deliveredTo returns the envelopes of a kind that went to somebody.
func (t *tap) deliveredTo(to *person, kind api.Kind) []*api.Envelope {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*api.Envelope
	for _, e := range t.line(to.Self().DeviceID).delivered {
		if e.GetKind() == kind {
			all = append(all, e)
		}
	}
	return all
}

// takeWithheld returns what was kept from somebody, and lets the rest pass.
func (t *tap) takeWithheld(from *person) []*api.Envelope {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.withhold = nil
	l := t.line(from.Self().DeviceID)
	withheld := l.withheld
	l.withheld = nil
	return withheld
}

func refuse(code codes.Code, reason api.Reason) error {
	st, err := status.New(code, "refused").WithDetails(&errdetails.ErrorInfo{Domain: api.ErrorDomain, Reason: reason.String()})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// submitted returns what came of a kind.
func (t *tap) submitted(kind api.Kind) []*api.Submit {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*api.Submit
	for _, s := range t.submits {
		if s.GetKind() == kind {
			all = append(all, s)
		}
	}
	return all
}
