package messenger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
)

// A relay forgets groups in which nobody writes for very long.
func TestForgottenGroup(t *testing.T) {
	relay, alice, bob, in := couple(t)
	relay.stop()
	relay.change("UPDATE mls_group SET used_at = 0")
	relay.start() // which deletes what is due
	first := alice.send(bob, "long time no see")
	alice.await(first, Delivered)
	bob.await(bob.send(alice, "indeed"), Delivered)
	wantRows(t, bob, in, "hello", "long time no see", "indeed")
	if n := alice.count("SELECT count(*) FROM groups"); n != 1 {
		t.Errorf("%d groups were needed", n)
	}
}

// What cannot make a forgotten group known again does not keep back what can: taking
// somebody in again is not believed without the delivery list.
func TestForgottenGroupBeforeARenewal(t *testing.T) {
	relay, alice, bob, in := couple(t)
	relay.stop()
	relay.change("UPDATE mls_group SET used_at = 0")
	err := alice.commit(testContext(t), func(u *unit) error {
		var conversation int64
		renewal := action{Op: opRenew}
		if err := u.QueryRowContext(u, `SELECT g.conversation, m.device_id, m.since FROM members m JOIN groups g ON g.id = m.grp
			WHERE m.username = ?`, bob.name()).Scan(&conversation, &renewal.Device, &renewal.Since); err != nil {
			return err
		}
		return enqueueOnce(u, conversation, renewal, time.Time{})
	})
	if err != nil {
		t.Fatal(err)
	}
	relay.start()
	alice.until("bob is taken in again", func() bool { return alice.count("SELECT count(*) FROM outbox") == 0 })
	alice.await(alice.send(bob, "long time no see"), Delivered)
	wantRows(t, bob, in, "hello", "long time no see")
	if n := alice.count("SELECT count(*) FROM groups"); n != 1 {
		t.Errorf("%d groups were needed", n)
	}
}

func TestOfflineDeliveryInOrder(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	alice.online()
	texts := numbered(25)
	var last MessageID
	for _, text := range texts {
		last = alice.send(bob, text)
	}
	alice.await(last, Accepted)
	bob.online()
	alice.await(last, Delivered)
	wantRows(t, bob, in, texts...)
	bob.await(bob.send(alice, "all of them"), Delivered)
	wantRows(t, alice, in, append(texts, "all of them")...)
	relay.awaitAcked(t, alice)
	relay.awaitAcked(t, bob)
}

func TestSendNeedsNoLineToAKnownContact(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	first := alice.send(bob, "one")
	relay.stop()
	alice.restart()
	second := alice.send(bob, "two")
	if _, err := alice.Direct(testContext(t), "stranger"); !errors.Is(err, ErrServerUnavailable) {
		t.Errorf("writing to a stranger: %v", err)
	}
	alice.online()
	if e := awaitEvent[ConnectionChanged](alice); e.Online || !errors.Is(e.Err, ErrServerUnavailable) {
		t.Errorf("got %+v", e)
	}
	relay.start()
	bob.online()
	alice.await(first, Delivered)
	alice.await(second, Delivered)
	wantRows(t, bob, in, "one", "two")
}

// A line that breaks after the relay took something and before it said so makes
// the client submit the same bytes under the same id.
func TestLostAnswerIsRepeatedNotDoubled(t *testing.T) {
	for _, kind := range []api.Kind{api.Kind_KIND_HANDSHAKE, api.Kind_KIND_APPLICATION} {
		t.Run(kind.String(), func(t *testing.T) {
			relay := newRealRelay(t)
			alice, bob := relay.person("alice"), relay.person("bob")
			befriend(alice, bob)
			breaks := 2
			relay.dropReply = func(s *api.Submit) bool {
				if s.GetKind() != kind {
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
			wantRows(t, bob, alice.direct(bob), "once")
			repeats := make(map[string]int)
			first := make(map[string]*api.Submit)
			for _, s := range relay.submitted(kind) {
				id := string(s.GetId())
				if first[id] == nil {
					first[id] = s
				}
				if !bytes.Equal(s.GetPayload(), first[id].GetPayload()) || !bytes.Equal(s.GetCommit().GetWelcome(), first[id].GetCommit().GetWelcome()) {
					t.Error("a repeat has other bytes")
				}
				repeats[id]++
			}
			most := 0
			for _, n := range repeats {
				most = max(most, n)
			}
			if most != 3 {
				t.Errorf("it was submitted %d times, want 3", most)
			}
		})
	}
}

func TestRelayRepeatsEnvelopes(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	in := alice.direct(bob)
	alice.await(alice.send(bob, "once"), Delivered)
	var all []*api.Envelope
	for _, kind := range []api.Kind{api.Kind_KIND_WELCOME, api.Kind_KIND_APPLICATION} {
		all = append(all, relay.deliveredTo(bob, kind)...)
	}
	relay.inject(t, bob, slices.Concat(all, all)...)
	bob.offline()
	bob.restart()
	bob.online()
	alice.await(alice.send(bob, "twice"), Delivered)
	relay.inject(t, bob, all...)
	wantRows(t, bob, in, "once", "twice")
	aside := bob.quarantine()
	if len(aside) != len(all) {
		t.Errorf("%d of %d put aside", len(aside), len(all))
	}
	for _, q := range aside {
		if q.Reason != string(errAgain) && q.Reason != string(errNoWelcome) {
			t.Errorf("got %+v", q)
		}
	}
	bob.await(bob.send(alice, "still here"), Delivered)
}

func TestFullMailboxKeepsTheQueueInOrder(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob", "carol")
	alice, bob, carol := people[0], people[1], people[2]
	befriend(alice, bob)
	befriend(alice, carol)
	in := alice.direct(bob)
	alice.await(alice.send(bob, "hello"), Delivered)
	var group []byte
	for _, s := range relay.submitted(api.Kind_KIND_APPLICATION) {
		group = s.GetGroup().GetId()
	}
	full := true
	relay.set(func() {
		relay.reject = func(s *api.Submit) *api.Rejected {
			if full && s.GetKind() == api.Kind_KIND_APPLICATION && bytes.Equal(s.GetGroup().GetId(), group) {
				return &api.Rejected{Reason: api.Reason_REASON_MAILBOX_FULL, RetryAfterMs: 1}
			}
			return nil
		}
	})
	first := alice.send(bob, "one")
	for e := awaitEvent[StateChanged](alice); ; e = awaitEvent[StateChanged](alice) {
		if e.ID == first {
			if e.State != Queued || !strings.Contains(e.Reason, "full") {
				t.Errorf("got %+v", e)
			}
			break
		}
	}
	second := alice.send(bob, "two")
	alice.await(alice.send(carol, "meanwhile"), Accepted)
	relay.set(func() { full = false })
	alice.await(second, Delivered)
	alice.await(first, Delivered)
	wantRows(t, bob, in, "hello", "one", "two")
}

func TestFinalRefusalFailsTheMessage(t *testing.T) {
	for reason, want := range finalReasons {
		t.Run(reason.String(), func(t *testing.T) {
			relay := newRealRelay(t)
			people := relay.online("alice", "bob")
			alice, bob := people[0], people[1]
			befriend(alice, bob)
			alice.await(alice.send(bob, "first"), Delivered)
			refusals := 1
			relay.set(func() {
				relay.reject = func(s *api.Submit) *api.Rejected {
					if s.GetKind() != api.Kind_KIND_APPLICATION {
						return nil
					}
					refusals--
					if refusals >= 0 {
						return &api.Rejected{Reason: reason}
					}
					return nil
				}
			})
			id := alice.send(bob, "refused")
			if failed := wantError[*FailedError](t, alice.Wait(testContext(t), id, Accepted)); failed.ID != id || failed.Reason != want {
				t.Errorf("got %+v", failed)
			}
			alice.await(alice.send(bob, "taken"), Delivered)
			wantRows(t, bob, alice.direct(bob), "first", "[gap 1]", "taken")
			if err := alice.Retry(testContext(t), id); err != nil {
				t.Fatal(err)
			}
			alice.await(id, Delivered)
			if got := bob.texts(alice.direct(bob)); !slices.Contains(got, "refused") {
				t.Errorf("after another try, bob has %q", got)
			}
			if err := alice.Retry(testContext(t), id); !errors.Is(err, ErrNotFailed) {
				t.Errorf("trying what arrived: %v", err)
			}
		})
	}
}

func TestSendRefuses(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	in := alice.direct(bob)
	send := func(in ConversationID, text string, options ...SendOption) error {
		_, err := alice.Send(testContext(t), in, text, options...)
		return err
	}
	direct := func(with identity.Username) error {
		_, err := alice.Direct(testContext(t), with)
		return err
	}
	group := func(name string) error {
		_, err := alice.CreateGroup(testContext(t), name, nil)
		return err
	}
	if large := wantError[*TooLargeError](t, send(in, strings.Repeat("x", 2<<20))); large.Size != 2<<20 || large.Limit != MaxTextLen {
		t.Errorf("got %+v", large)
	}
	for name, test := range map[string]struct{ got, want error }{
		"empty":        {send(in, ""), ErrText},
		"bytes":        {send(in, "\xff"), ErrText},
		"nameless":     {group(""), ErrGroupName},
		"two lines":    {group("a\nb"), ErrGroupName},
		"an escape":    {group("a\x1b[2Jb"), ErrGroupName},
		"a separator":  {group("a\u2028b"), ErrGroupName},
		"spaces":       {group(" a"), ErrGroupName},
		"a long name":  {group(strings.Repeat("a", MaxNameLen+1)), ErrGroupName},
		"far off":      {alice.SetExpiry(testContext(t), in, 400*24*time.Hour), ErrExpiry},
		"nowhere":      {send(ConversationID{1}, "hi"), ErrUnknownConversation},
		"no such text": {send(in, "hi", ReplyTo(MessageID{1})), ErrUnknownMessage},
		"self":         {direct("alice"), ErrSelf},
		"unknown":      {direct("nobody"), ErrUnknownRecipient},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: got %v", name, test.got)
		}
	}
	if contacts, err := alice.Contacts(testContext(t)); err != nil || len(contacts) != 1 {
		t.Errorf("refusals left %v, %v", contacts, err)
	}
	wantRows(t, alice, in)
	alice.send(bob, strings.Repeat("x", MaxTextLen))
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
	stream, err := api.Connect(ctx, conn)
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
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	in := alice.direct(bob)
	id := alice.send(bob, "stays here")
	if err := alice.Wait(testContext(t), MessageID{1}, Accepted); !errors.Is(err, ErrUnknownMessage) {
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
	if _, err := alice.Send(testContext(t), in, "hi"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := alice.Run(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestUnreadUntilMarked(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	in := alice.direct(bob)
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
	if err != nil || len(unread) != 1 || unread[0].Text != "two" || bob.conversation(in).Unread != 1 {
		t.Errorf("got %v, %v", unread, err)
	}
	last, err := bob.Messages(testContext(t), in, 1)
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

// What an event tells of is on disk when it comes, in the order in which it was
// stored.
func TestEventsComeInOrderAfterTheDisk(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	texts := numbered(10)
	for _, text := range texts {
		alice.send(bob, text)
	}
	for i, want := range texts {
		got := awaitEvent[MessageReceived](bob).Message
		if got.Text != want {
			t.Errorf("event %d tells of %q", i, got.Text)
		}
		if stored, err := bob.Message(testContext(t), got.ID); err != nil || stored.Text != want {
			t.Errorf("event %d came before the disk: %v, %v", i, stored, err)
		}
	}
}

// A relay may have more to hand out than the line holds, while it takes no more
// submits until its answers are read: a client that sends without reading would
// wait for the relay, and the relay for the client.
func TestFullLineInBothDirectionsGoesOn(t *testing.T) {
	relay := newRealRelay(t)
	alice := relay.person("alice")
	var sent []MessageID
	alice.online()
	for i := range 4 {
		friend := relay.person(identity.Username(fmt.Sprint("friend", i)))
		alice.await(alice.send(friend, "hello"), Accepted)
		sent = append(sent, alice.send(friend, strings.Repeat("x", MaxTextLen)))
	}
	const junk = 4 << 20 // eight of them are more than any window of gRPC
	var all []*api.Envelope
	for i := range 8 {
		all = append(all, &api.Envelope{Kind: api.Kind_KIND_HANDSHAKE, Payload: bytes.Repeat([]byte{byte(i)}, junk), Group: []byte("made up")})
	}
	relay.inject(t, alice, all...)
	for _, id := range sent {
		alice.await(id, Accepted)
	}
}

// While a submit is on its way, accepting another key takes its entry out of the
// outbox; the answer to it then changes nothing.
func TestAnswerToWhatLeftTheOutbox(t *testing.T) {
	alice := newRealRelay(t).person("alice")
	s := &session{Client: alice.Client}
	f := flight{submitID: make([]byte, api.SubmitIDSize)}
	if err := s.accepted(testContext(t), f); err != nil {
		t.Error(err)
	}
	for _, reason := range []api.Reason{api.Reason_REASON_MAILBOX_FULL, api.Reason_REASON_TOO_LARGE, api.Reason_REASON_STALE_EPOCH} {
		if err := s.rejected(testContext(t), f, &api.Rejected{Reason: reason, RetryAfterMs: 1}); err != nil {
			t.Errorf("%v: %v", reason, err)
		}
	}
}

// TestTooOften: a limit of the server is told as what it is, not as a server that is gone.
func TestTooOften(t *testing.T) {
	relay := newRealRelay(t)
	relay.stop()
	relay.limits.DeviceLookups = 1
	relay.start()
	alice := relay.person("alice")
	relay.person("bob")
	relay.person("carol")
	if _, err := alice.Direct(testContext(t), "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Direct(testContext(t), "carol"); !errors.Is(err, ErrTooOften) || !errors.Is(err, ErrServerUnavailable) ||
		!strings.Contains(err.Error(), "asked again in 59m") && !strings.Contains(err.Error(), "asked again in 1h0m0s") {
		t.Errorf("got %v", err)
	}
}
