package malice

import (
	"bytes"
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"sealpost/api"
)

// subSequence is the number of low bits of a sequence number that the wrapper
// takes for itself, to have room for what it puts in between.
const subSequence = 16

// A Relay holds the switches of one malicious relay. All are off in the zero
// value, which then changes nothing that a client can see.
type Relay struct {
	mu         sync.Mutex
	on         map[Attack]bool
	victim     string           // whose directory entry is swapped
	records    [][]byte         // what it is swapped for
	substitute []byte           // what Reattribute delivers
	lines      map[string]*line // by device id in its text form
}

// line is what the wrapper remembers about one device, across connections.
type line struct {
	delivered [][]byte // payloads, as the real relay handed them out
	submitted [][]byte // payloads, as the device handed them in
	held      []byte   // what Reorder keeps back
}

// Switch turns an attack on or off.
func (r *Relay) Switch(attack Attack, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on == nil {
		r.on = make(map[Attack]bool)
	}
	r.on[attack] = on
}

// SwapRecords sets whose directory entry SwapKey and WrongAccount change, and
// the encoded device records that they answer with.
func (r *Relay) SwapRecords(victim string, records ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.victim, r.records = victim, records
}

// Substitute sets the payload that Reattribute delivers.
func (r *Relay) Substitute(payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.substitute = bytes.Clone(payload)
}

// Delivered returns the payloads that the real relay has handed out to a device,
// named by the text form of its id.
func (r *Relay) Delivered(device string) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.line(device).delivered...)
}

// ServerOptions returns the interceptors that make a relay malicious; give them
// to the real relay.
func (r *Relay) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(r.unary), grpc.ChainStreamInterceptor(r.stream)}
}

func (r *Relay) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	if lookup, ok := request.(*api.LookupRequest); ok && err == nil {
		r.lookup(lookup, response.(*api.LookupResponse))
	}
	return response, err
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
	return handler(server, &tappedStream{ServerStream: stream, relay: r, device: device})
}

// line returns the memory of a device. The caller holds r.mu.
func (r *Relay) line(device string) *line {
	if r.lines == nil {
		r.lines = make(map[string]*line)
	}
	if r.lines[device] == nil {
		r.lines[device] = &line{}
	}
	return r.lines[device]
}

// deliver returns what the device gets in place of a payload.
func (r *Relay) deliver(device string, payload []byte) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.line(device)
	payloads := [][]byte{payload}
	for attack, run := range wireAttacks {
		if r.on[attack] {
			payloads = run(r, l, payload)
			break // one attack on the wire at a time
		}
	}
	l.delivered = append(l.delivered, bytes.Clone(payload))
	return payloads
}

func (r *Relay) submitted(device string, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.line(device)
	l.submitted = append(l.submitted, bytes.Clone(payload))
}

// tappedStream is a device's line with the enemy on it.
type tappedStream struct {
	grpc.ServerStream
	relay  *Relay
	device string
}

// SendMsg delivers, for each envelope of the real relay, what the attack makes
// of it, numbered between the real one and the next.
func (s *tappedStream) SendMsg(m any) error {
	frame, ok := m.(*api.ServerFrame)
	if !ok || frame.GetEnvelope() == nil {
		return s.ServerStream.SendMsg(m)
	}
	envelope := frame.GetEnvelope()
	for i, payload := range s.relay.deliver(s.device, envelope.GetPayload()) {
		changed := &api.ServerFrame{Frame: &api.ServerFrame_Envelope{Envelope: &api.Envelope{
			Sequence: envelope.GetSequence()<<subSequence | uint64(i),
			Kind:     envelope.GetKind(),
			Payload:  payload,
		}}}
		if err := s.ServerStream.SendMsg(changed); err != nil {
			return err
		}
	}
	return nil
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
		s.relay.submitted(s.device, f.Submit.GetPayload())
	case *api.ClientFrame_Ack:
		f.Ack.Sequence >>= subSequence
	}
	return nil
}
