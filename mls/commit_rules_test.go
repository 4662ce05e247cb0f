package mls

import (
	"bytes"
	"errors"
	"testing"
)

// TestCommitPathRules breaks the rules for the path of a commit (RFC 9420,
// Sections 7.3, 7.5, 7.6 and 12.4.2).
func TestCommitPathRules(t *testing.T) {
	r := newRoom(t, classic, public, 7)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	alice, bob := r.members[0], r.members[1].group
	dora := r.members[5].group
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b }
	fresh := func() []byte {
		key, err := alice.client.generateKeyPair(alice.group.suite)
		if err != nil {
			t.Fatal(err)
		}
		return key.public
	}
	tests := map[string]struct {
		change func(*Commit)
		resign bool
		want   any
	}{
		"no path":                  {func(c *Commit) { c.path = nil }, false, "lacks the path"},
		"source update":            {func(c *Commit) { c.path.LeafNode.LeafNodeSource = LeafNodeSourceUpdate }, true, "another source"},
		"source key package":       {func(c *Commit) { c.path.LeafNode.LeafNodeSource = LeafNodeSourceKeyPackage }, true, "another source"},
		"leaf signature":           {func(c *Commit) { c.path.LeafNode.Signature = flip(c.path.LeafNode.Signature) }, false, ErrSignature},
		"leaf keeps its key":       {func(c *Commit) { c.path.LeafNode.EncryptionKey = alice.group.ownLeaf().EncryptionKey }, true, "in the tree already"},
		"leaf takes another's key": {func(c *Commit) { c.path.LeafNode.EncryptionKey = bob.ownLeaf().EncryptionKey }, true, "in the tree already"},
		"another signature key":    {func(c *Commit) { c.path.LeafNode.SignatureKey = bob.ownLeaf().SignatureKey }, true, ErrSignature},
		"no capabilities":          {func(c *Commit) { c.path.LeafNode.Capabilities.Credentials = nil }, true, "not in its capabilities"},
		"parent hash missing":      {func(c *Commit) { c.path.LeafNode.ParentHash = nil }, true, "parent hash"},
		"parent hash cut":          {func(c *Commit) { c.path.LeafNode.ParentHash = c.path.LeafNode.ParentHash[:31] }, true, "parent hash"},
		"parent hash":              {func(c *Commit) { c.path.LeafNode.ParentHash = flip(c.path.LeafNode.ParentHash) }, true, "parent hash"},
		"path key in the tree":     {func(c *Commit) { c.path.Nodes[0].EncryptionKey = bob.epoch.tree.root.parent.EncryptionKey }, false, "in the tree already"},
		"path key of a leaf":       {func(c *Commit) { c.path.Nodes[1].EncryptionKey = bob.ownLeaf().EncryptionKey }, false, "in the tree already"},
		"path key twice":           {func(c *Commit) { c.path.Nodes[1].EncryptionKey = c.path.Nodes[0].EncryptionKey }, false, "twice in the update path"},
		"path key as leaf key":     {func(c *Commit) { c.path.LeafNode.EncryptionKey = c.path.Nodes[0].EncryptionKey }, true, "twice in the update path"},
		"path key invalid":         {func(c *Commit) { c.path.Nodes[0].EncryptionKey = []byte("short") }, false, ErrInvalidKey},
		"path too short":           {func(c *Commit) { c.path.Nodes = c.path.Nodes[:2] }, false, "2 nodes instead of 3"},
		"path empty":               {func(c *Commit) { c.path.Nodes = nil }, false, "0 nodes instead of 3"},
		"path too long":            {func(c *Commit) { c.path.Nodes = append(c.path.Nodes, UpdatePathNode{EncryptionKey: fresh()}) }, false, "4 nodes instead of 3"},
		"ciphertext missing":       {func(c *Commit) { c.path.Nodes[0].EncryptedPathSecret = nil }, false, "0 ciphertexts instead of 1"},
		"ciphertext too many": {func(c *Commit) {
			n := &c.path.Nodes[2]
			n.EncryptedPathSecret = append(n.EncryptedPathSecret, n.EncryptedPathSecret[0])
		}, false, "ciphertexts instead of"},
		"other path key": {func(c *Commit) { c.path.Nodes[2].EncryptionKey = fresh() }, false, "parent hash"},
		"added member counted": {func(c *Commit) {
			c.proposals = append(c.proposals, byValue(&Add{newPerson(t, "new", classic, Config{}).keyPackage()}))
		}, false, "parent hash"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			message := alice.tamperCommit(CommitOptions{}, func(c *Commit) {
				tt.change(c)
				if tt.resign {
					alice.resignLeaf(c.path.LeafNode)
				}
			})
			refused(t, bob, message, tt.want)
			refused(t, dora, message, tt.want)
		})
	}
	t.Run("ciphertexts", func(t *testing.T) {
		damage := func(change func(*HPKECiphertext)) []byte {
			return alice.tamperCommit(CommitOptions{}, func(c *Commit) {
				for i := range c.path.Nodes {
					for j := range c.path.Nodes[i].EncryptedPathSecret {
						change(&c.path.Nodes[i].EncryptedPathSecret[j])
					}
				}
			})
		}
		refused(t, bob, damage(func(c *HPKECiphertext) { c.Ciphertext = flip(c.Ciphertext) }), ErrDecryption)
		refused(t, bob, damage(func(c *HPKECiphertext) { c.Ciphertext = nil }), ErrDecryption)
		for _, size := range []int{0, 31, 33} {
			before := bob.Marshal()
			if _, err := bob.Process(damage(func(c *HPKECiphertext) { c.KEMOutput = make([]byte, size) })); err == nil {
				t.Errorf("KEM output of %d bytes was accepted", size)
			}
			if !bytes.Equal(bob.Marshal(), before) {
				t.Error("refused message changed the group")
			}
		}
	})
	t.Run("path secret of other keys", func(t *testing.T) {
		for _, secret := range [][]byte{make([]byte, 32), make([]byte, 31), {}} {
			refused(t, bob, alice.commitWithPathSecret(secret), "path secret")
		}
	})
}

// commitWithPathSecret makes a commit that encrypts another path secret than that of
// its keys.
func (p *person) commitWithPathSecret(secret []byte) []byte {
	p.t.Helper()
	g := p.group
	t := g.newTransition()
	leaf, err := p.client.replaceLeafNode(g.suite, g.ownLeaf(), p.id, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	path, err := p.client.makePath(t.tree, g.private.leaf, leaf, p.id.Signer, g.ID())
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range path.chain.secrets {
		path.chain.secrets[i] = secret
	}
	t.tree = path.tree
	context := t.provisionalContext()
	update, err := path.encrypt(context.Marshal(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.forge(memberSender(g.private.leaf), content{contentType: ContentTypeCommit, commit: &Commit{path: update}})
}

// TestExternalCommitRules breaks the rules for external commits (RFC 9420,
// Section 12.4.3.2).
func TestExternalCommitRules(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	bob := r.members[1].group
	info, err := bob.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "joiner", classic, Config{})
	tamper := func(change func(*Commit)) []byte {
		_, commit, err := p.client.JoinExternal(info, p.id, ExternalJoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseMessage(commit)
		if err != nil {
			t.Fatal(err)
		}
		a := m.PublicMessage.authenticatedContent()
		change(a.content.commit)
		if err := a.sign(bob.suite, p.id.Signer, bob.epoch.contextBytes); err != nil {
			t.Fatal(err)
		}
		return a.protectPublic(bob.suite, nil, nil)
	}
	appended := func(list ...Proposal) func(*Commit) {
		return func(c *Commit) {
			for _, q := range list {
				c.proposals = append(c.proposals, byValue(q))
			}
		}
	}
	stored := r.members[2].forgeProposal(&Remove{0})
	if _, err := bob.Process(stored); err != nil {
		t.Fatal(err)
	}
	ref := bob.proposals[0].ref
	tests := map[string]struct {
		change func(*Commit)
		want   any
	}{
		"no ExternalInit":        {func(c *Commit) { c.proposals = nil }, "0 ExternalInit"},
		"two ExternalInits":      {func(c *Commit) { c.proposals = append(c.proposals, c.proposals[0]) }, "2 ExternalInit"},
		"two Removes":            {appended(&Remove{0}, &Remove{2}), "2 Remove"},
		"Remove of a blank leaf": {appended(&Remove{3}), "Remove of a blank leaf"},
		"Add":                    {appended(&Add{newPerson(t, "x", classic, Config{}).keyPackage()}), "proposal of type 0x0001"},
		"ReInit":                 {appended(&ReInit{Version: 1}), "proposal of type 0x0005"},
		"extensions":             {appended(&GroupContextExtensions{}), "proposal of type 0x0007"},
		"custom proposal":        {appended(&CustomProposal{customProposal, nil}), "proposal of type 0xF0BB"},
		"reinit PSK":             {appended(resumptionPSK(bob, ResumptionPSKUsageReinit, 1, 32)), "reinitialisation"},
		"by reference":           {func(c *Commit) { c.proposals = append(c.proposals, proposalOrRef{reference: ref}) }, "proposal by reference"},
		"no path":                {func(c *Commit) { c.path = nil }, "without a path"},
		"KEM output":             {func(c *Commit) { c.proposals[0] = byValue(&ExternalInit{[]byte{1}}) }, "does not decapsulate"},
		"other KEM output":       {func(c *Commit) { c.proposals[0] = byValue(&ExternalInit{bytes.Repeat([]byte{7}, 32)}) }, "confirmation tag"},
		"other signature key":    {func(c *Commit) { c.path.LeafNode.SignatureKey = bob.ownLeaf().SignatureKey }, ErrSignature},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { refused(t, bob, tamper(tt.change), tt.want) })
	}
	t.Run("by a member who stays", func(t *testing.T) {
		_, commit, err := r.members[0].client.JoinExternal(info, r.members[0].id, ExternalJoinOptions{})
		if err == nil {
			refused(t, bob, commit, "signature key of a leaf occurs twice")
		} else {
			wantError(t, err, "signature key of a leaf occurs twice")
		}
	})
	t.Run("GroupInfo", func(t *testing.T) {
		m, err := ParseMessage(info)
		if err != nil {
			t.Fatal(err)
		}
		i := m.GroupInfo
		key, ok := FindExtension(i.Extensions, ExtensionTypeExternalPub)
		if !ok || len(key) != 33 || key[0] != 32 {
			t.Errorf("external_pub is %x: it has a length of its own", key)
		}
		for at := range i.Extensions {
			if i.Extensions[at].ExtensionType == ExtensionTypeExternalPub {
				i.Extensions[at].ExtensionData = key[1:]
			}
		}
		if i.Signature, err = bob.suite.signWithLabel(r.members[1].id.Signer, groupInfoLabel, i.tbs()); err != nil {
			t.Fatal(err)
		}
		_, _, err = p.client.JoinExternal(i.Message(), p.id, ExternalJoinOptions{})
		wantError(t, err, ErrMalformed)
		if without, err := bob.client.newGroupInfo(bob.state(), true, false, nil); err != nil {
			t.Fatal(err)
		} else if _, _, err := p.client.JoinExternal(without.Message(), p.id, ExternalJoinOptions{}); err == nil {
			t.Error("joined without external_pub")
		}
	})
}

// TestCommitRace has two members commit at once: the loser processes the winner's
// and goes on. So does one who is removed, or whose group is joined from outside,
// while its own commit is pending.
func TestCommitRace(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	alice, bob, carol, dave := r.members[0], r.members[1], r.members[2], r.members[3]
	lost, err := bob.group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.group.Commit(CommitOptions{}); !errors.Is(err, ErrPendingCommit) {
		t.Errorf("second pending commit: %v", err)
	}
	r.commit(alice, CommitOptions{})
	if bob.group.PendingCommit() != nil {
		t.Error("the losing commit is still pending")
	}
	if err := bob.group.MergePendingCommit(); !errors.Is(err, ErrPendingCommit) {
		t.Errorf("merging the losing commit: %v", err)
	}
	refused(t, alice.group, lost.Commit, &EpochError{})

	// An external commit wins.
	if _, err := bob.group.Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	info, err := alice.group.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "joiner", classic, Config{})
	g, commit, err := p.client.JoinExternal(info, p.id, ExternalJoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.group = g
	for _, m := range r.members {
		if err := m.group.Merge(mustStage(t, m.group, commit)); err != nil {
			t.Fatal(err)
		}
	}
	r.members = append(r.members, p)
	r.checkAgreement()

	// Removed while a commit is pending.
	if _, err := dave.group.Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	r.commit(carol, CommitOptions{Proposals: []Proposal{&Remove{3}}})
	if dave.group.Active() || dave.group.PendingCommit() != nil {
		t.Error("removed member is active")
	}
	for name, err := range map[string]error{
		"Commit": call(dave.group.Commit(CommitOptions{})), "Encrypt": call(dave.group.Encrypt(nil, nil)),
		"Propose": call(dave.group.Propose(&Remove{0}, nil)), "ProposeUpdate": call(dave.group.ProposeUpdate(UpdateOptions{})),
		"GroupInfo": call(dave.group.GroupInfo(true)), "Process": call(dave.group.Process(nil)),
	} {
		if !errors.Is(err, ErrInactive) {
			t.Errorf("%s of a removed member: %v", name, err)
		}
	}
	r.say(bob, "without him")
}

func call[T any](_ T, err error) error { return err }

// TestStagedCommit checks that a staged commit has no effect before it is merged,
// and is merged only on the state that it was staged on.
func TestStagedCommit(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0].group, r.members[1].group
	pending, err := alice.Commit(CommitOptions{AuthenticatedData: []byte("list")})
	if err != nil {
		t.Fatal(err)
	}
	before := bob.Marshal()
	first, second := mustStage(t, bob, pending.Commit), mustStage(t, bob, pending.Commit)
	if !bytes.Equal(bob.Marshal(), before) {
		t.Error("staging changed the group")
	}
	if first.Epoch() != 2 || first.Own() || first.Committer != memberSender(0) || string(first.AuthenticatedData) != "list" ||
		len(first.Updated) != 1 || len(first.Added)+len(first.Removed) != 0 || len(first.Members()) != 3 {
		t.Errorf("staged commit is %+v", first)
	}
	if err := r.members[2].group.Merge(first); !errors.Is(err, ErrStagedCommit) {
		t.Errorf("merging into another group: %v", err)
	}
	if err := bob.Merge(first); err != nil {
		t.Fatal(err)
	}
	if err := bob.Merge(second); !errors.Is(err, ErrStagedCommit) {
		t.Errorf("merging twice: %v", err)
	}
	own := mustStage(t, alice, pending.Commit)
	if !own.Own() || len(own.Updated) != 1 || own.Updated[0].Index != 0 {
		t.Errorf("own commit is %+v", own)
	}
	if err := alice.Merge(own); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(alice.EpochAuthenticator(), bob.EpochAuthenticator()) {
		t.Error("members disagree")
	}
}
