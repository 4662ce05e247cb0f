package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
)

// newStage returns a real relay under our control, with Alice and Bob on line.
func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageWithLog(t, nil)
}

func newStageWithLog(t *testing.T, log *slog.Logger) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir(), log: log}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
	})
	if err := s.openRelay(); err != nil {
		t.Fatal(err)
	}
	s.alice, s.bob = newPlayer(t, s, Alice, "alice"), newPlayer(t, s, Bob, "bob")
	return s
}

func newPlayer(t *testing.T, s *stage, party Party, username identity.Username) *player {
	t.Helper()
	p, err := s.enter(t.Context(), party, username)
	if err != nil {
		t.Fatal(err)
	}
	online(t, p)
	return p
}

// online connects a player to the relay and waits until the line is up.
func online(t *testing.T, p *player) {
	t.Helper()
	p.goOnline(context.WithoutCancel(t.Context()))
	if _, err := await(p, func(e messenger.ConnectionChanged) bool { return e.Online }); err != nil {
		t.Fatal(err)
	}
}

// send has a player write, and waits for the relay to accept.
func send(t *testing.T, from *player, to identity.Username, text string) {
	t.Helper()
	if err := from.send(t.Context(), to, text); err != nil {
		t.Fatal(err)
	}
}

// receive waits until a text has come.
func receive(t *testing.T, p *player, text string) messenger.Message {
	t.Helper()
	e, err := await(p, func(e messenger.MessageReceived) bool { return e.Message.Text == text })
	if err != nil {
		t.Fatalf("waiting for %q: %v", text, err)
	}
	return e.Message
}

// shown returns the texts that a player's conversation shows, of whom, in order.
func shown(t *testing.T, p *player, with identity.Username) []string {
	t.Helper()
	messages, err := p.client.Messages(t.Context(), with, 0)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, m := range messages {
		if m.Kind != messenger.KindText {
			continue
		}
		author := string(m.With)
		if m.Outgoing {
			author = "me"
		}
		texts = append(texts, author+": "+m.Text)
	}
	return texts
}

func wantShown(t *testing.T, p *player, with identity.Username, want ...string) {
	t.Helper()
	if got := shown(t, p, with); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s's conversation with %s: got %q, want %q", p.party, with, got, want)
	}
}

// quarantined waits until the player has put n envelopes aside.
func quarantined(t *testing.T, p *player, n int) []messenger.Quarantined {
	t.Helper()
	for {
		list, err := p.client.Quarantine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) >= n {
			return list
		}
		if _, err := await(p, func(messenger.EnvelopeQuarantined) bool { return true }); err != nil {
			t.Fatalf("%d of %d envelopes put aside: %v", len(list), n, err)
		}
	}
}

// forgedRecord is a device of somebody's own making under a name.
func forgedRecord(t *testing.T, username identity.Username, like identity.DeviceRecord) []byte {
	t.Helper()
	account, device := identity.GenerateAccountKey(), identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(account, username, device.Public(), identity.NewDeviceID(), time.Now())
	record, err := identity.SignDeviceRecord(device, certificate, like.MessageKey, like.FileRecipient)
	if err != nil {
		t.Fatal(err)
	}
	return record.Marshal()
}

// recordOf returns the directory's record of a player's device.
func recordOf(t *testing.T, asker *player, username identity.Username) identity.DeviceRecord {
	t.Helper()
	_, records, err := asker.client.LookupContact(t.Context(), username)
	if err != nil || len(records) != 1 {
		t.Fatalf("looking up %s: %d records, %v", username, len(records), err)
	}
	return records[0]
}

// reconnect takes a player off line and on again, as a relay can at any time.
func reconnect(t *testing.T, p *player) {
	t.Helper()
	p.cancel()
	if err := <-p.done; err != nil {
		t.Fatal(err)
	}
	online(t, p)
}

func TestAttackA2SwappedKey(t *testing.T) {
	s := newStage(t)
	send(t, s.alice, "bob", "before")
	receive(t, s.bob, "before")

	s.enemy.SwapRecords("bob", forgedRecord(t, "bob", recordOf(t, s.alice, "bob")))
	s.enemy.Switch(malice.SwapKey, true)
	reconnect(t, s.alice)

	var changed *messenger.KeyChangedError
	_, err := s.alice.client.Send(t.Context(), "bob", "for Bob's eyes only")
	if !errors.As(err, &changed) {
		t.Fatalf("sending under a swapped key: got %v, want a KeyChangedError", err)
	}
	if changed.Pinned == changed.Offered {
		t.Error("the error does not tell the two keys apart")
	}
	contact, err := s.alice.client.Identify(t.Context(), "bob")
	if err != nil || contact.NewKey == nil {
		t.Errorf("the change is not remembered: %+v, %v", contact, err)
	}
	wantShown(t, s.alice, "bob", "me: before")

	// With the true key back, nothing was lost and nothing was sent meanwhile.
	s.enemy.Switch(malice.SwapKey, false)
	reconnect(t, s.alice)
	wantShown(t, s.bob, "alice", "alice: before")
}

func TestAttackA2VerifiedContactIsHeldUnderEveryPolicy(t *testing.T) {
	s := newStage(t)
	record := recordOf(t, s.alice, "bob")
	if err := s.alice.client.Verify(t.Context(), "bob", record.Certificate.AccountKey); err != nil {
		t.Fatal(err)
	}
	s.enemy.SwapRecords("bob", forgedRecord(t, "bob", record))
	s.enemy.Switch(malice.SwapKey, true)
	reconnect(t, s.alice)
	for _, policy := range []messenger.TrustPolicy{messenger.TrustStrict, messenger.TrustTOFU, messenger.TrustAcceptNew} {
		var changed *messenger.KeyChangedError
		_, err := s.alice.client.Send(t.Context(), "bob", "secret", messenger.WithTrust(policy))
		if !errors.As(err, &changed) || !changed.Verified {
			t.Errorf("policy %v: got %v, want a KeyChangedError of a verified contact", policy, err)
		}
	}
}

func TestAttackA15RecordOfAnotherAccount(t *testing.T) {
	s := newStage(t)
	newMallory := newPlayer(t, s, "Mallory", "mallory")
	defer newMallory.closeForTest(t)
	genuine := recordOf(t, s.alice, "mallory")

	s.enemy.SwapRecords("bob", genuine.Marshal())
	s.enemy.Switch(malice.WrongAccount, true)
	if _, err := s.alice.client.Send(t.Context(), "bob", "for Bob's eyes only"); !errors.Is(err, messenger.ErrBadDirectory) {
		t.Errorf("got %v, want %v", err, messenger.ErrBadDirectory)
	}
	contacts, err := s.alice.client.Contacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, contact := range contacts {
		if contact.Username == "bob" {
			t.Errorf("bob was pinned to %v", contact.AccountKey)
		}
	}
}

func (p *player) closeForTest(t *testing.T) {
	t.Helper()
	if err := p.close(); err != nil {
		t.Errorf("closing %s: %v", p.party, err)
	}
}

func TestAttackB8PlaintextAndDowngrade(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.Plaintext, true)
	send(t, s.alice, "bob", "sealed")
	receive(t, s.bob, "sealed")
	quarantined(t, s.bob, 2)
	wantShown(t, s.bob, "alice", "alice: sealed")
}

func TestAttackB9Replay(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.Replay, true)
	for _, text := range []string{"one", "two", "three"} {
		send(t, s.alice, "bob", text)
		receive(t, s.bob, text)
	}
	wantShown(t, s.bob, "alice", "alice: one", "alice: two", "alice: three")

	// What was seen is remembered across a restart of the client.
	s.bob.closeForTest(t)
	client, err := messenger.Open(t.Context(), messenger.Options{Dir: s.bob.dir, Unlock: messenger.KeyFile(), Dial: s.bob.line.dial})
	if err != nil {
		t.Fatal(err)
	}
	s.bob.client = client
	online(t, s.bob)
	send(t, s.alice, "bob", "four")
	receive(t, s.bob, "four")
	send(t, s.alice, "bob", "five")
	receive(t, s.bob, "five")
	wantShown(t, s.bob, "alice", "alice: one", "alice: two", "alice: three", "alice: four", "alice: five")
}

func TestAttackB10Reflection(t *testing.T) {
	s := newStage(t)
	send(t, s.alice, "bob", "mine")
	receive(t, s.bob, "mine")
	s.enemy.Switch(malice.Reflect, true)
	send(t, s.bob, "alice", "answer")
	receive(t, s.alice, "answer")
	quarantined(t, s.alice, 1)
	wantShown(t, s.alice, "bob", "me: mine", "bob: answer")
}

func TestAttackB11DropShowsGap(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.Drop, true)
	send(t, s.alice, "bob", "one")
	receive(t, s.bob, "one")
	send(t, s.alice, "bob", "dropped")
	send(t, s.alice, "bob", "three")
	gap, err := await(s.bob, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindGap })
	if err != nil {
		t.Fatal(err)
	}
	if gap.Message.Missing != 1 {
		t.Errorf("%d messages are said to be missing, want 1", gap.Message.Missing)
	}
	receive(t, s.bob, "three")
	wantShown(t, s.bob, "alice", "alice: one", "alice: three")
}

func TestAttackB11ReorderKeepsTheSendersOrder(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.Reorder, true)
	for _, text := range []string{"one", "two", "three", "four"} {
		send(t, s.alice, "bob", text)
	}
	receive(t, s.bob, "three") // comes last
	wantShown(t, s.bob, "alice", "alice: one", "alice: two", "alice: three", "alice: four")
}

func TestAttackB17Reattribution(t *testing.T) {
	s := newStage(t)
	mallory := newPlayer(t, s, "Mallory", "mallory")
	defer mallory.closeForTest(t)
	send(t, mallory, "bob", "I am Alice, send money")
	receive(t, s.bob, "I am Alice, send money")

	// The relay delivers what Mallory wrote in place of what Alice writes.
	bob := s.bob.client.Self().DeviceID.String()
	payloads := s.enemy.Delivered(bob)
	if len(payloads) != 1 {
		t.Fatalf("%d envelopes for Bob, want 1", len(payloads))
	}
	s.enemy.Substitute(payloads[0])
	s.enemy.Switch(malice.Reattribute, true)
	send(t, s.alice, "bob", "the real Alice")
	s.enemy.Switch(malice.Reattribute, false)
	send(t, s.alice, "bob", "second")
	receive(t, s.bob, "second")

	wantShown(t, s.bob, "alice", "alice: second")
	wantShown(t, s.bob, "mallory", "mallory: I am Alice, send money")
}

func TestAttackF5Poison(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.Poison, true)
	for _, text := range []string{"one", "two"} {
		send(t, s.alice, "bob", text)
		receive(t, s.bob, text)
	}
	// For each text noise and a half envelope; the empty one is the same twice.
	for _, q := range quarantined(t, s.bob, 5) {
		if q.Reason == "" || strings.ContainsAny(q.Reason, "\n\x1b") {
			t.Errorf("reason %q is not one harmless line", q.Reason)
		}
	}
	wantShown(t, s.bob, "alice", "alice: one", "alice: two")
}

func TestAttackFlippedBit(t *testing.T) {
	s := newStage(t)
	s.enemy.Switch(malice.FlipBit, true)
	send(t, s.alice, "bob", "changed on the way")
	quarantined(t, s.bob, 1)
	wantShown(t, s.bob, "alice")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A conversation leaves nothing readable in any file of the relay, and nothing
// but the directory's public entries tells who is who (attack G2).
func TestAttackG2NothingReadableAtTheRelay(t *testing.T) {
	const canary = "canary-7f3a-at-the-lighthouse"
	var log lockedBuffer
	s := newStageWithLog(t, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.bob.cancel() // his mailbox stays full
	if err := <-s.bob.done; err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		send(t, s.alice, "bob", fmt.Sprintf("%s %d", canary, i))
	}
	secrets := map[string][]byte{
		"text":                  []byte(canary),
		"Bob's file identity":   []byte(s.bob.client.FileIdentity()),
		"Alice's file identity": []byte(s.alice.client.FileIdentity()),
	}
	for what, secret := range secrets {
		files, _, hits, err := search(s.relayDir(), string(secret))
		if err != nil {
			t.Fatal(err)
		}
		if files < 2 || len(hits) > 0 {
			t.Errorf("%s: searched %d files, found in %q", what, files, hits)
		}
		if bytes.Contains(s.alice.line.cut(), secret) {
			t.Errorf("%s went over the cable readable", what)
		}
	}
	for what, secret := range map[string]string{
		"the text": canary, "a name": "alice", "another name": "bob",
		"an account key": strings.TrimPrefix(s.alice.client.Self().AccountKey.String(), "account:"),
		"a device id":    strings.TrimPrefix(s.alice.client.Self().DeviceID.String(), "id:"),
	} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the logs hold %s:\n%s", what, log.String())
		}
	}
	// The search would find what is there: the directory's public entry.
	if _, _, hits, err := search(s.relayDir(), "alice"); err != nil || len(hits) == 0 {
		t.Errorf("the search finds nothing at all: %v", err)
	}
	// Sizes come in steps: two texts of different length look alike.
	online(t, s.bob)
	send(t, s.alice, "bob", strings.Repeat("long ", 20))
	receive(t, s.bob, strings.Repeat("long ", 20))
	payloads := s.enemy.Delivered(s.bob.client.Self().DeviceID.String())
	for _, payload := range payloads {
		if len(payload) != len(payloads[0]) {
			t.Errorf("texts of 31 and 100 bytes weigh %d and %d", len(payloads[0]), len(payload))
		}
	}
}
