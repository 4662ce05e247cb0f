package demo

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
)

const (
	aliceWrites  = "Meet me at the old lighthouse at nine. Bring the map."
	bobAnswers   = "I will be there. The map is in my coat."
	aliceAgain   = "Change of plan: at ten."
	aliceRepeats = "Did you get my last message?"
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
		s.relayOpens, s.keysAreMade, s.numbersAreCompared, s.aliceTypes, s.letterLeaves, s.relayStores,
		s.relayKnows, s.bobOpens, s.bobAnswers, s.bitIsFlipped,
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
		record := records[0]
		facts = append(facts,
			Fact{Who: player.party, Name: "account key (Ed25519)", Value: self.AccountKey.String(), Note: "who " + string(player.party) + " is"},
			Fact{Who: player.party, Name: "device key (Ed25519)", Value: record.Certificate.DeviceKey.String(), Note: "signs letters; certified by the account key"},
			Fact{Who: player.party, Name: "sealing key (ML-KEM-768 + X25519)", Value: hex.EncodeToString(record.MessageKey), Hex: true, Note: "whoever has it can seal, only its owner can open"},
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
	s.alice.line.cut() // the connection is up: what follows is the letter
	if err := s.alice.send(ctx, "bob", aliceWrites); err != nil {
		return err
	}
	return s.tell(Step{
		Title: "Alice writes to Bob, who is not on line",
		Told: "Her client signs the text with her device key, pads it so that its length says little, and seals it to " +
			"Bob's key. All this happens on her machine.",
		Facts: []Fact{
			{Who: Alice, Name: "types", Value: aliceWrites},
			{Who: Alice, Name: "in bytes", Value: hex.EncodeToString([]byte(aliceWrites)), Hex: true},
		},
	})
}

// sealedFields are the parts of a sealed message in docs/protocol.md; the size
// of the ciphertext is what the others leave.
var sealedFields = []struct {
	name string
	size int
	note string
}{
	{"version", 1, ""},
	{"encapsulated key", 1120, "Bob's private key turns it into the secret of this one message"},
	{"ciphertext (AES-256-GCM)", -1, "sender, reader, time, text, signature, padding"},
	{"authentication tag", 16, "one changed bit anywhere, and it does not fit"},
}

func sealedFacts(who Party, payload []byte) ([]Fact, error) {
	fixed := 0
	for _, field := range sealedFields {
		fixed += max(field.size, 0)
	}
	if len(payload) <= fixed {
		return nil, fmt.Errorf("a sealed message of %d bytes is too short to show", len(payload))
	}
	rest := len(payload) - fixed
	var facts []Fact
	for _, field := range sealedFields {
		size := field.size
		if size < 0 {
			size = rest
		}
		facts = append(facts, Fact{Who: who, Name: field.name, Value: hex.EncodeToString(payload[:size]), Hex: true, Note: field.note})
		payload = payload[size:]
	}
	return facts, nil
}

func (s *story) letterLeaves(context.Context) error {
	submit := s.tap.lastSubmit()
	if submit == nil {
		return errors.New("the tap saw no letter")
	}
	sealed, err := sealedFacts(Alice, submit.GetPayload())
	if err != nil {
		return err
	}
	connection := s.tap.connection()
	onTheWire := s.alice.line.cut()
	facts := []Fact{
		{Who: Alice, Name: "on the cable", Value: hex.EncodeToString(onTheWire), Hex: true,
			Note: tls.VersionName(connection.Version) + ", key exchange " + connection.CurveID.String() + ": what a listener sees"},
		{Who: Relay, Name: "submit id", Value: hex.EncodeToString(submit.GetId()), Hex: true, Note: "a repeat after a broken line is recognised by it"},
	}
	for _, recipient := range submit.GetRecipients() {
		id, err := identity.DeviceIDFromBytes(recipient)
		if err != nil {
			return err
		}
		facts = append(facts, Fact{Who: Relay, Name: "to device", Value: id.String(), Note: "one of Bob's; the relay has to know where to put it"})
	}
	facts = append(facts, Fact{Who: Relay, Name: "kind", Value: kindName(submit.GetKind())})
	return s.tell(Step{
		Title: "What leaves Alice's machine",
		Flow:  &Flow{From: Alice, To: Relay, Label: "sealed"},
		Told:  "Two envelopes, one in the other. The outer one is TLS: it ends at the relay. The inner one ends at Bob.",
		Facts: append(facts, sealed...),
	})
}

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
			paths[0] + ", every row of every table:",
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
	submit := s.tap.lastSubmit()
	return s.tell(Step{
		Title: "What the relay can tell from it, and what not",
		Told:  "End-to-end encryption hides what is said. Who talks when is another matter, and it is honest to say so.",
		Facts: []Fact{
			{Who: Relay, Name: "that a device of alice wrote to a device of bob, and when", Value: "yes", Verdict: "yes",
				Note: "it sees the connection while it carries the letter"},
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

func (s *story) bobOpens(ctx context.Context) error {
	s.bob.goOnline(ctx)
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
		Title: "Bob comes on line and opens it",
		Flow:  &Flow{From: Relay, To: Bob, Label: "sealed"},
		Told: "Bob's private key opens the envelope. His client checks Alice's signature and that the letter was meant for " +
			"him, writes it to his disk, and only then tells the relay to delete it.",
		Facts: []Fact{
			{Who: Bob, Name: "reads", Value: message.Text},
			{Who: Bob, Name: "written by", Value: string(message.With), Note: "from the signature inside; the envelope names no sender"},
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
	return s.tell(Step{
		Title: "Bob answers",
		Flow:  &Flow{From: Relay, To: Alice, Label: "sealed"},
		Told:  "The same way back, sealed to Alice's public key. Nothing that opened the first letter helps with this one.",
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
	if err := s.alice.send(ctx, "bob", aliceRepeats); err != nil {
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
		{Who: Alice, Name: "types", Value: aliceRepeats},
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
