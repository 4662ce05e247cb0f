package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/relay"
)

func TestSubmitReachesConnectedAndAbsentDevices(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob, carol := r.registered("alice"), r.registered("bob"), r.registered("carol")
	a, b := alice.connect(), bob.connect()
	a.accepted(submit("one", bob, carol))
	a.accepted(submit("two", bob))
	b.envelope("one")
	b.envelope("two")
	carol.connect().envelope("one")
}

func TestRepeatedSubmitDeliversOnce(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	first := submit("one", bob)
	a.accepted(first)
	a.accepted(first)
	alice.connect().accepted(first)
	b.envelope("one")
	alice.connect().accepted(submit("two", bob))
	b.envelope("two")
}

func TestAckedEnvelopesAreGone(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	for _, text := range []string{"one", "two", "three"} {
		a.accepted(submit(text, bob))
	}
	b.envelope("one")
	second := b.envelope("two")
	b.envelope("three")
	b.ack(second)
	b.settled()
	if third := bob.connect().envelope("three"); third <= second {
		t.Fatalf("sequence %d after %d", third, second)
	}
}

// TestUnackedEnvelopesComeAgain checks that receiving is not processing.
func TestUnackedEnvelopesComeAgain(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	alice.connect().accepted(submit("one", bob))
	first := bob.connect().envelope("one")
	if again := bob.connect().envelope("one"); again != first {
		t.Fatalf("sequence %d, then %d", first, again)
	}
}

func TestMalformedFrames(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	for name, change := range map[string]func(*api.Submit){
		"no recipients":     func(s *api.Submit) { s.Recipients = nil },
		"twice the same":    func(s *api.Submit) { s.Recipients = append(s.Recipients, s.Recipients[0]) },
		"a short recipient": func(s *api.Submit) { s.Recipients[0] = s.Recipients[0][:15] },
		"no kind":           func(s *api.Submit) { s.Kind = api.Kind_KIND_UNSPECIFIED },
		"unknown kind":      func(s *api.Submit) { s.Kind = 77 },
		"no payload":        func(s *api.Submit) { s.Payload = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := submit("one", bob)
			change(s)
			alice.connect().rejected(s, api.Reason_REASON_MALFORMED)
		})
	}
	for name, frame := range map[string]*api.ClientFrame{
		"an empty frame":       {},
		"a short id":           {Frame: &api.ClientFrame_Submit{Submit: &api.Submit{Id: make([]byte, 15)}}},
		"an empty submit":      {Frame: &api.ClientFrame_Submit{}},
		"an impossible number": {Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: relay.MaxSequence + 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := alice.connect()
			if err := l.Send(frame); err != nil {
				t.Fatal(err)
			}
			l.ends(api.Reason_REASON_MALFORMED)
		})
	}
	bob.mailbox(alice, func(e *api.Envelope) { t.Errorf("%q was delivered", e.GetPayload()) })
}

func TestSizeLimits(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	limits := relay.DefaultLimits()
	a, b := alice.connect(), bob.connect()
	many := submit("to too many", bob)
	for i := range limits.Recipients {
		many.Recipients = append(many.Recipients, fmt.Appendf(nil, "%016d", i))
	}
	a.rejected(many, api.Reason_REASON_TOO_LARGE)
	for _, test := range []struct {
		kind api.Kind
		max  int
	}{{api.Kind_KIND_APPLICATION, limits.MaxMessage}, {api.Kind_KIND_HANDSHAKE, limits.MaxHandshake}} {
		s := submit(strings.Repeat("x", test.max), bob)
		s.Kind = test.kind
		a.accepted(s)
		b.envelope(string(s.Payload))
		s = submit(strings.Repeat("x", test.max+1), bob)
		s.Kind = test.kind
		a.rejected(s, api.Reason_REASON_TOO_LARGE)
	}
	a.submit(submit(strings.Repeat("x", 5<<20), bob)) // over every limit: the transport refuses
	if _, err := a.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
}

func TestFanOutIsAtomic(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.MailboxRows = 1 })
	alice, bob, carol := r.registered("alice"), r.registered("bob"), r.registered("carol")
	stranger := r.unregistered("stranger")
	a, c := alice.connect(), carol.connect()
	a.rejected(submit("one", carol, stranger), api.Reason_REASON_UNKNOWN_RECIPIENT)
	a.accepted(submit("fills it", bob))
	a.rejected(submit("two", carol, bob), api.Reason_REASON_MAILBOX_FULL)
	a.accepted(submit("three", carol))
	c.envelope("three")
}

func TestFullMailboxTellsWhenToTryAgain(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.MailboxRows = 1 })
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	a.accepted(submit("one", bob))
	again := submit("two", bob)
	a.submit(again)
	id := bob.id()
	if rejected := a.receive().GetRejected(); rejected.GetReason() != api.Reason_REASON_MAILBOX_FULL || rejected.GetRetryAfterMs() == 0 || !bytes.Equal(rejected.GetDevice(), id[:]) {
		t.Fatalf("got %v", rejected)
	}
	b.ack(b.envelope("one"))
	// Acknowledgements are written together, a moment later.
	for {
		a.submit(again)
		frame := a.receive()
		if frame.GetAccepted() != nil {
			break
		}
		if frame.GetRejected().GetReason() != api.Reason_REASON_MAILBOX_FULL {
			t.Fatalf("got %v", frame)
		}
	}
	b.envelope("two")
}

// TestSlowReader fills a mailbox many times over what a line and the transport
// hold in memory, while its device is connected and does not read.
func TestSlowReader(t *testing.T) {
	const messages, size = 400, 8 << 10
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	padding := strings.Repeat(".", size)
	for i := range messages {
		a.accepted(submit(fmt.Sprint(i, padding), bob))
	}
	for i := range messages {
		b.envelope(fmt.Sprint(i, padding))
	}
	a.accepted(submit("and on", bob))
	b.envelope("and on")
}

func TestNewLineReplacesTheOld(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	old := bob.connect()
	old.settled()
	fresh := bob.connect()
	old.ends(api.Reason_REASON_REPLACED)
	alice.connect().accepted(submit("one", bob))
	fresh.envelope("one")
}

func TestRetention(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a := alice.connect()
	a.accepted(submit("old", bob))
	r.clock.move(relay.DefaultLimits().Retention)
	a.accepted(submit("new", bob))
	r.Sweep(t.Context())
	bob.connect().envelope("old") // exactly 30 days are not over 30 days
	r.clock.move(time.Second)
	r.Sweep(t.Context())
	bob.connect().envelope("new")
}

func TestShutdownTellsLinesAndKeepsWhatItTook(t *testing.T) {
	dir := t.TempDir()
	r := startRelay(t, dir, nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	b.settled()
	submits := make(map[string]*api.Submit)
	for i := range 500 {
		s := submit(fmt.Sprint(i), bob)
		submits[string(s.Id)] = s
		a.submit(s)
	}
	accepted := make(map[string]bool)
	accepted[string(a.receive().GetAccepted().GetId())] = true
	go r.stop()
	for {
		frame, err := a.Recv()
		if err != nil {
			wantReason(t, err, api.Reason_REASON_SHUTDOWN)
			break
		}
		accepted[string(frame.GetAccepted().GetId())] = true
	}
	b.ends(api.Reason_REASON_SHUTDOWN)
	r.stop()

	r = startRelay(t, dir, nil)
	alice.dial(r)
	bob.dial(r)
	bob.mailbox(alice, func(e *api.Envelope) {
		for id := range accepted {
			if string(submits[id].Payload) == string(e.Payload) {
				delete(accepted, id)
			}
		}
	})
	if len(accepted) > 0 {
		t.Fatalf("%d accepted messages are gone", len(accepted))
	}
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	b.settled()
	a.submit(submit("one", bob))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestRestartWithTheSameData(t *testing.T) {
	dir := t.TempDir()
	r := startRelay(t, dir, nil)
	id := r.ID()
	alice, bob := r.registered("alice"), r.registered("bob")
	first := submit("one", bob)
	alice.connect().accepted(first)
	r.stop()

	r = startRelay(t, dir, nil)
	if r.ID() != id {
		t.Fatal("the server has another identity")
	}
	alice.dial(r)
	bob.dial(r)
	a, b := alice.connect(), bob.connect()
	a.accepted(first)
	a.accepted(submit("two", bob))
	b.envelope("one")
	b.envelope("two")
	if records, err := alice.lookup("bob"); err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
}
