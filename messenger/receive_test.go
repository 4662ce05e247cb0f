package messenger

import (
	"bytes"
	"fmt"
	"testing"

	"sealpost/api"
	"sealpost/content"
	"sealpost/identity"
)

// pair is Alice and Bob, connected, who know each other and have talked.
func couple(t *testing.T) (*realRelay, *person, *person, ConversationID) {
	t.Helper()
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	bob.await(bob.send(alice, "hello"), Delivered)
	return relay, alice, bob, alice.DirectID("bob")
}

func TestAttackF5PoisonStopsNothing(t *testing.T) {
	relay, alice, bob, in := couple(t)
	good := relay.deliveredTo(alice, api.Kind_KIND_APPLICATION)[0]
	spoilt := bytes.Clone(good.GetPayload())
	spoilt[len(spoilt)/2] ^= 1
	var poison []*api.Envelope
	for _, payload := range [][]byte{nil, {1}, bytes.Repeat([]byte("plain text "), 300), good.GetPayload()[:len(good.GetPayload())-1], spoilt} {
		for _, kind := range []api.Kind{api.Kind_KIND_UNSPECIFIED, api.Kind_KIND_APPLICATION, api.Kind_KIND_HANDSHAKE, api.Kind_KIND_WELCOME, api.Kind_KIND_REQUEST, 77} {
			poison = append(poison, &api.Envelope{Kind: kind, Payload: payload, Group: good.GetGroup(), ListHash: good.GetListHash()})
		}
	}
	relay.inject(t, alice, poison...)
	bob.await(bob.send(alice, "still here"), Delivered)
	wantRows(t, alice, in, "hello", "still here")
	aside := alice.quarantine()
	if len(aside) != 5 { // one for each payload, whatever it claims to be
		t.Errorf("%d put aside: %+v", len(aside), aside)
	}
	for _, q := range aside {
		if q.Reason == "" || q.From != "" {
			t.Errorf("got %+v", q)
		}
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	alice := newRealRelay(t).person("alice")
	err := alice.commit(testContext(t), func(u *unit) error {
		for i := range maxQuarantined + 10 {
			if err := putAside(u, []byte{byte(i), byte(i >> 8)}, "", errCannotOpen); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(alice.quarantine()); n != maxQuarantined {
		t.Errorf("%d put aside", n)
	}
}

func TestAttackB11GapsAreShownAndFilled(t *testing.T) {
	relay, alice, bob, in := couple(t)
	relay.set(func() {
		relay.withhold = func(device identity.DeviceID, e *api.Envelope) bool {
			return device == alice.Self().DeviceID && e.GetKind() == api.Kind_KIND_APPLICATION
		}
	})
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		bob.await(bob.send(alice, text), Accepted)
	}
	relay.await(t, alice, func(l *tappedLine) bool { return len(l.withheld) == 5 })
	texts := relay.takeWithheld(alice)
	for _, step := range []struct {
		next int
		want []string
	}{
		{0, []string{"hello", "one"}},
		{4, []string{"hello", "one", "[gap 3]", "five"}},
		{2, []string{"hello", "one", "[gap 1]", "three", "[gap 1]", "five"}},
		{2, []string{"hello", "one", "[gap 1]", "three", "[gap 1]", "five"}},
		{3, []string{"hello", "one", "[gap 1]", "three", "four", "five"}},
		{1, []string{"hello", "one", "two", "three", "four", "five"}},
	} {
		relay.inject(t, alice, texts[step.next])
		wantRows(t, alice, in, step.want...)
	}
}

// hears puts a text with any counter into a conversation, as a member who has its own
// program can.
func (p *person) hears(from *person, counter uint64, text string) error {
	p.t.Helper()
	in := p.DirectID(from.name())
	m := must(content.NewText(text))
	body, err := m.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	var refused error
	if err := p.commit(testContext(p.t), func(u *unit) error {
		v, err := p.findConversation(u, u, in)
		if err != nil {
			return err
		}
		known, err := findContact(u, u, from.name())
		if err != nil {
			return err
		}
		refused = p.show(u, v, said{sender: from.self.memberDevice(0), contact: known, counter: counter, body: body})
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	return refused
}

func TestAttackB13CounterJumpCostsNothing(t *testing.T) {
	_, alice, bob, in := couple(t)
	if err := alice.hears(bob, maxCounter, "far away"); err != nil {
		t.Fatal(err)
	}
	all, err := alice.Messages(testContext(t), in, 0)
	if err != nil || len(all) != 3 || all[1].Kind != KindGap || all[1].Missing != maxCounter-2 {
		t.Errorf("got %+v, %v", all, err)
	}
	var gaps int
	if err := alice.store.reader.QueryRow("SELECT count(*) FROM gaps").Scan(&gaps); err != nil || gaps != 1 {
		t.Errorf("%d gaps, %v", gaps, err)
	}
	// A device that was restored counts anew: what it says is shown all the same.
	if err := alice.hears(bob, maxCounter, "the same number"); err != nil {
		t.Errorf("a number twice: %v", err)
	}
	if all, err = alice.Messages(testContext(t), in, 1); err != nil || all[0].Text != "the same number" {
		t.Errorf("got %+v, %v", all, err)
	}
}

// A receipt counts for messages to who sends it, and for no other.
func TestReceiptForAnotherConversation(t *testing.T) {
	relay, alice, bob, _ := couple(t)
	carol := relay.person("carol")
	befriend(alice, carol)
	id := alice.send(carol, "for carol")
	alice.await(id, Accepted)
	if err := bob.commit(testContext(t), func(u *unit) error {
		v, err := bob.findConversation(u, u, bob.DirectID("alice"))
		if err != nil {
			return err
		}
		if _, err := u.ExecContext(u, "INSERT INTO owed (conversation, message_id, state) VALUES (?, ?, ?)", v.id, id[:], int(Read)); err != nil {
			return err
		}
		return enqueue(u, entry{conversation: v.id, lane: laneReceipts, kind: entryReceipt})
	}); err != nil {
		t.Fatal(err)
	}
	if err := bob.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	bob.await(bob.send(alice, "after the receipt"), Delivered)
	if m, err := alice.Message(testContext(t), id); err != nil || m.State != Accepted {
		t.Errorf("got %+v, %v", m, err)
	}
	carol.online()
	alice.await(id, Delivered)
}

// F4: text is data, whatever stands in it.
func TestAttackF4TextIsData(t *testing.T) {
	_, alice, bob, in := couple(t)
	text := `'); DROP TABLE messages; -- ?1 :x "` + "\x00\x1b]52;c;\u202e"
	alice.await(alice.send(bob, text), Delivered)
	wantRows(t, bob, in, "hello", text)
	for _, query := range []string{text, `"`, `' OR 1=1 --`, `*`, `^a NEAR(b`, `text:hello`, `col : x`, "\x00"} {
		if _, err := bob.Search(testContext(t), query, nil, 10); err != nil {
			t.Errorf("searching for %q: %v", query, err)
		}
	}
}

// Nobody can put so many reactions under a message that to show it takes long.
func TestReactionsOfOnePersonAreBounded(t *testing.T) {
	alice := shelf(t)
	in := everyKind(t, alice)
	target := MessageID{1, 0}
	react := func(from, to int) {
		t.Helper()
		err := alice.commit(testContext(t), func(u *unit) error {
			v, err := alice.findConversation(u, u, in)
			for i := from; i < to && err == nil; i++ {
				view := content.View{Reactions: []string{fmt.Sprint(i)}}
				err = showReactions(u, v, "bob", &content.Message{InReplyTo: content.MessageID(target)}, view, MessageID{1, 200, byte(i)})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		m, err := alice.Message(testContext(t), target)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range m.Reactions {
			if r.Sender == "bob" {
				n++
			}
		}
		return n
	}
	before := count()
	react(0, 5)
	if n := count(); n != before+5 {
		t.Errorf("%d reactions", n)
	}
	react(5, 200)
	if n := count(); n != maxReactions {
		t.Errorf("%d reactions of one person are shown", n)
	}
}
