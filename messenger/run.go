package messenger

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"

	"sealpost/api"
	"sealpost/identity"
)

// Pauses before the line is tried again.
const (
	firstPause = 250 * time.Millisecond
	longPause  = 30 * time.Second
)

// Pauses before a refused submission is tried again.
const (
	shortRetry = time.Second
	longRetry  = time.Hour
)

// Run keeps the line to the relay: it sends the outbox and receives, and
// reconnects with growing pauses. It returns nil when ctx ends or the client is
// closed, and otherwise what no retry can mend: [*ServerChangedError],
// [*CertificateError], [ErrReplaced], [ErrNameTaken], [ErrInviteRequired] or [ErrInviteInvalid]
// (of a registration that was not complete, or that the server lost), or [ErrStore].
func (c *Client) Run(ctx context.Context) error {
	if err := c.beginRun(); err != nil {
		return err
	}
	defer c.endRun()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.closing, cancel)
	defer stop()

	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.RandomizationFactor = firstPause, longPause, 0.5
	for forgotten := false; ; {
		err := c.session(ctx, pauses.Reset)
		if ctx.Err() != nil {
			c.events.publish(ConnectionChanged{})
			return nil
		}
		// A server restored from a backup may know this device no more: register
		// at once, and bother nobody unless that does not help.
		if forgotten = errors.Is(err, errUnknownDevice) && !forgotten; forgotten {
			continue
		}
		c.events.publish(ConnectionChanged{Err: err})
		if fatal(err) {
			return err
		}
		pause := pauses.NextBackOff()
		c.log.Info("the line to the server broke", "error", err, "next try in", pause)
		if c.sleep(ctx, pause) {
			pauses.Reset() // somebody is there and waits
		}
	}
}

func (c *Client) beginRun() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing.Err() != nil:
		return ErrClosed
	case c.running:
		return ErrRunning
	}
	c.running = true
	c.runs.Add(1)
	return nil
}

func (c *Client) endRun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	c.runs.Done()
}

// sleep waits for d, or until somebody has something to send, and then it
// returns true.
func (c *Client) sleep(ctx context.Context, d time.Duration) (woken bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// fatal tells the errors that trying again does not mend.
func fatal(err error) bool {
	var (
		changed *ServerChangedError
		refused *CertificateError
		local   *storeError
	)
	return errors.As(err, &changed) || errors.As(err, &refused) || errors.As(err, &local) || errors.Is(err, ErrReplaced) ||
		errors.Is(err, ErrNameTaken) || errors.Is(err, ErrInviteRequired) || errors.Is(err, ErrInviteInvalid) || errors.Is(err, ErrClosed)
}

// session is one life of the line. The goroutine that runs it is the only one
// that writes to the stream.
type session struct {
	*Client
	stream  grpc.BidiStreamingClient[api.ClientFrame, api.ServerFrame]
	frames  <-chan received
	flying  map[identity.DeviceID]flight // what waits for an answer
	load    int                          // bytes of payload in flying
	skipped map[identity.Username]bool   // about whom the directory gave no usable answer
}

// maxFlying bounds the payloads that wait for an answer, in bytes; one passes
// even if it is larger. So much fits into the windows of a stream, so that Send
// never waits for the relay while the relay waits for what it sent to be read.
const maxFlying = 64 << 10

// flight is a submit that waits for its answer.
type flight struct {
	submitID []byte
	size     int // bytes of payload
}

// session connects, and returns why the line ended. It calls heard when
// something comes in: that the line is up says little, for the server may refuse
// the device yet.
func (c *Client) session(ctx context.Context, heard func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.line.connect(ctx)
	if err != nil {
		return err
	}
	if !c.self.registered {
		if err := c.register(ctx); err != nil {
			return err
		}
	}
	c.forgetFresh()
	stream, err := api.NewDeliveryClient(conn).Connect(ctx)
	if err != nil {
		return c.lost(err)
	}
	c.events.publish(ConnectionChanged{Online: true})
	frames := make(chan received)
	s := &session{
		Client: c, stream: stream, frames: frames,
		flying:  make(map[identity.DeviceID]flight),
		skipped: make(map[identity.Username]bool),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		listen(ctx, stream, frames, heard)
	}()
	err = s.serve(ctx)
	cancel() // ends listen
	<-ended
	return err
}

// lost explains why the stream ended.
func (c *Client) lost(err error) error {
	err = c.line.explain(err)
	if errors.Is(err, errUnknownDevice) {
		c.self.registered = false // the server lost it; the same record goes in again
	}
	return err
}

type received struct {
	frame *api.ServerFrame
	err   error
}

func listen(ctx context.Context, stream grpc.BidiStreamingClient[api.ClientFrame, api.ServerFrame], frames chan<- received, heard func()) {
	for {
		frame, err := stream.Recv()
		if err == nil {
			heard()
		}
		select {
		case frames <- received{frame, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) serve(ctx context.Context) error {
	for {
		next, err := s.flush(ctx)
		if err != nil {
			return err
		}
		if err := s.step(ctx, next); err != nil {
			return err
		}
	}
}

// step waits for one thing to happen, or for the time next, and deals with it.
func (s *session) step(ctx context.Context, next time.Time) error {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(next.Sub(s.clock()), time.Millisecond))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case in := <-s.frames:
		if in.err != nil {
			return s.lost(in.err)
		}
		return s.handle(ctx, in.frame)
	case <-s.wake:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// flush submits what may go out: one at a time to each device, so that a refusal
// of one never lets a later one pass it. It returns when to look again, zero
// for no time of its own.
func (s *session) flush(ctx context.Context) (next time.Time, err error) {
	heads, err := s.heads(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, w := range heads {
		if _, flies := s.flying[w.device]; flies || s.skipped[w.contact] {
			continue
		}
		if w.due.After(s.clock()) {
			if next.IsZero() || w.due.Before(next) {
				next = w.due
			}
			continue
		}
		ready, err := s.refresh(ctx, w.contact)
		if err != nil {
			return time.Time{}, err
		}
		if !ready {
			continue
		}
		if s.load > 0 && s.load+len(w.payload) > maxFlying {
			return next, nil // the answers make room
		}
		if err := s.stream.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: &api.Submit{
			Id: w.submitID, Recipients: [][]byte{w.device[:]}, Kind: api.Kind_KIND_APPLICATION, Payload: w.payload,
		}}}); err != nil {
			return time.Time{}, s.sendFailed(ctx)
		}
		s.flying[w.device] = flight{w.submitID, len(w.payload)}
		s.load += len(w.payload)
	}
	return next, nil
}

// refresh asks the directory about a contact once in the life of a line, before
// anything goes out to it. It says whether something may.
func (s *session) refresh(ctx context.Context, username identity.Username) (ready bool, err error) {
	if s.isFresh(username) {
		return true, nil
	}
	l, err := s.lookup(ctx, username)
	switch {
	case errors.Is(err, ErrUnknownRecipient):
		// Then the relay says so of each message, which fails for that reason.
		s.setFresh(username)
		return true, nil
	case errors.Is(err, ErrBadDirectory), errors.Is(err, ErrRefused):
		s.log.Warn("the directory's answer is not usable", "error", err)
		s.skipped[username] = true
		return false, nil
	case err != nil:
		return false, err
	}
	var changed *KeyChangedError
	var untrusted *UntrustedError
	_, err = s.learn(ctx, l, s.self.trust)
	switch {
	case errors.As(err, &changed), errors.As(err, &untrusted):
		return false, nil
	case err != nil:
		return false, err
	}
	// What stood in the outbox may be gone with an old key: look again.
	s.wakeOutbox()
	return false, nil
}

// sendFailed finds out why the stream takes nothing any more: Send itself says
// no more than EOF. What else comes in meanwhile is not acknowledged, and so comes
// again.
func (s *session) sendFailed(ctx context.Context) error {
	for {
		select {
		case in := <-s.frames:
			if in.err != nil {
				return s.lost(in.err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) handle(ctx context.Context, frame *api.ServerFrame) error {
	switch f := frame.GetFrame().(type) {
	case *api.ServerFrame_Envelope:
		if err := s.receive(ctx, f.Envelope.GetPayload()); err != nil {
			return err
		}
		ack := &api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: f.Envelope.GetSequence()}}}
		if err := s.stream.Send(ack); err != nil {
			return s.sendFailed(ctx)
		}
		return nil
	case *api.ServerFrame_Accepted:
		if !s.landed(f.Accepted.GetId()) {
			return nil
		}
		return s.settled(ctx, f.Accepted.GetId(), true, "")
	case *api.ServerFrame_Rejected:
		if !s.landed(f.Rejected.GetId()) {
			return nil
		}
		return s.rejected(ctx, f.Rejected)
	case *api.ServerFrame_Drained:
		s.events.publish(CaughtUp{})
	}
	return nil // a frame of a later version
}

// landed tells whether an answer is to something that waits for one.
func (s *session) landed(submitID []byte) bool {
	for device, f := range s.flying {
		if bytes.Equal(f.submitID, submitID) {
			delete(s.flying, device)
			s.load -= f.size
			return true
		}
	}
	return false
}

func (s *session) rejected(ctx context.Context, r *api.Rejected) error {
	if reason, final := finalReasons[r.GetReason()]; final {
		return s.settled(ctx, r.GetId(), false, reason)
	}
	pause := longRetry
	if ms := r.GetRetryAfterMs(); ms < uint64(longRetry.Milliseconds()) {
		pause = max(time.Duration(ms)*time.Millisecond, shortRetry)
	}
	reason := "the server does not take it now"
	if r.GetReason() == api.Reason_REASON_MAILBOX_FULL {
		reason = "the recipient's mailbox is full"
	}
	return s.postponed(ctx, r.GetId(), s.clock().Add(pause), reason+"; it is tried again")
}

var finalReasons = map[api.Reason]string{
	api.Reason_REASON_MALFORMED:         "the server calls it malformed",
	api.Reason_REASON_UNKNOWN_RECIPIENT: "the server does not know the recipient's device any more",
	api.Reason_REASON_TOO_LARGE:         "it is larger than this server takes",
}
