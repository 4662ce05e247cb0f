package malice

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

// subSequence is the number of low bits of a sequence number that the wrapper
// takes for itself, to have room for what it puts in between.
const subSequence = 10

// A Relay holds the switches of one malicious relay. All are off in the zero
// value, which then changes nothing that a client can see.
type Relay struct {
	mu          sync.Mutex
	on          map[Attack]bool
	counts      map[Attack]int // how often each was done
	aim, rival  string         // devices, in text form
	skipFrom    int            // Drop begins after so many
	skipTo      int
	victim      string   // whose directory entry changes
	records     [][]byte // to what
	keyPackages []*api.ClaimedKeyPackage
	firstClaim  *api.ClaimKeyPackagesResponse
	substitute  *api.Envelope // what Reattribute delivers
	seconds     []*api.Submit // commits that Fork accepted after others for their epoch
	lines       map[string]*line
}

// line is what the wrapper remembers about one device, across connections.
type line struct {
	device    string          // id in text form
	delivered []*api.Envelope // as the real relay handed them out, but for the number
	numbers   []uint64        // the numbers that these had for the device
	submitted []*api.Submit   // as the device handed them in
	held      *api.Envelope   // what Reorder keeps back
	skipped   int             // what Drop has seen
}

// Switch turns an attack on or off.
func (r *Relay) Switch(attack Attack, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on == nil {
		r.on, r.counts = make(map[Attack]bool), make(map[Attack]int)
	}
	r.on[attack] = on
}

// Count returns how often an attack was done.
func (r *Relay) Count(attack Attack) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[attack]
}

// Aim sets the device that Drop, Withhold, Fork, GhostMember and SilentExclusion are
// about, in the text form of its id.
func (r *Relay) Aim(device string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aim = device
}

// Rival sets the device whose commit Fork accepts as the second.
func (r *Relay) Rival(device string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rival = device
}

// Skip has Drop let some application messages pass, and then lose some.
func (r *Relay) Skip(pass, lose int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipFrom, r.skipTo = pass, pass+lose
}

// Substitute sets what Reattribute delivers.
func (r *Relay) Substitute(envelope *api.Envelope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.substitute = envelope
}

// Delivered returns the envelopes of a kind that the real relay has handed out to
// a device, named by the text form of its id.
func (r *Relay) Delivered(device string, kind api.Kind) []*api.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*api.Envelope
	for _, e := range r.line(device).delivered {
		if e.GetKind() == kind {
			all = append(all, e)
		}
	}
	return all
}

// ServerOptions returns the interceptors that make a relay malicious; give them
// to the real relay.
func (r *Relay) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(r.unary), grpc.ChainStreamInterceptor(r.stream)}
}

func (r *Relay) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	if err != nil {
		return response, err
	}
	switch request := request.(type) {
	case *api.LookupRequest:
		r.lookup(request, response.(*api.LookupResponse))
	case *api.ClaimKeyPackagesRequest:
		r.claim(request, response.(*api.ClaimKeyPackagesResponse))
	}
	return response, nil
}

func (r *Relay) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod != api.Delivery_Connect_FullMethodName {
		return handler(server, stream)
	}
	var device string
	if md, ok := metadata.FromIncomingContext(stream.Context()); ok {
		if values := md.Get(api.MetadataDevice); len(values) == 1 {
			device = values[0]
		}
	}
	r.mu.Lock()
	l := r.line(device)
	r.mu.Unlock()
	return handler(server, &tappedStream{ServerStream: stream, relay: r, line: l})
}

// line returns the memory of a device. The caller holds r.mu.
func (r *Relay) line(device string) *line {
	if r.lines == nil {
		r.lines = make(map[string]*line)
	}
	if r.lines[device] == nil {
		r.lines[device] = &line{device: device}
	}
	return r.lines[device]
}

// deliver returns what the device gets in place of an envelope.
func (r *Relay) deliver(l *line, envelope *api.Envelope) []*api.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	envelopes := []*api.Envelope{envelope}
	for attack, run := range deliveries {
		if !r.on[attack] || len(envelope.GetPayload()) == 0 {
			continue
		}
		if changed := run(r, l, envelope); changed != nil {
			r.counts[attack]++
			envelopes = changed
		}
		break // one attack on the wire at a time
	}
	l.delivered = append(l.delivered, proto.CloneOf(envelope))
	l.numbers = append(l.numbers, envelope.GetSequence()<<subSequence)
	return envelopes
}

// tappedStream is a device's line with the enemy on it.
type tappedStream struct {
	grpc.ServerStream
	relay *Relay
	line  *line
}

// SendMsg delivers, for each envelope of the real relay, what the attack makes
// of it, numbered between the real one and the next. Frames that no attack is
// about pass as they are.
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
	case *api.ServerFrame_Envelope:
		return s.deliver(f.Envelope)
	case *api.ServerFrame_Hello:
		return s.greet(f.Hello)
	default:
		return s.pass(s.relay.answer(s.line, frame))
	}
}

// pass sends a frame as it is.
func (s *tappedStream) pass(frame *api.ServerFrame) error {
	return s.ServerStream.SendMsg(&api.ServerFrames{Frames: []*api.ServerFrame{frame}})
}

func (s *tappedStream) deliver(envelope *api.Envelope) error {
	for i, e := range s.relay.deliver(s.line, envelope) {
		if i >= 1<<subSequence {
			return errors.New("malice: no room for so many envelopes")
		}
		if err := s.send(e, envelope.GetSequence()<<subSequence|uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *tappedStream) send(envelope *api.Envelope, sequence uint64) error {
	numbered := proto.CloneOf(envelope)
	numbered.Sequence = sequence
	return s.pass(&api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: numbered}})
}

// greet puts what the device acknowledged into the numbers that it knows.
func (s *tappedStream) greet(hello *api.Hello) error {
	changed := proto.CloneOf(hello)
	if changed.Acked > 0 {
		changed.Acked <<= subSequence
	}
	old, numbers := s.relay.greeting(s.line, changed)
	if err := s.pass(&api.ServerFrame{Frame: &api.ServerFrame_Hello{Hello: changed}}); err != nil {
		return err
	}
	for i, e := range old {
		if err := s.send(e, numbers[i]); err != nil {
			return err
		}
	}
	return nil
}

// greeting changes what the relay says it remembers, and returns what it delivers
// again.
func (r *Relay) greeting(l *line, hello *api.Hello) ([]*api.Envelope, []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.on[RollBack] && len(l.delivered) > 0:
		r.counts[RollBack]++
		hello.Acked = 0
		return l.delivered, l.numbers
	case r.on[FalseHello]:
		r.counts[FalseHello]++
		hello.Acked += 1<<subSequence - 1 // more than it did, and less than the next
	}
	return nil, nil
}

// RecvMsg listens to what the device submits, and puts its acks back into the
// real relay's numbers.
func (s *tappedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	frame, ok := m.(*api.ClientFrame)
	if !ok {
		return nil
	}
	switch f := frame.GetFrame().(type) {
	case *api.ClientFrame_Submit:
		s.relay.submitted(s.line, f.Submit)
	case *api.ClientFrame_Ack:
		f.Ack.Sequence >>= subSequence
	}
	return nil
}
