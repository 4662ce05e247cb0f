package mls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// The tests of this file play attackers: they block a group, fish for secrets in what
// is printed, or feed a damaged state. Those who spend our time are in
// attack_work_test.go.

// TestPoisonousProposals has one member, or a stranger, propose what is valid alone
// but spoils every commit that covers it. It must not keep others from committing,
// nor from talking.
func TestPoisonousProposals(t *testing.T) {
	stranger := newPerson(t, "stranger", classic, Config{})
	newMember := Sender{SenderType: SenderTypeNewMemberProposal}
	dull := must(stranger.client.NewKeyPackage(classic, stranger.id, KeyPackageOptions{})).KeyPackage
	tests := map[string]func(s *scene) []byte{
		"new member without the required capabilities": func(s *scene) []byte {
			message, _ := forgeProposalFrom(t, s.bob, newMember, stranger.id.Signer, &Add{dull})
			return message
		},
		"Update without the required capabilities": func(s *scene) []byte {
			message, _ := forgeProposal(t, s.bob, forgeUpdate(t, s.bob, func(l *LeafNode) { l.Capabilities.Extensions = nil }))
			return message
		},
		"Update with the key of another": func(s *scene) []byte {
			message, _ := forgeProposal(t, s.bob, forgeUpdate(t, s.bob, func(l *LeafNode) { l.EncryptionKey = s.bob.epoch.tree.leaf(2).EncryptionKey }))
			return message
		},
		"new member with the encryption key of another": func(s *scene) []byte {
			p := s.newcomer()
			k := forgeKeyPackage(t, p, KeyPackageOptions{Leaf: capableLeaf}, func(k *KeyPackage) {
				k.LeafNode.EncryptionKey = s.bob.epoch.tree.root.parent.EncryptionKey
			})
			message, _ := forgeProposalFrom(t, s.bob, newMember, p.id.Signer, &Add{k.KeyPackage})
			return message
		},
		"PSK of a branch": func(s *scene) []byte {
			message, _ := forgeProposal(t, s.bob, resumption(ResumptionPSKUsageBranch, s.bob))
			return message
		},
		"custom type that nobody knows": func(s *scene) []byte {
			message, _ := forgeProposal(t, s.bob, &CustomProposal{0xF0FF, nil})
			return message
		},
		"group extension that nobody knows": func(s *scene) []byte {
			message, _ := forgeProposal(t, s.bob, &GroupContextExtensions{[]Extension{{0xF0FF, nil}}})
			return message
		},
	}
	r := newDemandingRoom(t, 4)
	for name, poison := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, r)
			good := s.reference(s.member(2), &Remove{3})
			if _, err := s.alice.Process(poison(s)); err != nil {
				return // refused at once: fine as well
			}
			more := s.reference(s.member(2), pskProposal("shared", 1))
			pending, err := s.alice.Commit(CommitOptions{Proposals: []Proposal{s.add()}})
			if err != nil {
				t.Fatalf("one proposal blocks the group: %v", err)
			}
			var refs [][]byte
			for _, p := range pending.Proposals {
				if p.ref != nil {
					refs = append(refs, p.ref)
				}
			}
			if len(pending.Proposals) != 3 || !slices.ContainsFunc(refs, func(b []byte) bool { return bytes.Equal(b, good.ref) }) ||
				!slices.ContainsFunc(refs, func(b []byte) bool { return bytes.Equal(b, more.ref) }) {
				t.Fatalf("commit covers %d proposals", len(pending.Proposals))
			}
			if err := s.alice.MergePendingCommit(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.alice.Encrypt([]byte("still talking"), nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOwnCommitIsDescribedLikeThatOfOthers compares what the committer and the others
// see of a commit, in particular where a new member takes the place of a removed one.
func TestOwnCommitIsDescribedLikeThatOfOthers(t *testing.T) {
	r := newDemandingRoom(t, 5)
	s := newScene(t, r)
	carol := s.member(2)
	update, _ := forgeProposal(t, carol, forgeUpdate(t, carol, nil))
	dave := s.member(3)
	for _, g := range []*Group{s.alice, dave} {
		if _, err := g.Process(update); err != nil {
			t.Fatal(err)
		}
	}
	pending := must(s.alice.Commit(CommitOptions{Proposals: []Proposal{&Remove{1}, s.add(), s.add()}, AuthenticatedData: []byte("why")}))
	own := mustStage(t, s.alice, pending.Commit)
	other := mustStage(t, dave, pending.Commit)
	list := func(s *StagedCommit) string {
		text := ""
		for _, members := range [][]Member{s.Added, s.Updated, s.Removed} {
			slices.SortFunc(members, func(a, b Member) int { return int(a.Index) - int(b.Index) })
			for _, m := range members {
				text += fmt.Sprintf("%d=%x ", m.Index, m.SignatureKey[:4])
			}
			text += "| "
		}
		return fmt.Sprint(text, string(s.AuthenticatedData), s.Committer, s.RemovesUs)
	}
	if list(own) != list(other) {
		t.Errorf("committer sees %s\nothers see   %s", list(own), list(other))
	}
	if !own.Own() || other.Own() {
		t.Error("whose commit is it?")
	}
}

// TestNothingPrintsSecrets prints and logs each exported type that holds secrets.
func TestNothingPrintsSecrets(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	p := r.members[0]
	g := p.group
	pending := must(g.Commit(CommitOptions{}))
	staged := mustStage(t, r.members[1].group, pending.Commit)
	records := g.Records()
	secrets := map[string][]byte{
		"signature key": p.id.Signer.(interface{ Seed() []byte }).Seed(),
		"init secret":   g.epoch.secrets.initSecret,
		"next secret":   pending.next.epoch.secrets.initSecret,
		"interim hash":  g.interim,
		"leaf key":      g.private.keys[g.private.leaf.node()].secret,
	}
	values := map[string]any{
		"Group": g, "PendingCommit": pending, "StagedCommit": staged, "Identity": p.id, "*Identity": &p.id,
		"Record": records[0], "CommitOptions": CommitOptions{Identity: &p.id}.Identity,
		"UpdateOptions": UpdateOptions{Identity: &p.id}.Identity, "Client": p.client, "PrivateKeyPackage": must(p.client.NewKeyPackage(classic, p.id, KeyPackageOptions{})),
	}
	for name, v := range values {
		var outputs []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			outputs = append(outputs, fmt.Sprintf(verb, v))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		outputs = append(outputs, log.String())
		for _, out := range outputs {
			for secret, b := range secrets {
				encoded := strings.Trim(string(must(json.Marshal(b))), `"`)
				for _, form := range []string{string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%d", b[:8])[1:20], encoded[:20], strings.ReplaceAll(fmt.Sprintf("%#v", b[:6])[7:], "}", "")} {
					if strings.Contains(out, form) {
						t.Errorf("printing a %s shows the %s: %.200s", name, secret, out)
					}
				}
			}
		}
	}
}

// TestDamagedState loads a state in which a node stands at another level than it
// belongs to.
func TestDamagedState(t *testing.T) {
	r := newRoom(t, classic, Config{}, 5)
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{4}}})
	p := r.members[0]
	records := p.group.Records()
	load := func(change func(key string, value []byte) []byte) error {
		_, err := p.client.LoadGroup(func(yield func([]byte, []byte) bool) {
			for _, rec := range records {
				if !yield(rec.Key, change(string(rec.Key), bytes.Clone(rec.Value))) {
					return
				}
			}
		}, p.id.Signer)
		return err
	}
	if err := load(func(_ string, v []byte) []byte { return v }); err != nil {
		t.Fatal(err)
	}
	var numbers []uint64
	for _, rec := range records {
		if rec.Key[0] == recordNode {
			r := reader{rest: rec.Key[1:]}
			numbers = append(numbers, r.uint64())
		}
	}
	for _, height := range []byte{0, 1, 2, 3, 4, 5, 25, 255} {
		for _, number := range append(numbers, 0, 1<<40) {
			err := load(func(key string, v []byte) []byte {
				if key[0] == recordEpoch {
					v[0] = height
					copy(v[1:], appendUint64(nil, number))
				}
				return v
			})
			if !errors.Is(err, ErrState) && err != nil {
				t.Fatalf("height %d, root %d: %v", height, number, err)
			}
		}
	}
}

// TestRemovedMemberForgets checks that nothing is left of the keys of a group that we
// were removed from (RFC 9420, Section 12.4.2).
func TestRemovedMemberForgets(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	bob := r.members[1]
	g := bob.group
	must(g.Encrypt([]byte("x"), nil))
	mustOpen(t, g, must(r.members[0].group.Encrypt([]byte("x"), nil)))
	ratchets := g.epoch.messages.senders[0]
	secrets := map[string][]byte{
		"init secret":    bytes.Clone(g.epoch.secrets.initSecret),
		"sender data":    bytes.Clone(g.epoch.secrets.senderDataSecret),
		"membership key": bytes.Clone(g.epoch.secrets.membershipKey),
		"exporter":       bytes.Clone(g.epoch.secrets.exporterSecret),
		"leaf key":       bytes.Clone(g.private.keys[g.private.leaf.node()].secret),
		"ratchet":        bytes.Clone(ratchets[applicationRatchet].secret),
	}
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{1}}})
	state := g.Marshal()
	for name, secret := range secrets {
		if bytes.Contains(state, secret) {
			t.Errorf("%s is still there", name)
		}
	}
	again, err := bob.client.UnmarshalGroup(state, bob.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Group{g, again} {
		if g.Active() || g.Size() != 3 || len(g.Members()) != 3 {
			t.Errorf("active %v, %d members", g.Active(), g.Size())
		}
		if _, err := g.Process([]byte("x")); !errors.Is(err, ErrInactive) {
			t.Errorf("got %v", err)
		}
		if !bytes.Equal(g.Marshal(), state) {
			t.Error("state differs after loading")
		}
		g.EpochAuthenticator()
		g.ResumptionPSK()
		g.ForgetPastEpochs(g.Epoch())
		g.DiscardPendingCommit()
		g.RatchetTree()
		if err := g.Save(func([]Record) error { return nil }); err != nil {
			t.Error(err)
		}
		if _, err := g.Export("label", nil, 32); !errors.Is(err, ErrInactive) {
			t.Errorf("exporting: %v", err)
		}
	}
}

// TestTreeOfBlanks has a tree that is blank but for its first and last leaf take
// little more memory than its encoding.
func TestTreeOfBlanks(t *testing.T) {
	s := must(classic.suite())
	leaf := &treeNode{leaf: newRoom(t, classic, Config{}, 1).members[0].group.ownLeaf()}
	nodes := make([]*treeNode, 1<<17-1)
	nodes[0], nodes[len(nodes)-1] = leaf, leaf
	b := rawTree(nodes)
	tree := must(parseRatchetTree(s, b))
	count := 0
	var walk func(*treeNode)
	walk = func(n *treeNode) {
		if n != nil {
			count++
			walk(n.left)
			walk(n.right)
		}
	}
	walk(tree.root)
	if count > 100 {
		t.Errorf("%d nodes in memory", count)
	}
	if !bytes.Equal(tree.marshal(), b) {
		t.Error("tree is encoded differently")
	}
	// The hash is that of the tree with each node in its place.
	var full func(x nodeIndex) []byte
	full = func(x nodeIndex) []byte {
		if x.level() > 0 {
			return s.parentNodeHash(nil, full(x.left()), full(x.right()))
		}
		return s.leafHash(x.firstLeaf(), tree.leaf(x.firstLeaf()))
	}
	if !bytes.Equal(tree.treeHash(), full(rootOf(tree.height))) {
		t.Error("tree hash differs")
	}
}

// TestRemovalsLeaveNoRecords saves after each of many removals and additions, and
// compares the store with what a whole save holds.
func TestRemovalsLeaveNoRecords(t *testing.T) {
	r := newRoom(t, classic, Config{}, 9)
	creator := r.members[0]
	store := make(map[string]string)
	save := func() {
		t.Helper()
		err := creator.group.Save(func(records []Record) error {
			for _, rec := range records {
				if rec.Value == nil {
					delete(store, string(rec.Key))
				} else {
					store[string(rec.Key)] = string(rec.Value)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for _, rec := range creator.group.Records() {
			want[string(rec.Key)] = string(rec.Value)
		}
		for key := range store {
			if _, ok := want[key]; !ok {
				t.Errorf("epoch %d: record %q is left over", creator.group.Epoch(), key)
			}
		}
		for key, value := range want {
			if store[key] != value {
				t.Errorf("epoch %d: record %q differs", creator.group.Epoch(), key)
			}
		}
	}
	save()
	for _, i := range []LeafIndex{2, 3, 5, 4, 7, 1, 8} {
		r.commit(creator, CommitOptions{Proposals: []Proposal{&Remove{i}}})
		save()
	}
	r.add(creator, 4, Config{})
	save()
	for range MaxPastEpochs + 1 {
		r.commit(creator, CommitOptions{})
		save()
	}
}

// TestRolledBackSender sends from a state that was restored from an older copy: the
// generation is used a second time, but under another nonce (RFC 9420, Section 6.3.1).
func TestRolledBackSender(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0], r.members[1].group
	guards := make(map[[4]byte]bool)
	for range 3 {
		message := must(cloneGroup(t, alice).Encrypt([]byte("again"), nil))
		data := must(must(ParseMessage(message)).PrivateMessage.decryptSenderData(bob.suite, bob.epoch.secrets.senderData(bob.suite)))
		if data.generation != 0 {
			t.Errorf("generation %d", data.generation)
		}
		guards[data.reuseGuard] = true
	}
	if len(guards) != 3 {
		t.Error("a reuse guard was used twice")
	}
}

// TestRemovedMemberSpeaksInThePast lets somebody who was removed send in the epoch
// before. The message says so by its epoch, and the application can end that.
func TestRemovedMemberSpeaksInThePast(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, removed := r.members[0].group, cloneGroup(t, r.members[2])
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{2}}})
	m := mustOpen(t, alice, must(removed.Encrypt([]byte("still here"), nil)))
	if _, member := alice.Member(m.Sender.Index); member || m.Epoch != alice.Epoch()-1 {
		t.Errorf("message of epoch %d from a member", m.Epoch)
	}
	alice.ForgetPastEpochs(alice.Epoch())
	mustRefuse(t, alice, must(removed.Encrypt([]byte("and here"), nil)), &EpochError{alice.Epoch(), alice.Epoch() - 1})
}
