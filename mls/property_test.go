package mls

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// simulation is a group whose members do as they like, with a delivery service that
// takes one commit an epoch. It keeps those who left, to see that they learn nothing.
type simulation struct {
	t       *rapid.T
	tb      testing.TB
	config  Config
	members []*person
	gone    []*person
	named   int
}

// largestSimulation is the number of members that a simulation grows to.
const largestSimulation = 50

// TestConvergence lets members of a group do random things, several at once, and
// checks that all agree after each epoch.
func TestConvergence(t *testing.T) {
	// Each check takes a second or more: -rapid.checks asks for more than these.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("10"); err != nil {
			t.Fatal(err)
		}
		defer checks.Value.Set(checks.DefValue)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := &simulation{t: rt, tb: t, config: Config{PublicHandshakes: rapid.Bool().Draw(rt, "public")}}
		creator := s.newPerson()
		creator.create(GroupOptions{})
		s.members = []*person{creator}
		rt.Repeat(map[string]func(*rapid.T){
			"":         func(*rapid.T) { s.check() },
			"commit":   s.commit,
			"race":     s.race,
			"message":  s.message,
			"external": s.external,
			"reload":   s.reload,
		})
	})
}

func (s *simulation) newPerson() *person {
	s.named++
	return newPerson(s.tb, fmt.Sprint("person ", s.named), classic, s.config)
}

func (s *simulation) draw(t *rapid.T) *person {
	return rapid.SampledFrom(s.members).Draw(t, "member")
}

// options draws what a commit does, and says who joins by it.
func (s *simulation) options(t *rapid.T, by *person) (CommitOptions, []*person) {
	opts := CommitOptions{OmitPath: rapid.Bool().Draw(t, "omit path")}
	var joiners []*person
	for range min(rapid.SampledFrom([]int{0, 1, 1, 2, 3, 12}).Draw(t, "adds"), largestSimulation-len(s.members)) {
		p := s.newPerson()
		joiners = append(joiners, p)
		opts.Proposals = append(opts.Proposals, &Add{p.keyPackage()})
	}
	for _, p := range s.members {
		if p != by && rapid.IntRange(0, 9).Draw(t, "remove") == 0 {
			opts.Proposals = append(opts.Proposals, &Remove{p.group.OwnIndex()})
		}
	}
	return opts, joiners
}

// propose lets some members send proposals, of which a commit takes what fits.
func (s *simulation) propose(t *rapid.T) {
	for range rapid.IntRange(0, 3).Draw(t, "proposals") {
		by := s.draw(t)
		var message []byte
		var err error
		if rapid.Bool().Draw(t, "update") {
			message, err = by.group.ProposeUpdate(UpdateOptions{})
		} else {
			message, err = by.group.Propose(&Remove{s.draw(t).group.OwnIndex()}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.members {
			if p != by {
				if _, err := p.group.Process(message); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (s *simulation) commit(t *rapid.T) {
	s.propose(t)
	by := s.draw(t)
	opts, joiners := s.options(t, by)
	pending, err := by.group.Commit(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, pending.Commit, pending.Welcome, joiners)
}

// race has several members commit; one of them wins.
func (s *simulation) race(t *rapid.T) {
	type entry struct {
		pending *PendingCommit
		joiners []*person
	}
	var entries []entry
	for _, p := range s.members {
		if rapid.Bool().Draw(t, "commits") {
			opts, joiners := s.options(t, p)
			pending, err := p.group.Commit(opts)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, entry{pending, joiners})
		}
	}
	if len(entries) == 0 {
		return
	}
	winner := rapid.IntRange(0, len(entries)-1).Draw(t, "winner")
	s.deliver(t, entries[winner].pending.Commit, entries[winner].pending.Welcome, entries[winner].joiners)
	for i, e := range entries {
		if i == winner {
			continue
		}
		for _, p := range s.members {
			var epoch *EpochError
			if _, err := p.group.Process(e.pending.Commit); !errors.As(err, &epoch) && !errors.Is(err, ErrOwnMessage) {
				t.Fatalf("commit that lost gives %v", err)
			}
		}
	}
}

// deliver brings a commit to all, its author included.
func (s *simulation) deliver(t *rapid.T, commit, welcome []byte, joiners []*person) {
	var stay []*person
	for _, p := range s.members {
		r, err := p.group.Process(commit)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		staged := r.(*StagedCommit)
		if err := p.group.Merge(staged); err != nil {
			t.Fatal(err)
		}
		if staged.RemovesUs {
			s.gone = append(s.gone, p)
		} else {
			stay = append(stay, p)
		}
	}
	for _, p := range joiners {
		g, _, err := p.client.Join(welcome, p.kps, p.id.Signer, JoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.group = g
		stay = append(stay, p)
	}
	s.members = stay
}

func (s *simulation) message(t *rapid.T) {
	by := s.draw(t)
	data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
	message, err := by.group.Encrypt(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.members {
		if p == by {
			continue
		}
		r, err := p.group.Process(message)
		if err != nil {
			t.Fatal(err)
		}
		if m := r.(*ApplicationMessage); !bytes.Equal(m.Data, data) || m.Sender.Index != by.group.OwnIndex() {
			t.Fatalf("message of %d reads %x", m.Sender.Index, m.Data)
		}
	}
	for _, p := range s.gone {
		if _, err := p.group.Process(message); !errors.Is(err, ErrInactive) {
			t.Fatalf("%s, who left: %v", p.name, err)
		}
	}
}

func (s *simulation) external(t *rapid.T) {
	if len(s.members) >= largestSimulation {
		t.Skip("group is full")
	}
	info, err := s.draw(t).group.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	p := s.newPerson()
	g, commit, err := p.client.JoinExternal(info, p.id, ExternalJoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, commit, nil, nil)
	p.group = g
	s.members = append(s.members, p)
}

// reload replaces a member's group by what its saved state gives.
func (s *simulation) reload(t *rapid.T) {
	p := s.draw(t)
	g, err := p.client.UnmarshalGroup(p.group.Marshal(), p.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	p.group = g
}

// check compares what all members hold.
func (s *simulation) check() {
	first := s.members[0].group
	secret, err := first.Export("test", []byte("context"), 32)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range s.members {
		g := p.group
		other, err := g.Export("test", []byte("context"), 32)
		if err != nil {
			s.t.Fatal(err)
		}
		if g.Epoch() != first.Epoch() || !bytes.Equal(g.EpochAuthenticator(), first.EpochAuthenticator()) ||
			!bytes.Equal(g.Context().TreeHash, first.Context().TreeHash) || !bytes.Equal(other, secret) {
			s.t.Fatalf("%s disagrees", p.name)
		}
		if err := p.checkKeys(); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.members[0].client.validateTree(first.epoch.tree, first.ID(), nil); err != nil {
		s.t.Fatal(err)
	}
}

// checkKeys checks the tree invariant: a member has the private key of each node
// above it where it is not unmerged (RFC 9420, Section 4.2), and its counts are
// those of the tree.
func (p *person) checkKeys() error {
	g := p.group
	want := 1
	for level, n := range g.epoch.tree.path(g.private.leaf) {
		if n.parent == nil || n.parent.unmerged(g.private.leaf) {
			continue
		}
		want++
		key := g.private.keys[g.private.leaf.ancestor(level+1)]
		if key == nil || !bytes.Equal(key.public, n.parent.EncryptionKey) {
			return fmt.Errorf("%s lacks the key of a node at level %d", p.name, level+1)
		}
	}
	if len(g.private.keys) != want {
		return fmt.Errorf("%s has %d keys instead of %d", p.name, len(g.private.keys), want)
	}
	fresh := newTreeIndex(g.epoch.tree)
	if len(fresh.base) != len(g.index.base) || len(g.index.delta) != 0 {
		return fmt.Errorf("%s has %d counts instead of %d", p.name, len(g.index.base), len(fresh.base))
	}
	for k, n := range fresh.base {
		if g.index.base[k] != n {
			return fmt.Errorf("%s counts %d instead of %d of %v", p.name, g.index.base[k], n, k)
		}
	}
	return nil
}
