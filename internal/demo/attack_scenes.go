package demo

import (
	"context"
	"errors"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
)

const circleName = "the old lighthouse"

var (
	toBob   = Flow{From: Relay, To: Bob, Label: "changed"}
	toAlice = Flow{From: Relay, To: Alice, Label: "changed"}
)

var attacks = []attack{
	{"flip-bit", "", "The relay flips one bit of a message",
		"It changes a single bit in the middle of the next message. The next one is left alone.", toBob, onMail(malice.FlipBit, false)},
	{"plaintext", "B8", "The relay slips in plain text, and older versions",
		"Beside each message comes one in plain text, one of version 0, and one that says it is not encrypted.", toBob, onMail(malice.Plaintext, true)},
	{"replay", "B9", "The relay delivers everything again",
		"Each message comes twice, and all earlier ones once more.", toBob, onMail(malice.Replay, true)},
	{"reflect", "B10", "The relay gives back what somebody sent",
		"With each message, a device gets all that it wrote itself.", toBob, onMail(malice.Reflect, true)},
	{"drop", "B11", "The relay loses a message", "The next message vanishes. The one after it comes.", toBob, onMail(malice.Drop, false)},
	{"reorder", "B11", "The relay changes the order", "Two messages change places.", toBob, reorder},
	{"reattribute", "B17", "The relay passes Mallory's words off as Alice's",
		"In place of Alice's next message, Bob gets what Mallory wrote to him.", toBob, reattribute},
	{"poison", "F5", "The relay sends what stops a client", "Beside each message come random bytes, nothing at all, and half a message.", toBob, onMail(malice.Poison, true)},
	{"false-list", "", "The relay names another delivery list", "It says that the message went to other devices than the members.", toBob, onMail(malice.FalseListHash, true)},
	{"roll-back", "", "The relay goes back to a backup", "Bob connects again, and gets everything that he has had.", toBob, rollBack},
	{"swap-key", "A2", "The relay swaps Bob's key", "Asked for Bob, it now shows Alice a key of its own.", toAlice, swapKey},
	{"wrong-account", "A15", "The relay shows somebody else's record as Bob's", "Alice asks for Bob for the first time, and gets the genuine record of Mallory.", toAlice, wrongAccount},
	{"ghost-device", "A3", "The relay adds a device to Bob's", "Beside Bob's device it shows one that it made itself.", toAlice, ghostDevice},
	{"swap-key-package", "B4", "The relay hands out Mallory's key package as Bob's", "Alice begins a conversation. Bob's key package would seal its secret to him.", toAlice, swapKeyPackage},
	{"broken-key-package", "B4", "The relay changes Bob's key package", "One bit of what Bob signed is another.", toAlice, onKeyPackage(malice.BreakKeyPackage)},
	{"old-commits", "C4", "The relay delivers old changes again", "With each message come all earlier commits and invitations.", toBob, oldCommits},
	{"withhold", "C2", "The relay hides from Bob that Carol is out", "Alice removes Carol. Bob gets no word of it, and writes.", toBob, withhold},
	{"fork", "C3", "The relay takes two changes for one epoch", "Alice and Bob rename the group at once. The relay says yes to both.", toBob, fork},
	{"ghost-member", "", "The relay adds a listener to the group", "It puts Mallory's device on the delivery list.", toBob, ghostMember},
	{"exclude", "", "The relay leaves Carol out", "It takes her device off the delivery list.", toBob, exclude},
}

// onMail switches an attack on for one message of Alice's. Arrives says that the
// message comes through all the same.
func onMail(a malice.Attack, arrives bool) func(context.Context, *story) ([]Fact, error) {
	return func(ctx context.Context, s *story) ([]Fact, error) {
		if err := s.talk(ctx); err != nil {
			return nil, err
		}
		s.enemy.Aim(s.bob.device())
		s.enemy.Skip(0, 1)
		if a == malice.Reflect { // Bob needs something to get back
			if err := s.bob.send(ctx, "alice", bobAnswers); err != nil {
				return nil, err
			}
			if err := reads(s.alice, bobAnswers); err != nil {
				return nil, err
			}
		}
		s.enemy.Switch(a, true)
		if err := s.alice.send(ctx, "bob", aliceAgain); err != nil {
			return nil, err
		}
		if arrives {
			if err := reads(s.bob, aliceAgain); err != nil {
				return nil, err
			}
		} else if a != malice.Drop {
			if _, err := await(s.bob, func(messenger.EnvelopeQuarantined) bool { return true }); err != nil {
				return nil, err
			}
		}
		return s.afterMail(ctx, a)
	}
}

// afterMail has Alice write once more, and tells what Bob has then.
func (s *story) afterMail(ctx context.Context, a malice.Attack) ([]Fact, error) {
	if a != malice.Drop { // it ends by itself
		s.enemy.Switch(a, false)
	}
	if err := s.alice.send(ctx, "bob", aliceThird); err != nil {
		return nil, err
	}
	if err := reads(s.bob, aliceThird); err != nil {
		return nil, err
	}
	if err := s.happened(a); err != nil {
		return nil, err
	}
	facts := []Fact{{Who: Alice, Name: "types", Value: aliceAgain}, {Who: Alice, Name: "types", Value: aliceThird}}
	bob, err := seen(ctx, s.bob, s.bob.client.DirectID("alice"))
	return append(facts, bob...), err
}

func reorder(ctx context.Context, s *story) ([]Fact, error) {
	if err := s.talk(ctx); err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.Reorder, true)
	for _, text := range []string{aliceAgain, "And bring a lamp."} {
		if err := s.alice.send(ctx, "bob", text); err != nil {
			return nil, err
		}
	}
	if err := reads(s.bob, aliceAgain); err != nil { // it comes last
		return nil, err
	}
	return s.afterMail(ctx, malice.Reorder)
}

func reattribute(ctx context.Context, s *story) ([]Fact, error) {
	const words = "I am Alice. Send me money."
	mallory, err := s.arrive(ctx, Mallory)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.talk(ctx), meet(ctx, mallory, s.bob), mallory.send(ctx, "bob", words), reads(s.bob, words)); err != nil {
		return nil, err
	}
	sent := s.enemy.Delivered(s.bob.device(), api.Kind_KIND_APPLICATION)
	s.enemy.Substitute(sent[len(sent)-1])
	s.enemy.Switch(malice.Reattribute, true)
	if err := s.alice.send(ctx, "bob", aliceAgain); err != nil {
		return nil, err
	}
	if _, err := await(s.bob, func(messenger.EnvelopeQuarantined) bool { return true }); err != nil {
		return nil, err
	}
	return s.afterMail(ctx, malice.Reattribute)
}

func rollBack(ctx context.Context, s *story) ([]Fact, error) {
	if err := s.talk(ctx); err != nil {
		return nil, err
	}
	if err := s.alice.send(ctx, "bob", aliceAgain); err != nil {
		return nil, err
	}
	if err := reads(s.bob, aliceAgain); err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.RollBack, true)
	if err := errors.Join(s.bob.disconnect(), s.bob.connect(ctx)); err != nil {
		return nil, err
	}
	return s.afterMail(ctx, malice.RollBack)
}

// forgery is a device of somebody's own making under a name.
func forgery(username identity.Username, like identity.DeviceRecord) ([]byte, error) {
	device := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(identity.GenerateAccountKey(), username, device.Public(), identity.NewDeviceID(), time.Now())
	record, err := identity.SignDeviceRecord(device, certificate, like.FileRecipient)
	if err != nil {
		return nil, err
	}
	return record.Marshal(), nil
}

// recordOf returns what the directory says of somebody.
func recordOf(ctx context.Context, asker *player, username identity.Username) (identity.DeviceRecord, error) {
	_, records, err := asker.client.LookupContact(ctx, username)
	if err != nil {
		return identity.DeviceRecord{}, err
	}
	return records[0], nil
}

func swapKey(ctx context.Context, s *story) ([]Fact, error) {
	if err := s.talk(ctx); err != nil {
		return nil, err
	}
	genuine, err := recordOf(ctx, s.alice, "bob")
	if err != nil {
		return nil, err
	}
	forged, err := forgery("bob", genuine)
	if err != nil {
		return nil, err
	}
	s.enemy.Victim("bob", forged)
	s.enemy.Switch(malice.SwapKey, true)
	if err := errors.Join(s.alice.disconnect(), s.alice.connect(ctx)); err != nil {
		return nil, err
	}
	_, refused := s.alice.client.Direct(ctx, "bob")
	if refused == nil {
		return nil, errors.New("a swapped key was accepted")
	}
	facts := []Fact{{Who: Alice, Name: "wants to write, and her client refuses", Value: refused.Error(), Verdict: "no"}}
	alice, err := seen(ctx, s.alice, s.alice.client.DirectID("bob"))
	if err != nil {
		return nil, err
	}
	facts = append(facts, alice...)
	facts = append(facts, Fact{Who: Bob, Name: "what he missed", Value: "nothing: nothing was sent"})
	return facts, s.happened(malice.SwapKey)
}

// refusedContact tells that Alice cannot begin to write to Bob.
func refusedContact(ctx context.Context, s *story, a malice.Attack) ([]Fact, error) {
	s.enemy.Switch(a, true)
	_, refused := s.alice.client.Direct(ctx, "bob")
	if refused == nil {
		return nil, errors.New("a false answer was believed")
	}
	contacts, err := s.alice.client.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	known := "no"
	for _, k := range contacts {
		if k.Username == "bob" {
			known = "yes"
		}
	}
	return []Fact{
		{Who: Alice, Name: "asks for", Value: "bob"},
		{Who: Alice, Name: "her client refuses", Value: refused.Error(), Verdict: "no"},
		{Who: Alice, Name: "did it remember a key for Bob?", Value: known, Verdict: known},
	}, s.happened(a)
}

func wrongAccount(ctx context.Context, s *story) ([]Fact, error) {
	if _, err := s.arrive(ctx, Mallory); err != nil {
		return nil, err
	}
	genuine, err := recordOf(ctx, s.alice, "mallory")
	if err != nil {
		return nil, err
	}
	s.enemy.Victim("bob", genuine.Marshal())
	return refusedContact(ctx, s, malice.WrongAccount)
}

func ghostDevice(ctx context.Context, s *story) ([]Fact, error) {
	like, err := recordOf(ctx, s.bob, "alice")
	if err != nil {
		return nil, err
	}
	ghost, err := forgery("bob", like)
	if err != nil {
		return nil, err
	}
	s.enemy.Victim("bob", ghost)
	return refusedContact(ctx, s, malice.GhostDevice)
}

// onKeyPackage has Alice begin a conversation with a false key package.
func onKeyPackage(a malice.Attack) func(context.Context, *story) ([]Fact, error) {
	return func(ctx context.Context, s *story) ([]Fact, error) {
		s.enemy.Victim("bob")
		s.enemy.Switch(a, true)
		refused := s.alice.send(ctx, "bob", aliceWrites)
		failed, ok := errors.AsType[*messenger.FailedError](refused)
		if !ok {
			return nil, errors.Join(errors.New("a false key package was not refused"), refused)
		}
		facts := []Fact{
			{Who: Alice, Name: "types", Value: aliceWrites},
			{Who: Alice, Name: "her client refuses", Value: failed.Reason, Verdict: "no"},
		}
		alice, err := seen(ctx, s.alice, s.alice.client.DirectID("bob"))
		return append(facts, alice...), errors.Join(err, s.happened(a))
	}
}

func swapKeyPackage(ctx context.Context, s *story) ([]Fact, error) {
	mallory, err := s.arrive(ctx, Mallory)
	if err != nil {
		return nil, err
	}
	device := mallory.client.Self().DeviceID
	published := s.tap.publishedBy(device)
	if published == nil || len(published.GetKeyPackages()) == 0 {
		return nil, errors.New("mallory published no key packages")
	}
	s.enemy.KeyPackages(&api.ClaimedKeyPackage{Device: device[:], KeyPackage: published.GetKeyPackages()[0]})
	return onKeyPackage(malice.SwapKeyPackage)(ctx, s)
}

// gather makes a group of Alice, Bob and Carol, of which the first two are
// administrators.
func (s *story) gather(ctx context.Context) (carol *player, in messenger.ConversationID, err error) {
	if carol, err = s.arrive(ctx, Carol); err != nil {
		return nil, in, err
	}
	if err := errors.Join(meet(ctx, s.alice, s.bob), meet(ctx, s.alice, carol), meet(ctx, s.bob, carol)); err != nil {
		return nil, in, err
	}
	v, err := s.alice.client.CreateGroup(ctx, circleName, []identity.Username{"bob", "carol"})
	if err != nil {
		return nil, in, err
	}
	if err := s.alice.client.SetAdmin(ctx, v.ID, "bob", true); err != nil {
		return nil, in, err
	}
	for _, p := range []*player{s.bob, carol} {
		if err := changes(p, "made bob an administrator"); err != nil {
			return nil, in, err
		}
	}
	return carol, v.ID, s.tell(Step{
		Title: "Alice makes a group with Bob and Carol",
		Flow:  &Flow{From: Alice, To: Relay, Label: "commit"},
		Told:  "Each change of the group is a commit that a member signed. The relay takes one for each epoch, and delivers to the members.",
		Facts: []Fact{{Who: Alice, Name: "group", Value: circleName}, {Who: Alice, Name: "administrators", Value: "alice, bob"}},
	})
}

// changes waits until somebody reads that the group changed.
func changes(p *player, text string) error {
	_, err := await(p, func(e messenger.MessageReceived) bool {
		return e.Message.Kind == messenger.KindMembers && e.Message.Text == text
	})
	return err
}

func oldCommits(ctx context.Context, s *story) ([]Fact, error) {
	_, in, err := s.gather(ctx)
	if err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.ReplayHandshakes, true)
	if err := errors.Join(s.alice.say(ctx, in, aliceWrites), reads(s.bob, aliceWrites)); err != nil {
		return nil, err
	}
	if _, err := await(s.bob, func(messenger.EnvelopeQuarantined) bool { return true }); err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.ReplayHandshakes, false)
	if err := errors.Join(s.alice.say(ctx, in, aliceAgain), reads(s.bob, aliceAgain), s.happened(malice.ReplayHandshakes)); err != nil {
		return nil, err
	}
	return seen(ctx, s.bob, in)
}

func withhold(ctx context.Context, s *story) ([]Fact, error) {
	carol, in, err := s.gather(ctx)
	if err != nil {
		return nil, err
	}
	s.enemy.Aim(s.bob.device())
	s.enemy.Switch(malice.Withhold, true)
	if err := s.alice.client.RemoveMembers(ctx, in, []identity.Username{"carol"}); err != nil {
		return nil, err
	}
	if err := changes(carol, "removed you"); err != nil {
		return nil, err
	}
	const secret = "Carol must not know of this."
	if _, err := s.bob.client.Send(ctx, in, secret); err != nil {
		return nil, err
	}
	if err := errors.Join(s.alice.say(ctx, in, aliceAgain), s.happened(malice.Withhold)); err != nil {
		return nil, err
	}
	facts := []Fact{{Who: Bob, Name: "types", Value: secret}}
	bob, err := seen(ctx, s.bob, in)
	if err != nil {
		return nil, err
	}
	out, err := seen(ctx, carol, in)
	if err != nil {
		return nil, err
	}
	facts = append(append(facts, bob...), out...)
	return append(facts, Fact{Who: Bob, Name: "his client", Value: "waits: others are in a later epoch, and nothing goes out for an old one. After half a minute it asks to be taken in again"}), nil
}

func fork(ctx context.Context, s *story) ([]Fact, error) {
	carol, in, err := s.gather(ctx)
	if err != nil {
		return nil, err
	}
	s.enemy.Aim(carol.device())
	s.enemy.Rival(s.bob.device())
	if err := carol.disconnect(); err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.Fork, true)
	for _, r := range []struct {
		p    *player
		name string
	}{{s.alice, "the lighthouse at nine"}, {s.bob, "the lighthouse at ten"}} {
		if err := errors.Join(r.p.client.Rename(ctx, in, r.name), changes(r.p, "named the group "+r.name)); err != nil {
			return nil, err
		}
	}
	if err := carol.connect(ctx); err != nil {
		return nil, err
	}
	if err := changes(carol, "named the group the lighthouse at ten"); err != nil {
		return nil, err
	}
	s.enemy.Switch(malice.Fork, false)
	for _, text := range []string{aliceWrites, aliceAgain, aliceThird} {
		if err := s.alice.say(ctx, in, text); err != nil {
			return nil, err
		}
	}
	for _, p := range []*player{s.bob, carol} {
		if _, err := await(p, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindWarning }); err != nil {
			return nil, err
		}
	}
	const again = "Now we are together again."
	if err := errors.Join(s.alice.say(ctx, in, again), reads(s.bob, again), reads(carol, again), s.happened(malice.Fork)); err != nil {
		return nil, err
	}
	alice, err := seen(ctx, s.alice, in)
	if err != nil {
		return nil, err
	}
	bob, err := seen(ctx, s.bob, in)
	return append(alice, bob...), err
}

// onList changes the delivery list while Alice renames the group.
func onList(ctx context.Context, s *story, a malice.Attack, in messenger.ConversationID) ([]Fact, error) {
	s.enemy.Switch(a, true)
	const name = "the lighthouse at ten"
	if err := errors.Join(s.alice.client.Rename(ctx, in, name), changes(s.bob, "named the group "+name)); err != nil {
		return nil, err
	}
	if err := s.alice.say(ctx, in, aliceAgain); err != nil {
		return nil, err
	}
	if _, err := await(s.bob, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindWarning }); err != nil {
		return nil, err
	}
	if err := s.happened(a); err != nil {
		return nil, err
	}
	return seen(ctx, s.bob, in)
}

func ghostMember(ctx context.Context, s *story) ([]Fact, error) {
	mallory, err := s.arrive(ctx, Mallory)
	if err != nil {
		return nil, err
	}
	_, in, err := s.gather(ctx)
	if err != nil {
		return nil, err
	}
	s.enemy.Aim(mallory.device())
	facts, err := onList(ctx, s, malice.GhostMember, in)
	if err != nil {
		return nil, err
	}
	conversations, err := mallory.client.Conversations(ctx)
	read := "nothing"
	if len(conversations) > 0 {
		read = "something"
	}
	return append(facts, Fact{Who: Mallory, Name: "reads", Value: read, Note: "the bytes come, and no key of hers opens them"}), err
}

func exclude(ctx context.Context, s *story) ([]Fact, error) {
	carol, in, err := s.gather(ctx)
	if err != nil {
		return nil, err
	}
	s.enemy.Aim(carol.device())
	return onList(ctx, s, malice.SilentExclusion, in)
}
