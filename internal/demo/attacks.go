package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
)

// An attack is one that a person can watch.
type attack struct {
	name  string // on the command line
	id    string // in docs/threat-model.md; empty for what has none
	title string
	told  string
	flow  Flow
	play  func(context.Context, *story) ([]Fact, error)
}

// An AttackTitle names an attack that [RunAttack] knows, and says what it is.
type AttackTitle struct{ Name, Title string }

// Attacks returns what [RunAttack] knows.
func Attacks() []AttackTitle {
	titles := make([]AttackTitle, len(attacks))
	for i, a := range attacks {
		titles[i] = AttackTitle{a.name, a.fullTitle()}
	}
	return titles
}

// HasAttack says whether [RunAttack] knows an attack.
func HasAttack(name string) bool { return findAttack(name) >= 0 }

func findAttack(name string) int {
	return slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
}

// RunAttack plays one attack of the relay and hands each step to show as soon as it
// happened. It leaves nothing behind.
func RunAttack(ctx context.Context, name string, show func(Step) error) (err error) {
	i := findAttack(name)
	if i < 0 {
		return fmt.Errorf("there is no attack %q", name)
	}
	dir, err := os.MkdirTemp("", "sealpost-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	s := &story{stage: &stage{dir: dir}, show: show}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.openRelay(); err != nil {
		return fmt.Errorf("starting the relay: %w", err)
	}
	for _, p := range []struct {
		player **player
		party  Party
	}{{&s.alice, Alice}, {&s.bob, Bob}} {
		if *p.player, err = s.arrive(ctx, p.party); err != nil {
			return err
		}
	}
	facts, err := attacks[i].play(ctx, s)
	if err != nil {
		return err
	}
	return s.tell(attacks[i].step(facts))
}

func (a attack) step(facts []Fact) Step {
	return Step{Title: a.fullTitle(), Flow: &a.flow, Told: a.told, Facts: facts}
}

func (a attack) fullTitle() string {
	if a.id == "" {
		return a.title
	}
	return a.title + " (" + a.id + ")"
}

// names of the parties as users.
var usernames = map[Party]identity.Username{Alice: "alice", Bob: "bob", Carol: "carol", Mallory: "mallory"}

// arrive makes an account and connects it.
func (s *story) arrive(ctx context.Context, party Party) (*player, error) {
	p, err := s.enter(ctx, party, usernames[party])
	if err != nil {
		return nil, err
	}
	if party != Alice && party != Bob {
		s.others = append(s.others, p)
	}
	return p, p.connect(ctx)
}

// connect goes on line and waits until the line is up.
func (p *player) connect(ctx context.Context) error {
	p.goOnline(ctx)
	_, err := await(p, func(e messenger.ConnectionChanged) bool { return e.Online })
	return err
}

// disconnect ends the line.
func (p *player) disconnect() error {
	p.cancel()
	p.cancel = nil
	return <-p.done
}

// meet has two people accept each other.
func meet(ctx context.Context, a, b *player) error {
	if _, err := a.client.Direct(ctx, usernames[b.party]); err != nil {
		return err
	}
	_, err := b.client.Direct(ctx, usernames[a.party])
	return err
}

// talk lets Alice and Bob have a conversation, before the relay turns evil.
func (s *story) talk(ctx context.Context) error {
	if err := meet(ctx, s.alice, s.bob); err != nil {
		return err
	}
	if err := s.alice.send(ctx, "bob", aliceWrites); err != nil {
		return err
	}
	if err := reads(s.bob, aliceWrites); err != nil {
		return err
	}
	// Bob's receipt is through, before the enemy meddles.
	if _, err := await(s.alice, func(e messenger.StateChanged) bool { return e.State == messenger.Delivered }); err != nil {
		return err
	}
	return s.tell(Step{
		Title: "Alice and Bob have a conversation",
		Flow:  &Flow{From: Alice, To: Relay, Label: "sealed"},
		Told:  "All is well so far: what Alice writes comes to Bob, and she sees that it did.",
		Facts: []Fact{{Who: Alice, Name: "types", Value: aliceWrites}, {Who: Bob, Name: "reads", Value: aliceWrites}},
	})
}

// reads waits until somebody is shown a text.
func reads(p *player, text string) error {
	_, err := await(p, func(e messenger.MessageReceived) bool { return e.Message.Text == text })
	return err
}

// seen tells what a person has on the screen of a conversation, and what was put
// aside.
func seen(ctx context.Context, p *player, in messenger.ConversationID) ([]Fact, error) {
	rows, err := p.client.Messages(ctx, in, 0)
	if err != nil {
		return nil, err
	}
	var facts []Fact
	for _, m := range rows {
		facts = append(facts, Fact{Who: p.party, Name: "on the screen", Value: rowText(m)})
	}
	aside, err := p.client.Quarantine(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	var reasons []string
	for _, q := range aside {
		if counts[q.Reason]++; counts[q.Reason] == 1 {
			reasons = append(reasons, q.Reason)
		}
	}
	for _, reason := range reasons {
		facts = append(facts, Fact{Who: p.party, Name: "put aside", Value: strconv.Itoa(counts[reason]) + " ×", Note: reason, Verdict: "no"})
	}
	return facts, nil
}

func rowText(m messenger.Message) string {
	switch m.Kind {
	case messenger.KindGap:
		return fmt.Sprintf("[messages missing here: %d]", m.Missing)
	case messenger.KindText:
		text := string(m.Sender) + ": " + m.Text
		if m.Outgoing {
			text += "  — " + m.State.String()
		}
		return text
	case messenger.KindKeyChanged:
		return fmt.Sprintf("[the key of %s changed; nothing is sent]", m.Sender)
	case messenger.KindMembers:
		return fmt.Sprintf("[%s %s]", m.Sender, m.Text)
	default:
		return "[" + m.Text + "]"
	}
}

// happened makes sure that what is told took place.
func (s *story) happened(a malice.Attack) error {
	if s.enemy.Count(a) == 0 {
		return fmt.Errorf("the attack %s did not take place", a)
	}
	return nil
}
