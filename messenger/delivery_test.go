package messenger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sealpost/api"
	"sealpost/identity"
)

func numbered(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("message %d", i)
	}
	return texts
}

func wantRows(t *testing.T, p, with *person, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.rows(with)); diff != "" {
		t.Error(diff)
	}
}

func TestOfflineDeliveryInOrder(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.online()
	texts := numbered(25)
	var last MessageID
	for _, text := range texts {
		last = alice.send(bob, text)
	}
	alice.await(last, Accepted)
	bob.online()
	alice.await(last, Delivered)
	wantRows(t, bob, alice, texts...)
	bob.await(bob.send(alice, "all of them"), Delivered)
	wantRows(t, alice, bob, append(texts, "all of them")...)
	relay.awaitEmpty(t, alice.Self().DeviceID)
	relay.awaitEmpty(t, bob.Self().DeviceID)
}

func TestSendNeedsNoLineToAKnownContact(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	first := alice.send(bob, "one") // the first contact asks by itself, without Run
	relay.stop()
	alice.restart()
	second := alice.send(bob, "two")
	if _, err := alice.Send(testContext(t), "stranger", "hi"); !errors.Is(err, ErrServerUnavailable) {
		t.Errorf("writing to a stranger: %v", err)
	}
	alice.online()
	if e := awaitEvent[ConnectionChanged](alice); e.Online || !errors.Is(e.Err, ErrServerUnavailable) {
		t.Errorf("got %+v", e)
	}
	relay.start(t)
	bob.online()
	alice.await(first, Delivered)
	alice.await(second, Delivered)
	wantRows(t, bob, alice, "one", "two")
}

// A line that breaks after the relay took a message and before it said so makes
// the client submit the same bytes under the same id.
func TestLostAnswerIsRepeatedNotDoubled(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	breaks := 2
	relay.dropReply = func(s *api.Submit) bool {
		if identity.DeviceID(s.GetRecipients()[0]) != bob.Self().DeviceID {
			return false
		}
		breaks--
		return breaks >= 0
	}
	alice.online()
	id := alice.send(bob, "once")
	alice.await(id, Accepted)
	bob.online()
	alice.await(id, Delivered)
	wantRows(t, bob, alice, "once")
	submits := make(map[string][]string)
	for _, s := range relay.submits {
		submits[string(s.GetId())] = append(submits[string(s.GetId())], string(s.GetPayload()))
	}
	for _, payloads := range submits {
		for _, payload := range payloads[1:] {
			if payload != payloads[0] {
				t.Error("a repeat has other bytes")
			}
		}
	}
	if len(submits) != 2 || len(relay.submits) != 4 {
		t.Errorf("%d submits of %d messages, want 4 of 2", len(relay.submits), len(submits))
	}
}

func TestRelayRepeatsEnvelopes(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	bob.online()
	alice.online()
	id := alice.send(bob, "once")
	alice.await(id, Delivered)
	payload := relay.taken(bob.Self().DeviceID)[0]
	relay.inject(bob.Self().DeviceID, payload, payload)
	relay.awaitEmpty(t, bob.Self().DeviceID)
	bob.offline()
	bob.restart()
	bob.online()
	relay.inject(bob.Self().DeviceID, payload)
	relay.awaitEmpty(t, bob.Self().DeviceID)
	wantRows(t, bob, alice, "once")
	if q := bob.quarantine(); len(q) != 0 {
		t.Errorf("put aside: %v", q)
	}
	if n := len(relay.taken(alice.Self().DeviceID)); n != 1 {
		t.Errorf("%d receipts for one message", n)
	}
}

func TestFullMailboxKeepsTheQueueInOrder(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob, carol := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU), newPerson(t, relay, "carol", TrustTOFU)
	full := true
	relay.reject = func(s *api.Submit) *api.Rejected {
		if full && identity.DeviceID(s.GetRecipients()[0]) == bob.Self().DeviceID {
			return &api.Rejected{Reason: api.Reason_REASON_MAILBOX_FULL, RetryAfterMs: 1}
		}
		return nil
	}
	alice.online()
	first := alice.send(bob, "one")
	if e := awaitEvent[StateChanged](alice); e.ID != first || e.State != Queued || !strings.Contains(e.Reason, "full") {
		t.Errorf("got %+v", e)
	}
	second := alice.send(bob, "two")
	alice.await(alice.send(carol, "meanwhile"), Accepted)
	relay.set(func() { full = false })
	bob.online()
	alice.await(second, Delivered)
	alice.await(first, Delivered)
	wantRows(t, bob, alice, "one", "two")
}

func TestFinalRefusalFailsTheMessage(t *testing.T) {
	for reason, want := range finalReasons {
		t.Run(reason.String(), func(t *testing.T) {
			relay := newFakeRelay(t)
			alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
			refusals := 1
			relay.reject = func(*api.Submit) *api.Rejected {
				refusals--
				if refusals >= 0 {
					return &api.Rejected{Reason: reason}
				}
				return nil
			}
			alice.online()
			id := alice.send(bob, "refused")
			if failed := wantError[*FailedError](t, alice.Wait(testContext(t), id, Accepted)); failed.ID != id || failed.Reason != want {
				t.Errorf("got %+v", failed)
			}
			bob.online()
			alice.await(alice.send(bob, "taken"), Delivered)
			wantRows(t, bob, alice, "[gap 1]", "taken")
		})
	}
}

func TestSendRefuses(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	send := func(to identity.Username, text string) error {
		_, err := alice.Send(testContext(t), to, text)
		return err
	}
	if large := wantError[*TooLargeError](t, send("bob", strings.Repeat("x", 2<<20))); large.Size != 2<<20 || large.Limit != MaxTextLen {
		t.Errorf("got %+v", large)
	}
	for name, test := range map[string]struct{ got, want error }{
		"empty":   {send("bob", ""), ErrText},
		"bytes":   {send("bob", "\xff"), ErrText},
		"self":    {send("alice", "hi"), ErrSelf},
		"unknown": {send("nobody", "hi"), ErrUnknownRecipient},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: got %v", name, test.got)
		}
	}
	if contacts, err := alice.Contacts(testContext(t)); err != nil || len(contacts) != 0 {
		t.Errorf("refusals left %v, %v", contacts, err)
	}
	alice.send(bob, strings.Repeat("x", MaxTextLen))
}

func TestEveryDeviceOfTheAccountGetsItsOwn(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	second := bob.secondDevice(relay)
	alice.online()
	alice.await(alice.send(bob, "to both"), Accepted)
	o, err := second.Open(relay.taken(second.record.Certificate.DeviceID)[0])
	if err != nil || string(o.body) != "to both" || o.counter != 1 {
		t.Errorf("the second device opens %q, %v", o.body, err)
	}
	bob.online()
	reply, err := second.Seal(alice.record(), content{kind: contentText, id: newMessageID(), counter: 1, time: testTime, body: []byte("from the second")})
	if err != nil {
		t.Fatal(err)
	}
	relay.inject(alice.Self().DeviceID, reply)
	awaitEvent[MessageReceived](alice)
	wantRows(t, alice, bob, "to both", "from the second")
}

func TestRunEndsWhenReplaced(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan error, 1)
	go func() { first <- alice.Run(ctx) }()
	if e := awaitEvent[ConnectionChanged](alice); !e.Online {
		t.Fatalf("got %+v", e)
	}
	if err := alice.Run(ctx); !errors.Is(err, ErrRunning) {
		t.Errorf("running twice: %v", err)
	}
	alice.await(alice.send(bob, "the relay has this line"), Accepted)
	conn, err := alice.line.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := api.NewDeliveryClient(conn).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-first; !errors.Is(err, ErrReplaced) {
		t.Errorf("got %v", err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestWaitEnds(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	id := alice.send(bob, "stays here")
	if err := alice.Wait(testContext(t), newMessageID(), Accepted); !errors.Is(err, ErrUnknownMessage) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := alice.Wait(ctx, id, Accepted); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- alice.Wait(context.Background(), id, Accepted) }()
	alice.stop()
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := alice.Send(testContext(t), "bob", "hi"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := alice.Run(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestUnreadUntilMarked(t *testing.T) {
	relay := newFakeRelay(t)
	alice, bob := newPerson(t, relay, "alice", TrustTOFU), newPerson(t, relay, "bob", TrustTOFU)
	alice.online()
	bob.online()
	for _, text := range []string{"one", "two"} {
		alice.await(alice.send(bob, text), Delivered)
	}
	unread, err := bob.Unread(testContext(t))
	if err != nil || len(unread) != 2 || unread[0].Text != "one" || unread[0].Read {
		t.Fatalf("got %v, %v", unread, err)
	}
	if err := bob.MarkRead(testContext(t), unread[0].Row); err != nil {
		t.Fatal(err)
	}
	unread, err = bob.Unread(testContext(t))
	if err != nil || len(unread) != 1 || unread[0].Text != "two" {
		t.Errorf("got %v, %v", unread, err)
	}
	last, err := bob.Messages(testContext(t), "alice", 1)
	if err != nil || len(last) != 1 || last[0].Text != "two" {
		t.Errorf("got %v, %v", last, err)
	}
}

func TestSlowSubscriberIsTold(t *testing.T) {
	var s subscribers
	ctx, cancel := context.WithCancel(context.Background())
	events := s.add(ctx)
	for range 3 * eventBuffer {
		s.publish(ConnectionChanged{Online: true})
	}
	for i := range eventBuffer {
		if _, ok := (<-events).(ConnectionChanged); !ok {
			t.Fatalf("event %d is another", i)
		}
	}
	if _, ok := (<-events).(Lagged); !ok {
		t.Error("nothing says that events are missing")
	}
	s.publish(ConnectionChanged{})
	if e, ok := (<-events).(ConnectionChanged); !ok || e.Online {
		t.Errorf("got %+v", e)
	}
	cancel()
	timeout := time.After(testTimeout)
	select {
	case _, open := <-events:
		if open {
			t.Error("an event out of nowhere")
		}
	case <-timeout:
		t.Error("the channel stays open")
	}
}
