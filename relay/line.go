package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
	"sealpost/identity"
)

// frameOverhead is what a frame costs in memory beyond its payload, in bytes,
// roughly.
const frameOverhead = 256

// pageRows is how many envelopes are read from a mailbox at once.
const pageRows = 256

// A line is the connection of one device. The handler of the call waits for its
// end; one goroutine receives, for gRPC would end the call with a status of its own
// if the handler did; another sends while there is something to send. Most lines
// are idle most of the time: what one costs then is what counts.
type line struct {
	server  *Server
	device  identity.DeviceID
	account identity.Username
	stream  api.Delivery_ConnectServer
	ctx     context.Context
	uplink  *uplink // nil before the first submit; receive makes it

	// sent is the last sequence number that went out or is about to, and drained whether the
	// client was told that it has all that waited. They belong to pump.
	sent    uint64
	drained bool

	mu sync.Mutex
	// given is the highest sequence number that the client can have got, on this
	// line or before.
	given   uint64
	pumping bool
	answers []answered
	waiting int // submits that get an answer later
	// window holds envelopes that are on disk too, so that they need not be read.
	// Where it had no room, behind is set and the rest waits on disk.
	window      []Envelope
	windowBytes int
	behind      bool
	ending      bool // no more submits are taken; the line ends with the last answer
	closed      bool
	err         error         // with which it ends
	ended       chan struct{} // closed with closed
}

// An uplink is what a line needs to submit.
type uplink struct {
	// unanswered bounds the submits that were received and whose answers are not
	// sent, in bytes.
	unanswered *semaphore.Weighted
	rate       submitRate
}

// answered is a frame and what it frees when it is sent.
type answered struct {
	frame *api.ServerFrame
	cost  int64
}

func newLine(s *Server, device identity.DeviceID, stream api.Delivery_ConnectServer) *line {
	return &line{
		server: s, device: device, stream: stream, ctx: stream.Context(),
		sent:   s.writer.acked(device),
		behind: true,
		ended:  make(chan struct{}),
	}
}

// serve returns with what the call ends with.
func (l *line) serve() error {
	l.server.tasks.Go(l.receive)
	l.mu.Lock()
	l.pumpIfNeeded()
	l.mu.Unlock()
	<-l.ended // at the latest when the call ends: receive hears of that
	return l.err
}

// end ends the line now; the first error counts.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(err)
}

func (l *line) endLocked(err error) {
	if l.closed {
		return
	}
	l.closed = true
	if !l.ending {
		l.err = err
	}
	l.answers, l.window = nil, nil
	close(l.ended)
}

// finish ends the line when what it took is answered.
func (l *line) finish(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending || l.closed {
		return
	}
	l.ending, l.err = true, err
	l.pumpIfNeeded()
}

func (l *line) receive() {
	for {
		frame, err := l.stream.Recv()
		if err == nil {
			err = l.handle(frame)
		}
		switch {
		case errors.Is(err, io.EOF):
			l.finish(nil)
			return
		case err != nil:
			l.end(err)
			return
		}
	}
}

func (l *line) handle(frame *api.ClientFrame) error {
	switch f := frame.GetFrame().(type) {
	case *api.ClientFrame_Submit:
		l.server.metrics.submits.Inc()
		return l.submit(f.Submit)
	case *api.ClientFrame_Ack:
		l.server.metrics.acks.Inc()
		if f.Ack.GetSequence() > MaxSequence {
			return fmt.Errorf("%w: a sequence number that was never given", errMalformed)
		}
		// Were more acknowledged than was given, what comes before this is written
		// would be deleted unseen.
		l.mu.Lock()
		sequence := min(f.Ack.GetSequence(), l.given)
		l.mu.Unlock()
		l.server.writer.ack(l.device, sequence)
		return nil
	default:
		return fmt.Errorf("%w: an empty frame", errMalformed)
	}
}

// submit takes a submission, and waits while too many are unanswered. Whoever
// does not read the answers is not read from.
func (l *line) submit(frame *api.Submit) error {
	if len(frame.GetId()) != api.SubmitIDSize {
		return fmt.Errorf("%w: a submit id of %d bytes", errMalformed, len(frame.GetId()))
	}
	if l.uplink == nil {
		l.uplink = &uplink{
			semaphore.NewWeighted(int64(l.server.limits.LineBytes)),
			l.server.rates.submitRate(l.server.clock(), l.device, l.account),
		}
	}
	cost := int64(frameOverhead + proto.Size(frame))
	lineCost := min(cost, int64(l.server.limits.LineBytes))
	if err := l.uplink.unanswered.Acquire(l.ctx, lineCost); err != nil {
		return err
	}
	l.mu.Lock()
	refused := l.ending || l.closed
	if !refused {
		l.waiting++
	}
	l.mu.Unlock()
	if refused {
		return nil // no answer: the client submits again elsewhere or later
	}
	submission, err := l.server.parseSubmit(l.device, frame)
	p := &pending{Submission: submission, line: l, cost: cost}
	if err == nil {
		err = l.uplink.rate.take(l.server.clock(), int(cost))
	}
	if err == nil && submission.Commit != nil {
		err = l.server.rates.commits.take(l.server.clock(), l.account)
	}
	if err == nil {
		err = l.server.writer.submit(l.ctx, p)
	}
	if err != nil {
		p.Err = err
		l.answer(p)
	}
	return nil
}

// parseSubmit checks a submit with an id of the right size against the limits.
func (s *Server) parseSubmit(sender identity.DeviceID, frame *api.Submit) (Submission, error) {
	submission := Submission{
		Sender: sender, ID: [api.SubmitIDSize]byte(frame.GetId()),
		Kind: frame.GetKind(), Payload: frame.GetPayload(),
	}
	limit := s.limits.maxPayload(submission.Kind)
	if limit == 0 || len(submission.Payload) == 0 {
		return submission, errMalformed
	}
	if len(submission.Payload) > limit {
		return submission, errTooLarge
	}
	if frame.GetGroup() != nil || frame.GetCommit() != nil {
		return submission, s.parseGroup(&submission, frame)
	}
	return submission, s.parseRecipients(&submission, frame)
}

func (s *Server) parseRecipients(submission *Submission, frame *api.Submit) error {
	n := len(frame.GetRecipients())
	if n == 0 {
		return errMalformed
	}
	if n > s.limits.Recipients {
		return errTooManyRecipients
	}
	submission.Recipients = make([]identity.DeviceID, n)
	seen := make(map[identity.DeviceID]struct{}, n)
	for i, b := range frame.GetRecipients() {
		id, err := identity.DeviceIDFromBytes(b)
		if err != nil {
			return errMalformed
		}
		submission.Recipients[i] = id
		seen[id] = struct{}{}
	}
	if len(seen) != n {
		return errMalformed
	}
	return nil
}

// answer sends what became of a submission.
func (l *line) answer(p *pending) {
	var frame *api.ServerFrame
	if p.Err != nil {
		frame = l.server.rejected(p.ID[:], p.Err)
	} else {
		l.server.metrics.accepted.Inc()
		frame = &api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: p.ID[:]}}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
	if !l.closed {
		cost := min(p.cost, int64(l.server.limits.LineBytes))
		l.answers = append(l.answers, answered{frame, cost})
		l.pumpIfNeeded()
	}
}

// offer hands over an envelope that is on disk by now. Envelopes are offered in
// the order of their sequence numbers.
func (l *line) offer(e Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.behind {
		return
	}
	size := len(e.Payload) + frameOverhead
	if len(l.window) > 0 && l.windowBytes+size > l.server.limits.LineBytes {
		l.behind = true
	} else {
		l.window = append(l.window, e)
		l.windowBytes += size
	}
	l.pumpIfNeeded()
}

// lookAgain makes the line read its mailbox.
func (l *line) lookAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = true
	l.pumpIfNeeded()
}

// pumpIfNeeded starts pump if there is something to do and it is not running. An
// idle line has no goroutine and no buffer for sending. l.mu is held.
func (l *line) pumpIfNeeded() {
	if !l.pumping && !l.closed {
		l.pumping = true
		l.server.tasks.Go(l.pump)
	}
}

// pump sends until nothing is left.
func (l *line) pump() {
	var sent work
	out := bundle{line: l}
	for {
		next, ok := l.next(sent)
		if !ok {
			return
		}
		if err := l.send(&out, next); err != nil {
			l.end(err)
		}
		clear(next.answers)
		clear(next.window)
		sent = work{answers: next.answers[:0], window: next.window[:0]}
	}
}

// work is what pump does in one round.
type work struct {
	answers []answered
	window  []Envelope
	read    bool // read the mailbox from the disk
}

// next returns what is to be done, and lets the slices of what was be filled anew.
func (l *line) next(done work) (work, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := work{answers: l.answers, window: l.window}
	l.answers, l.window, l.windowBytes = done.answers, done.window, 0
	if l.ending && l.waiting == 0 && len(w.answers) == 0 {
		l.endLocked(nil) // l.err is set
	}
	// From here on, what is written is offered, so that together with what is
	// read below nothing is missing.
	if len(w.window) == 0 && l.behind && !l.ending {
		w.read, l.behind = true, false
	}
	idle := len(w.answers) == 0 && len(w.window) == 0 && !w.read
	if idle || l.closed {
		l.pumping, l.answers, l.window = false, nil, nil
		return work{}, false
	}
	return w, true
}

func (l *line) send(out *bundle, w work) error {
	for _, a := range w.answers {
		if err := out.answer(a); err != nil {
			return err
		}
	}
	if err := l.sendEnvelopes(out, w.window); err != nil {
		return err
	}
	if err := out.send(); err != nil || !w.read { // nobody's answer waits for the disk
		return err
	}
	if err := l.sendFromDisk(out); err != nil {
		return err
	}
	return out.send()
}

// greet sends Hello, before anybody knows of the line.
func (l *line) greet() error {
	status, err := l.server.store.Status(l.ctx, l.device, l.server.clock())
	if err != nil {
		return err
	}
	l.given, l.account = status.Last, status.Username
	return l.stream.Send(&api.ServerFrames{Frames: []*api.ServerFrame{{Frame: &api.ServerFrame_Hello{Hello: &api.Hello{
		Acked:       max(status.Acked, l.sent), // which may not be on disk yet
		KeyPackages: uint32(status.KeyPackages),
		LastSubmit:  status.LastSubmit,
	}}}}})
}

func (l *line) sendFromDisk(out *bundle) error {
	page := Page{Rows: pageRows, Bytes: l.server.limits.LineBytes}
	envelopes, more, err := l.server.store.Read(l.ctx, l.device, l.sent, page)
	if err != nil {
		return err
	}
	if more {
		// The window holds only later ones, which will be read in their turn.
		l.mu.Lock()
		l.behind, l.window, l.windowBytes = true, nil, 0
		l.mu.Unlock()
	}
	if err := l.sendEnvelopes(out, envelopes); err != nil || more || l.drained {
		return err
	}
	l.drained = true
	return out.add(&api.ServerFrame{Frame: &api.ServerFrame_Drained{Drained: &api.Drained{}}}, 0)
}

// sendEnvelopes skips what was read from the disk and offered as well.
func (l *line) sendEnvelopes(out *bundle, envelopes []Envelope) error {
	for _, e := range envelopes {
		if e.Sequence <= l.sent {
			continue
		}
		if err := out.envelope(e); err != nil {
			return err
		}
	}
	return nil
}
