package demo

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
)

const (
	aliceWrites = "Meet me at the old lighthouse at nine. Bring the map."
	bobAnswers  = "I will be there. The map is in my coat."
	aliceAgain  = "Change of plan: at ten."
	aliceThird  = "Did you get my last message?"
)

// Run plays the story once and hands each step to show as soon as it happened.
// It stops at the first error, that of show included, and leaves nothing behind.
func Run(ctx context.Context, show func(Step) error) (err error) {
	dir, err := os.MkdirTemp("", "sealpost-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	s := &story{stage: &stage{dir: dir}, show: show}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, scene := range []func(context.Context) error{
		s.relayOpens, s.keysAreMade, s.numbersAreCompared, s.aliceTypes, s.groupIsMade, s.letterLeaves, s.relayStores,
		s.relayKnows, s.bobIsAsked, s.bobOpens, s.bobAnswers, s.bitIsFlipped,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A story tells what happens on a stage.
type story struct {
	*stage
	show   func(Step) error
	number int
}

func (s *story) tell(step Step) error {
	s.number++
	step.Number = s.number
	return s.show(step)
}

func (s *story) relayOpens(context.Context) error {
	if err := s.openRelay(); err != nil {
		return fmt.Errorf("starting the relay: %w", err)
	}
	return s.tell(Step{
		Title: "A post office opens",
		Told: "The relay makes one key, for TLS: it proves that you talk to this relay and no other. " +
			"With it nobody can open a letter, the relay neither.",
		Facts: []Fact{
			{Who: Relay, Name: "listens at", Value: s.address},
			{Who: Relay, Name: "fingerprint of its TLS key", Value: s.server.ID().String()},
			{Who: Relay, Name: "data folder", Value: s.relayDir()},
		},
	})
}

func (s *story) keysAreMade(ctx context.Context) error {
	var err error
	if s.alice, err = s.enter(ctx, Alice, "alice"); err != nil {
		return err
	}
	if s.bob, err = s.enter(ctx, Bob, "bob"); err != nil {
		return err
	}
	var facts []Fact
	for _, player := range []*player{s.alice, s.bob} {
		self := player.client.Self()
		_, records, err := s.other(player).client.LookupContact(ctx, self.Username)
		if err != nil {
			return fmt.Errorf("looking %s up: %w", self.Username, err)
		}
		if len(records) == 0 {
			return fmt.Errorf("the directory has no device of %s", self.Username)
		}
		published := s.tap.publishedBy(self.DeviceID)
		if published == nil || len(published.GetKeyPackages()) == 0 {
			return fmt.Errorf("%s published no key packages", self.Username)
		}
		facts = append(facts,
			Fact{Who: player.party, Name: "account key (Ed25519)", Value: self.AccountKey.String(), Note: "who " + string(player.party) + " is"},
			Fact{Who: player.party, Name: "device key (Ed25519)", Value: records[0].Certificate.DeviceKey.String(), Note: "signs letters; certified by the account key"},
			Fact{Who: player.party, Name: fmt.Sprintf("%d key packages, the first", len(published.GetKeyPackages())), Value: hex.EncodeToString(published.GetKeyPackages()[0]), Hex: true,
				Note: "keys (ML-KEM-768 with X25519) to be used once each, by whoever begins a conversation while " + string(player.party) + " is away"},
		)
	}
	facts = append(facts, Fact{Who: Relay, Name: "private keys it was given", Value: "none", Verdict: "no",
		Note: "they stay in the encrypted store on each person's machine"})
	return s.tell(Step{
		Title: "Alice and Bob each make their own keys",
		Told:  "Every key has two halves. The public halves go to the relay's directory, signed, so that others find them.",
		Facts: facts,
	})
}

func (s *story) other(p *player) *player {
	if p == s.alice {
		return s.bob
	}
	return s.alice
}

func (s *story) numbersAreCompared(ctx context.Context) error {
	seenByAlice, err := s.alice.client.SafetyNumber(ctx, "bob")
	if err != nil {
		return err
	}
	seenByBob, err := s.bob.client.SafetyNumber(ctx, "alice")
	if err != nil {
		return err
	}
	verdict := "no"
	if seenByAlice == seenByBob {
		verdict = "yes"
	}
	return s.tell(Step{
		Title: "They compare safety numbers",
		Told: "Did the relay give Alice the real key of Bob? Each client makes a number from the two account keys. " +
			"If the two read the same number to each other over the phone, nobody sits in between.",
		Facts: []Fact{
			{Who: Alice, Name: "sees", Value: seenByAlice},
			{Who: Bob, Name: "sees", Value: seenByBob},
			{Who: Alice, Name: "the same?", Value: verdict, Verdict: verdict},
		},
	})
}

func (s *story) aliceTypes(ctx context.Context) error {
	s.alice.goOnline(ctx)
	if _, err := await(s.alice, func(e messenger.ConnectionChanged) bool { return e.Online }); err != nil {
		return err
	}
	if err := s.alice.send(ctx, "bob", aliceWrites); err != nil {
		return err
	}
	return s.tell(Step{
		Title: "Alice writes to Bob, who is not on line",
		Told: "Her client signs the text with her device key, pads it so that its length says little, and seals it with a " +
			"key that only the two have. All this happens on her machine. Where does that key come from, if Bob is away?",
		Facts: []Fact{
			{Who: Alice, Name: "types", Value: aliceWrites},
			{Who: Alice, Name: "in bytes", Value: hex.EncodeToString([]byte(aliceWrites)), Hex: true},
		},
	})
}

// groupIsMade tells of the commit that began the conversation.
func (s *story) groupIsMade(context.Context) error {
	submit := s.tap.lastSubmit(func(m *api.Submit) bool { return m.GetCommit() != nil })
	claimed := s.tap.lastClaim()
	if submit == nil || claimed == nil || len(claimed.GetKeyPackages()) == 0 {
		return errors.New("the tap saw no conversation begin")
	}
	commit := submit.GetCommit()
	facts := []Fact{
		{Who: Relay, Name: "hands out", Value: hex.EncodeToString(claimed.GetKeyPackages()[0].GetKeyPackage()), Hex: true,
			Note: "one of Bob's key packages, and deletes it: nobody gets the same. Alice's client checks Bob's signature in it"},
		{Who: Alice, Name: "Welcome", Value: hex.EncodeToString(commit.GetWelcome()), Hex: true,
			Note: "the secret of the conversation, sealed to that key package; it waits for Bob"},
		{Who: Alice, Name: "commit", Value: hex.EncodeToString(submit.GetPayload()), Hex: true, Note: "“Bob is in”, signed by Alice and sealed; for each epoch the relay takes one only"},
	}
	for _, member := range commit.GetMembers() {
		fact, err := s.deviceFact("delivery list", member)
		if err != nil {
			return err
		}
		facts = append(facts, fact)
	}
	facts = append(facts, Fact{Who: Relay, Name: "can it add itself to the conversation?", Value: "no", Verdict: "no",
		Note: "the members sign who is in; a hash of the delivery list goes with it, so that each can compare"})
	return s.tell(Step{
		Title: "Her client begins a conversation",
		Flow:  &Flow{From: Alice, To: Relay, Label: "Welcome"},
		Told: "A conversation is a group of MLS (RFC 9420), even one of two. Alice's client takes one of the key packages " +
			"that Bob left at the relay, and makes the secret of the group from it and from keys of its own.",
		Facts: facts,
	})
}

// deviceFact names a device, and says whose it is.
func (s *story) deviceFact(name string, device []byte) (Fact, error) {
	id, err := identity.DeviceIDFromBytes(device)
	if err != nil {
		return Fact{}, err
	}
	whose := "nobody's"
	for _, p := range []*player{s.alice, s.bob} {
		if p.client.Self().DeviceID == id {
			whose = string(p.party) + "'s"
		}
	}
	return Fact{Who: Relay, Name: name, Value: id.String(), Note: whose + "; the relay has to know where to put it"}, nil
}

func (s *story) letterLeaves(context.Context) error {
	submit := s.tap.lastSubmit(isLetter)
	if submit == nil {
		return errors.New("the tap saw no letter")
	}
	letter, err := readSealed(submit.GetPayload())
	if err != nil {
		return err
	}
	version, curve := s.tap.negotiated()
	if version == 0 {
		return errors.New("the tap saw no TLS")
	}
	facts := []Fact{
		{Who: Alice, Name: "on the cable", Value: hex.EncodeToString(s.alice.line.last()), Hex: true,
			Note: tls.VersionName(version) + ", key exchange " + curve.String() + ": what a listener sees"},
		{Who: Relay, Name: "submit id", Value: hex.EncodeToString(submit.GetId()), Hex: true, Note: "a repeat after a broken line is recognised by it"},
		{Who: Relay, Name: "kind", Value: kindName(submit.GetKind()), Note: "it goes to the delivery list of its group"},
	}
	return s.tell(Step{
		Title: "What leaves Alice's machine",
		Flow:  &Flow{From: Alice, To: Relay, Label: "sealed"},
		Told:  "Two envelopes, one in the other. The outer one is TLS: it ends at the relay. The inner one ends at Bob. All that the relay can read of it:",
		Facts: append(facts, letter.facts(Relay)...),
	})
}

func isLetter(m *api.Submit) bool { return m.GetKind() == api.Kind_KIND_APPLICATION }

func kindName(kind api.Kind) string {
	return strings.ToLower(strings.TrimPrefix(kind.String(), "KIND_"))
}

func (s *story) relayStores(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(s.relayDir(), "*.db"))
	if err != nil || len(paths) != 1 {
		return fmt.Errorf("looking for the relay's database: found %d, %w", len(paths), err)
	}
	facts, err := readDatabase(ctx, paths[0])
	if err != nil {
		return err
	}
	searched, err := s.searchFor(Relay, s.relayDir(), aliceWrites)
	if err != nil {
		return err
	}
	return s.tell(Step{
		Title: "What the relay has in its database",
		Told: "Before the relay said “accepted”, all this was safe on its disk. Read from the file itself, " +
			paths[0] + ", the rows of every table:",
		Facts: append(facts, searched),
	})
}

func (s *story) searchFor(who Party, dir, text string) (Fact, error) {
	files, size, hits, err := search(dir, text)
	if err != nil {
		return Fact{}, fmt.Errorf("searching the files of %s: %w", who, err)
	}
	fact := Fact{Who: who, Name: "Alice's words anywhere in its files?", Verdict: "no",
		Value: fmt.Sprintf("no (searched %d files, %d bytes)", files, size)}
	if len(hits) > 0 {
		fact.Verdict, fact.Value = "yes", "yes, in "+strings.Join(hits, ", ")
	}
	return fact, nil
}

func (s *story) relayKnows(context.Context) error {
	submit := s.tap.lastSubmit(isLetter)
	return s.tell(Step{
		Title: "What the relay can tell from it, and what not",
		Told:  "End-to-end encryption hides what is said. Who talks when is another matter, and it is honest to say so.",
		Facts: []Fact{
			{Who: Relay, Name: "that a device of alice wrote to a device of bob, and when", Value: "yes", Verdict: "yes",
				Note: "it sees the connection while it carries the letter"},
			{Who: Relay, Name: "which devices are in a conversation", Value: "yes", Verdict: "yes", Note: "the delivery list; not the name of the conversation"},
			{Who: Relay, Name: "about how long the text is", Value: "yes", Verdict: "yes",
				Note: fmt.Sprintf("%d bytes for a text of %d: padded to one of a few sizes", len(submit.GetPayload()), len(aliceWrites))},
			{Who: Relay, Name: "the network addresses of both", Value: "yes", Verdict: "yes"},
			{Who: Relay, Name: "what it says", Value: "no", Verdict: "no"},
			{Who: Relay, Name: "whether it is a text or a receipt", Value: "no", Verdict: "no"},
			{Who: Relay, Name: "change, copy or invent a letter unnoticed", Value: "no", Verdict: "no", Note: "see the last step"},
			{Who: Relay, Name: "delay or lose a letter", Value: "yes", Verdict: "yes", Note: "the next one shows the gap"},
		},
	})
}

// bobIsAsked shows that what a stranger writes waits.
func (s *story) bobIsAsked(ctx context.Context) error {
	s.bob.goOnline(ctx)
	if _, err := await(s.bob, func(e messenger.RequestReceived) bool { return e.From == "alice" }); err != nil {
		return err
	}
	if _, err := await(s.bob, func(messenger.CaughtUp) bool { return true }); err != nil {
		return err
	}
	request, err := s.bob.client.Conversation(ctx, s.bob.client.DirectID("alice"))
	if err != nil {
		return err
	}
	rows, err := s.bob.client.Messages(ctx, request.ID, 0)
	if err != nil {
		return err
	}
	number, err := s.bob.client.SafetyNumber(ctx, request.Inviter)
	if err != nil {
		return err
	}
	if err := s.bob.client.Accept(ctx, request.ID); err != nil {
		return err
	}
	return s.tell(Step{
		Title: "Bob comes on line: a stranger wants to talk",
		Flow:  &Flow{From: Relay, To: Bob, Label: "sealed"},
		Told: "The Welcome opens with the private half of the key package, which is then erased. Bob has never talked to " +
			"Alice, so her words wait until he accepts, and she does not learn that he is there.",
		Facts: []Fact{
			{Who: Bob, Name: "asked for by", Value: string(request.Inviter)},
			{Who: Bob, Name: "messages that wait", Value: strconv.Itoa(request.Unread)},
			{Who: Bob, Name: "messages that he is shown", Value: strconv.Itoa(len(rows))},
			{Who: Bob, Name: "safety number with her", Value: number, Note: "the one that they compared"},
			{Who: Bob, Name: "does", Value: "accept"},
		},
	})
}

func (s *story) bobOpens(ctx context.Context) error {
	received, err := await(s.bob, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindText })
	if err != nil {
		return err
	}
	if _, err := await(s.alice, func(e messenger.StateChanged) bool { return e.State == messenger.Delivered }); err != nil {
		return err
	}
	message := received.Message
	searched, err := s.searchFor(Bob, s.bob.dir, message.Text)
	if err != nil {
		return err
	}
	searched.Note = "his store on disk is encrypted as well"
	return s.tell(Step{
		Title: "Bob opens it",
		Flow:  &Flow{From: Relay, To: Bob, Label: "sealed"},
		Told: "The letter's own key opens it, and is erased in the same moment: who steals Bob's machine tomorrow cannot open " +
			"what was recorded today. His client checks Alice's signature, writes the letter to his disk, and only then tells the relay to delete it.",
		Facts: []Fact{
			{Who: Bob, Name: "reads", Value: message.Text},
			{Who: Bob, Name: "written by", Value: string(message.Sender), Note: "from the signature inside; the envelope names no sender"},
			searched,
			{Who: Alice, Name: "sees the mark", Value: "delivered", Verdict: "yes", Note: "a sealed receipt of Bob's client, not the relay's word"},
		},
	})
}

func (s *story) bobAnswers(ctx context.Context) error {
	if err := s.bob.send(ctx, "alice", bobAnswers); err != nil {
		return err
	}
	received, err := await(s.alice, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindText })
	if err != nil {
		return err
	}
	// Alice's receipt is through, before the enemy meddles with what she sends.
	if _, err := await(s.bob, func(e messenger.StateChanged) bool { return e.State == messenger.Delivered }); err != nil {
		return err
	}
	return s.tell(Step{
		Title: "Bob answers",
		Flow:  &Flow{From: Relay, To: Alice, Label: "sealed"},
		Told:  "The same way back. Each letter has a key of its own: nothing that opened the first helps with this one.",
		Facts: []Fact{
			{Who: Bob, Name: "types", Value: bobAnswers},
			{Who: Alice, Name: "reads", Value: received.Message.Text},
		},
	})
}

func (s *story) bitIsFlipped(ctx context.Context) error {
	s.enemy.Switch(malice.FlipBit, true)
	if err := s.alice.send(ctx, "bob", aliceAgain); err != nil {
		return err
	}
	refused, err := await(s.bob, func(messenger.EnvelopeQuarantined) bool { return true })
	if err != nil {
		return err
	}
	s.enemy.Switch(malice.FlipBit, false)
	if err := s.alice.send(ctx, "bob", aliceThird); err != nil {
		return err
	}
	gap, err := await(s.bob, func(e messenger.MessageReceived) bool { return e.Message.Kind == messenger.KindGap })
	if err != nil {
		return err
	}
	facts := []Fact{
		{Who: Alice, Name: "types", Value: aliceAgain},
		{Who: Relay, Name: "flips", Value: "1 bit", Note: fmt.Sprintf("of %d, in the middle of the envelope", 8*refused.Quarantined.Size)},
		{Who: Bob, Name: "his client refuses", Value: refused.Quarantined.Reason, Verdict: "no"},
		{Who: Alice, Name: "types", Value: aliceThird},
		{Who: Bob, Name: "sees the gap", Value: fmt.Sprintf("%d message missing before this one", gap.Message.Missing), Verdict: "yes",
			Note: "letters are numbered inside, where the relay cannot reach"},
	}
	return s.tell(Step{
		Title: "Now the relay turns evil and flips one bit",
		Flow:  &Flow{From: Relay, To: Bob, Label: "changed"},
		Told:  "The relay is in the best place to attack. It changes a single bit of the next letter.",
		Facts: facts,
	})
}
