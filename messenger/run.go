package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/mls"
)

// Pauses before the line is tried again.
const (
	firstPause = 250 * time.Millisecond
	longPause  = 30 * time.Second
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

	expired := make(chan error, 1)
	go func() {
		defer cancel()
		expired <- c.keepExpiring(ctx)
	}()
	err := c.keepLine(ctx)
	cancel()
	if failed := <-expired; err == nil {
		err = failed // which is why the line ended
	}
	return err
}

// keepLine is Run but for what needs no line.
func (c *Client) keepLine(ctx context.Context) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.RandomizationFactor = firstPause, longPause, 0.5
	for forgotten := false; ; {
		err := c.session(ctx, pauses.Reset)
		if ctx.Err() != nil {
			c.events.publish(ConnectionChanged{})
			return nil //nolint:nilerr // the line ended because it was to
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

// session is one life of the line. The goroutine that runs it is the only one that
// writes to the stream, and that touches an MLS group.
type session struct {
	*Client
	stream   api.DeliveryStream
	frames   <-chan received
	flying   map[int64]flight           // what waits for an answer, by queue
	asking   map[string][]byte          // unknown groups whose members are asked, by submit id
	load     int                        // bytes of payload in flying
	skipped  map[identity.Username]bool // about whom the directory gave no usable answer
	cursor   uint64                     // the last envelope that was taken in
	deferred []*api.Envelope            // what waits until the relay has decided about a commit of ours
	drained  bool                       // what waited at the relay has come
	caughtUp bool                       // and was taken in
	tendAt   time.Time
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
	s := &session{Client: c, flying: make(map[int64]flight), asking: make(map[string][]byte), skipped: make(map[identity.Username]bool)}
	if err := c.store.reader.QueryRowContext(ctx, "SELECT cursor FROM profile").Scan(&s.cursor); err != nil {
		return c.storeFailure(ctx, err)
	}
	stream, err := api.Connect(ctx, conn)
	if err != nil {
		return c.lost(err)
	}
	frames := make(chan received)
	s.stream, s.frames = stream, frames
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

func listen(ctx context.Context, stream api.DeliveryStream, frames chan<- received, heard func()) {
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
	if err := s.welcome(ctx); err != nil {
		return err
	}
	s.events.publish(ConnectionChanged{Online: true})
	for {
		next, err := s.work(ctx)
		if err != nil {
			return err
		}
		if err := s.step(ctx, next); err != nil {
			return err
		}
	}
}

// welcome takes the first frame of the line, in which the relay says what it
// remembers of this device.
func (s *session) welcome(ctx context.Context) error {
	select {
	case in := <-s.frames:
		if in.err != nil {
			return s.lost(in.err)
		}
		hello := in.frame.GetHello()
		if hello == nil {
			return fmt.Errorf("%w: it does not greet", ErrServerUnavailable)
		}
		return s.greeted(ctx, hello.GetAcked(), hello.GetLastSubmit(), hello.GetKeyPackages())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work does everything that can be done now, and returns when to look again.
func (s *session) work(ctx context.Context) (next time.Time, err error) {
	for _, take := range []func(context.Context) (bool, error){s.takeHeld, s.takeStrays} {
		for some := true; some; {
			if some, err = take(ctx); err != nil {
				return next, err
			}
		}
	}
	for _, look := range []func(context.Context) (time.Time, error){s.tend, s.flush} {
		at, err := look(ctx)
		if err != nil {
			return next, err
		}
		next = earlier(next, at)
	}
	return next, nil
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
		s.deferred = append(s.deferred, f.Envelope)
		return s.takeDeferred(ctx)
	case *api.ServerFrame_Accepted:
		flown, waits := s.landed(f.Accepted.GetId())
		if !waits {
			return s.asked(ctx, f.Accepted.GetId(), api.Reason_REASON_UNSPECIFIED)
		}
		if err := s.accepted(ctx, flown); err != nil {
			return err
		}
		return s.takeDeferred(ctx)
	case *api.ServerFrame_Rejected:
		flown, waits := s.landed(f.Rejected.GetId())
		if !waits {
			return s.asked(ctx, f.Rejected.GetId(), f.Rejected.GetReason())
		}
		if err := s.rejected(ctx, flown, f.Rejected); err != nil {
			return err
		}
		return s.takeDeferred(ctx)
	case *api.ServerFrame_Drained:
		s.drained, s.tendAt = true, time.Time{} // what others wait for can be told now
		return s.takeDeferred(ctx)
	}
	return nil // a frame of a later version
}

// maxSequence is the greatest sequence number that a relay gives.
const maxSequence = 1<<63 - 1

// takeDeferred takes in what came, in order, up to what depends on a commit of ours
// about which the relay has not said whether it took it.
func (s *session) takeDeferred(ctx context.Context) error {
	for len(s.deferred) > 0 {
		envelope := s.deferred[0]
		if envelope.GetSequence() > maxSequence {
			return fmt.Errorf("%w: it numbers what it delivers beyond all bounds", ErrServerUnavailable)
		}
		waits, err := s.dependsOnCommit(ctx, envelope)
		if err != nil || waits {
			return err
		}
		s.deferred = s.deferred[1:]
		in := incoming{
			kind: envelope.GetKind(), payload: envelope.GetPayload(), group: envelope.GetGroup(),
			listHash: envelope.GetListHash(), sequence: envelope.GetSequence(),
		}
		if err := s.receive(ctx, in); err != nil {
			return err
		}
		ack := &api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: in.sequence}}}
		if err := s.stream.Send(ack); err != nil {
			return s.sendFailed(ctx)
		}
	}
	if s.drained && !s.caughtUp {
		s.caughtUp = true
		s.events.publish(CaughtUp{})
	}
	return nil
}

// dependsOnCommit says whether an envelope is of an epoch that a commit of ours
// begins, if the relay took it: then its answer is on the way. A commit that was
// submitted on an earlier line is submitted again first.
func (s *session) dependsOnCommit(ctx context.Context, envelope *api.Envelope) (bool, error) {
	switch envelope.GetKind() {
	case api.Kind_KIND_APPLICATION, api.Kind_KIND_HANDSHAKE:
	default:
		return false, nil
	}
	var (
		id    int64
		epoch uint64
	)
	err := s.store.reader.QueryRowContext(ctx, `
		SELECT g.id, g.epoch FROM groups g JOIN outbox o ON o.grp = g.id
		WHERE g.group_id = ? AND o.members IS NOT NULL AND o.sealed IS NOT NULL AND o.kind = ?`,
		envelope.GetGroup(), int(entryAction)).Scan(&id, &epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, s.storeFailure(ctx, err)
	}
	m, err := mls.ParseMessage(envelope.GetPayload())
	if err != nil || m.PrivateMessage == nil {
		return false, nil //nolint:nilerr // it is put aside when its turn comes
	}
	return m.PrivateMessage.Epoch() > epoch, nil
}
