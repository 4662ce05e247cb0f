package mls

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests of this file are about what other implementations got wrong, and what
// the official vectors do not cover.

// TestRootFilteredFromPath has one half of the tree blank, so that the root is not
// on the filtered direct path. The commit secret is one step after the last path
// secret all the same (RFC 9420, Section 12.4.1).
func TestRootFilteredFromPath(t *testing.T) {
	r := newRoom(t, classic, public, 5)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	// Leaves 0 to 3 go but for one pair each time; leaf 4 is alone on the right.
	alice := r.members[4]
	r.commit(alice, CommitOptions{Proposals: []Proposal{&Remove{0}, &Remove{1}}})
	tree := alice.group.epoch.tree
	if got := tree.filteredPath(2); !slices.Equal(got, []int{1, 3}) {
		t.Fatalf("filtered path of leaf 2 is %v", got)
	}
	if got := tree.filteredPath(4); !slices.Equal(got, []int{3}) {
		t.Fatalf("filtered path of leaf 4 is %v", got)
	}
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	// Now the half with the committers holds all members, with the tree not yet cut.
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{4}}})
	if h := r.members[0].group.epoch.tree.height; h != 2 {
		t.Fatalf("tree has height %d", h)
	}
	if got := r.members[0].group.epoch.tree.filteredPath(2); !slices.Equal(got, []int{1}) {
		t.Fatalf("filtered path of leaf 2 is %v", got)
	}
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	joiners := r.add(r.members[1], 4, public)
	for _, p := range joiners {
		r.commit(p, CommitOptions{})
	}
	r.say(r.members[0], "still here")
}

// TestCommitSecretWithoutRoot computes the commit secret of such a path by hand.
func TestCommitSecretWithoutRoot(t *testing.T) {
	s, _ := classic.suite()
	secret := bytes.Repeat([]byte{7}, s.nh)
	chain, err := s.derivePath(bytes.Clone(secret), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := s.deriveSecret(secret, "path"); !bytes.Equal(chain.commitSecret, want) {
		t.Errorf("commit secret is %x, want %x", chain.commitSecret, want)
	}
}

// TestUnmergedLeafBelowOnly accepts a leaf that is unmerged at a node but not at the
// one above, which another commit has set since (RFC 9420, Section 7.9.2 and
// 12.4.3.1).
func TestUnmergedLeafBelowOnly(t *testing.T) {
	r := newRoom(t, classic, public, 4)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{3}}})
	r.commit(r.members[2], CommitOptions{})
	r.commit(r.members[0], CommitOptions{})
	// Leaf 3 comes back without a path: unmerged at all nodes above. Then a member
	// on the other side commits, which merges it at the root alone.
	p := newPerson(t, "late", classic, public)
	r.commit(r.members[0], CommitOptions{OmitPath: true, Proposals: []Proposal{&Add{p.keyPackage()}}}, p)
	r.commit(r.members[1], CommitOptions{})
	tree := r.members[0].group.epoch.tree
	if tree.root.parent.unmerged(3) || len(tree.root.parent.UnmergedLeaves) != 0 {
		t.Fatal("root lists the leaf")
	}
	for _, n := range tree.path(3)[:1] {
		if n.parent != nil && !n.parent.unmerged(3) {
			t.Fatal("node below does not list the leaf")
		}
	}
	r.add(r.members[1], 3, public)
	r.commit(p, CommitOptions{})
	r.say(p, "merged")
}

// TestTruncation checks when the tree is cut after removals, and that it grows
// again (RFC 9420, Section 7.7).
func TestTruncation(t *testing.T) {
	r := newRoom(t, classic, public, 9)
	alice := r.members[0]
	heights := []struct {
		remove []LeafIndex
		height int
	}{{[]LeafIndex{7}, 4}, {[]LeafIndex{8}, 3}, {[]LeafIndex{4, 5}, 3}, {[]LeafIndex{6}, 2}, {[]LeafIndex{2, 3}, 1}, {[]LeafIndex{1}, 0}}
	for _, step := range heights {
		var proposals []Proposal
		for _, i := range step.remove {
			proposals = append(proposals, &Remove{i})
		}
		r.commit(alice, CommitOptions{Proposals: proposals})
		if got := alice.group.epoch.tree.height; got != step.height {
			t.Fatalf("after removing %v the tree has height %d, want %d", step.remove, got, step.height)
		}
	}
	r.add(alice, 2, public)
	r.say(alice, "again")
	// Remove the last and add in one commit: the tree is cut first.
	p := newPerson(t, "new", classic, public)
	r.commit(alice, CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}, &Remove{2}}}, p)
	if i := p.group.OwnIndex(); i != 2 {
		t.Errorf("new member has index %d", i)
	}
}

// TestUpdateThenRemoved has a member's Update committed in one epoch and the member
// removed in the same commit as its Update is known: the Remove wins, and the Update
// is dropped.
func TestUpdateThenRemoved(t *testing.T) {
	r := newRoom(t, classic, public, 3)
	m, err := r.members[1].group.ProposeUpdate(UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		if _, err := r.members[i].group.Process(m); err != nil {
			t.Fatal(err)
		}
	}
	r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{1}}})
	if len(r.members) != 2 {
		t.Errorf("%d members", len(r.members))
	}
}

// TestVarint reads variable-length integers at the edges of each length, and
// refuses those that are too long for their value (RFC 9420, Section 2.1.2).
func TestVarint(t *testing.T) {
	for n, want := range map[int]int{0: 1, 0x3E: 1, 0x3F: 1, 0x40: 2, 0x3FFE: 2, 0x3FFF: 2, 0x4000: 4, 0x4001: 4, maxVectorLength: 4} {
		b := appendVarint(nil, n)
		r := reader{rest: b}
		if got := r.varint(); got != n || r.finish() != nil || len(b) != want || varintSize(n) != want {
			t.Errorf("%#x is encoded as %x and read as %#x, error %v", n, b, got, r.err)
		}
	}
	for _, b := range [][]byte{
		{}, {0x40}, {0x40, 0}, {0x40, 0x3F}, {0x80}, {0x80, 0, 0}, {0x80, 0, 0, 0}, {0x80, 0, 0x3F, 0xFF}, {0x80, 0, 0, 0x3F},
		{0xC0}, {0xC0, 0, 0, 0}, {0xC0, 0, 0, 0, 0, 0, 0, 0}, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
	} {
		r := reader{rest: b}
		if n := r.varint(); r.err == nil {
			t.Errorf("%x is read as %d", b, n)
		}
	}
	long := appendSized(nil, func(b []byte) []byte { return append(b, make([]byte, 0x4000)...) })
	if len(long) != 0x4004 || !bytes.Equal(long, appendVector(nil, make([]byte, 0x4000))) {
		t.Error("vector of 0x4000 bytes has another form when its length is not known before")
	}
	// A length that is not there is not allocated.
	r := reader{rest: []byte{0xBF, 0xFF, 0xFF, 0xFF, 1}}
	if v := r.vector(); v != nil || r.err == nil {
		t.Error("vector longer than its input")
	}
}

// TestTruncatedMessages parses every beginning of messages of each kind, and each
// message with a byte more.
func TestTruncatedMessages(t *testing.T) {
	for name, message := range seedMessages(t) {
		if _, err := ParseMessage(message); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range message {
			if _, err := ParseMessage(message[:i]); err == nil {
				t.Fatalf("%s parses when cut at byte %d", name, i)
			}
		}
		if _, err := ParseMessage(append(bytes.Clone(message), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
	for _, b := range [][]byte{{0, 2, 0, 1}, {0, 0, 0, 1}, {0, 1, 0, 0}, {0, 1, 0, 6}} {
		if _, err := ParseMessage(b); !errors.Is(err, ErrUnsupported) {
			t.Errorf("message %x: %v", b, err)
		}
	}
}

// seedMessages returns a message of each kind.
func seedMessages(t testing.TB) map[string][]byte {
	t.Helper()
	messages := make(map[string][]byte)
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, config := range map[string]Config{"public": public, "private": {}} {
		r := newRoom(t, classic, config, 3)
		g := r.members[0].group
		p := newPerson(t, "new", classic, config)
		messages["key package"] = p.keyPackage().Message()
		messages[name+" update"] = must(g.ProposeUpdate(UpdateOptions{}))
		messages[name+" remove"] = must(g.Propose(&Remove{1}, []byte("data")))
		messages[name+" psk"] = must(g.Propose(externalPSK("a", 0), nil))
		messages[name+" reinit"] = must(g.Propose(&ReInit{GroupID: []byte("x"), Version: 1, CipherSuite: classic}, nil))
		messages[name+" extensions"] = must(g.Propose(&GroupContextExtensions{[]Extension{RequiredCapabilities{}.Extension()}}, nil))
		g.ClearProposals()
		messages["application"] = must(g.Encrypt([]byte("data"), []byte("data")))
		pending, err := g.Commit(CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}}})
		if err != nil {
			t.Fatal(err)
		}
		messages[name+" commit"], messages["welcome"] = pending.Commit, pending.Welcome
		messages["group info"] = must(g.GroupInfo(true))
		_, messages["external commit"], err = p.client.JoinExternal(messages["group info"], p.id, ExternalJoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return messages
}

// TestStolenState uses a copy of a member's state: it works until the member renews
// its keys, and then opens nothing more.
func TestStolenState(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	victim := r.members[1]
	stolen, err := victim.client.UnmarshalGroup(victim.group.Marshal(), victim.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	follow := func(commit []byte) error {
		p, err := stolen.Process(commit)
		if err != nil {
			return err
		}
		return stolen.Merge(p.(*StagedCommit))
	}
	pending, err := r.members[0].group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.deliver(r.members[0], pending)
	if err := follow(pending.Commit); err != nil {
		t.Fatalf("stolen state does not even follow: %v", err)
	}
	if pending, err = victim.group.Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	r.deliver(victim, pending)
	if err := follow(pending.Commit); err == nil {
		t.Error("stolen state follows the commit of its victim")
	}
	secret, err := r.members[2].group.Encrypt([]byte("healed"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stolen.Process(secret); err == nil {
		t.Error("stolen state opens a later message")
	}
}

// TestRemovedAndJoining checks that a removed member opens nothing later, even if it
// pretends to be one still, and a new member nothing earlier.
func TestRemovedAndJoining(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	early, err := r.members[0].group.Encrypt([]byte("early"), nil)
	if err != nil {
		t.Fatal(err)
	}
	joiner := r.add(r.members[0], 1, Config{})[0]
	refused(t, joiner.group, early, &EpochError{})

	removed := r.members[2]
	pending, err := r.members[0].group.Commit(CommitOptions{Proposals: []Proposal{&Remove{2}}})
	if err != nil {
		t.Fatal(err)
	}
	// It knows the context that the path secrets are encrypted under, and tries its
	// keys on each. Those of a member who stays open one.
	context := pending.next.epoch.context
	context.ConfirmedTranscriptHash = removed.group.epoch.context.ConfirmedTranscriptHash
	m, err := ParseMessage(pending.Commit)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := removed.group.open(removed.group.epoch, m.PrivateMessage)
	if err != nil {
		t.Fatal(err)
	}
	path := a.content.commit.path
	opened := func(g *Group) (n int) {
		for _, key := range g.private.keys {
			for _, node := range path.Nodes {
				for _, c := range node.EncryptedPathSecret {
					if _, err := g.suite.decryptWithLabel(key.private, updatePathLabel, context.Marshal(), c); err == nil {
						n++
					}
				}
			}
		}
		return n
	}
	if n := opened(r.members[1].group); n != 1 {
		t.Errorf("member who stays opens %d path secrets", n)
	}
	if n := opened(removed.group); n != 0 {
		t.Errorf("removed member opens %d path secrets", n)
	}
	r.deliver(r.members[0], pending)
	late, err := r.members[0].group.Encrypt([]byte("late"), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, removed.group, late, ErrInactive)
}

// TestNewMembersNotOnCopath checks that path secrets are not encrypted to the
// members that the same commit adds (RFC 9420, Section 7.6).
func TestNewMembersNotOnCopath(t *testing.T) {
	r := newRoom(t, classic, public, 2)
	p := newPerson(t, "new", classic, public)
	pending, err := r.members[0].group.Commit(CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMessage(pending.Commit)
	if err != nil {
		t.Fatal(err)
	}
	nodes := m.PublicMessage.content.commit.path.Nodes
	if len(nodes) != 2 || len(nodes[0].EncryptedPathSecret) != 1 || len(nodes[1].EncryptedPathSecret) != 0 {
		t.Errorf("path is %+v", nodes)
	}
}

// TestSecretsAreForgotten checks that what was used is gone from the state (RFC
// 9420, Section 9.2).
func TestSecretsAreForgotten(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0].group, r.members[1].group
	root := bytes.Clone(bob.epoch.messages.nodes[rootOf(2)])
	message, err := alice.Encrypt([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	use, err := bob.epoch.messages.find(0, applicationRatchet, 0)
	if err != nil {
		t.Fatal(err)
	}
	key, ratchet := bytes.Clone(use.key), bytes.Clone(use.ratchets[applicationRatchet].secret)
	initSecret := bytes.Clone(bob.epoch.secrets.initSecret)
	mustOpen(t, bob, message)
	state := bob.Marshal()
	for name, secret := range map[string][]byte{"encryption secret": root, "message key": key, "ratchet secret": ratchet} {
		if bytes.Contains(state, secret) {
			t.Errorf("%s is still there", name)
		}
	}
	leafKey := bytes.Clone(bob.private.keys[bob.private.leaf.node()].secret)
	r.commit(r.members[1], CommitOptions{})
	state = bob.Marshal()
	for name, secret := range map[string][]byte{"init secret": initSecret, "leaf key": leafKey} {
		if bytes.Contains(state, secret) {
			t.Errorf("%s of the last epoch is still there", name)
		}
	}
	// And the sender has used a generation only once.
	if next := alice.past[len(alice.past)-1].messages.senders[0][applicationRatchet].next; next != 1 {
		t.Errorf("next generation is %d", next)
	}
	// Memory that held them is zeroed, not only let go of.
	save := func() {
		if err := bob.Save(func([]Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	save()
	old := bob.epoch
	held := [][]byte{old.secrets.initSecret, old.secrets.exporterSecret, old.secrets.confirmationKey, old.secrets.senderDataSecret}
	held = append(held, bob.private.keys[rootOf(2)].secret, bob.saved.header)
	r.commit(r.members[0], CommitOptions{})
	if len(old.secrets.senderDataSecret) == 0 {
		t.Error("late messages could not be opened")
	}
	bob.ForgetPastEpochs(bob.Epoch())
	save()
	for i, secret := range held {
		if !bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("secret %d is not zeroed", i)
		}
	}
	if old.secrets.senderDataExpander != nil || len(old.messages.nodes)+len(old.messages.senders) > 0 {
		t.Error("a past epoch's message keys are kept")
	}
}

// TestPrivateKeyPackage stores a private key package, and prints it.
func TestPrivateKeyPackage(t *testing.T) {
	p := newPerson(t, "p", classic, Config{})
	p.keyPackage()
	b := p.kps[0].Marshal()
	again, err := ParsePrivateKeyPackage(b)
	if err != nil || !bytes.Equal(again.Marshal(), b) {
		t.Errorf("private key package does not come back: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if s := fmt.Sprintf(verb, p.kps[0]); s != "mls.PrivateKeyPackage(redacted)" {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	for _, cut := range []int{0, 1, len(b) - 1} {
		if _, err := ParsePrivateKeyPackage(b[:cut]); err == nil {
			t.Errorf("private key package cut at %d", cut)
		}
	}
}

// TestParentHashOverBlanks walks through trees in which nodes between are blank or
// have unmerged leaves, and has somebody join each.
func TestParentHashOverBlanks(t *testing.T) {
	r := newRoom(t, classic, public, 8)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	join := func() {
		t.Helper()
		g := r.members[0].group
		if _, err := r.members[0].client.validateTree(g.epoch.tree, g.ID(), nil); err != nil {
			t.Fatalf("tree of epoch %d: %v", g.Epoch(), err)
		}
	}
	for _, i := range []LeafIndex{1, 2, 3} { // the left half is one leaf
		r.commit(r.members[len(r.members)-1], CommitOptions{Proposals: []Proposal{&Remove{i}}})
		join()
	}
	r.commit(r.members[0], CommitOptions{})
	join()
	for _, by := range []int{0, 2, 1} { // filled again, unmerged
		p := newPerson(t, "new", classic, public)
		r.commit(r.members[by], CommitOptions{OmitPath: true, Proposals: []Proposal{&Add{p.keyPackage()}}}, p)
		join()
	}
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
		join()
	}
	r.commit(r.members[1], CommitOptions{Proposals: []Proposal{&Remove{0}}}) // an empty left leaf
	join()
	r.commit(r.members[0], CommitOptions{})
	join()
}

// TestGenerationsCount checks that each message of a sender has a key of its own, and
// that handshake messages count on their own (RFC 9420, Section 9.1).
func TestGenerationsCount(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	for i := range uint32(5) {
		if m := mustOpen(t, bob, must(alice.Encrypt([]byte("m"), nil))); m.Generation != i {
			t.Errorf("message %d has generation %d", i, m.Generation)
		}
		if _, err := bob.Process(must(alice.Propose(&GroupContextExtensions{}, []byte{byte(i)}))); err != nil {
			t.Fatal(err)
		}
		alice.ClearProposals()
		for kind, want := range [...]uint32{handshakeRatchet: i + 1, applicationRatchet: i + 1} {
			for _, g := range []*Group{alice, bob} {
				if next := g.epoch.messages.senders[0][kind].next; next != want {
					t.Errorf("generation %d comes next, want %d", next, want)
				}
			}
		}
	}
}

// TestTagsAreComparedInConstantTime looks for comparisons of tags that stop at the
// first difference.
func TestTagsAreComparedInConstantTime(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	tags := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) != 2 {
				return true
			}
			isTag := slices.ContainsFunc(c.Args, func(e ast.Expr) bool {
				return regexp.MustCompile(`(?i)\b(\w+\.)*\w*tag$`).MatchString(types.ExprString(e))
			})
			switch types.ExprString(c.Fun) {
			case "macEqual":
				tags++
			case "bytes.Equal", "slices.Equal", "bytes.Compare":
				if isTag {
					t.Errorf("%s: %s", f, types.ExprString(c))
				}
			}
			return true
		})
	}
	if tags < 3 {
		t.Errorf("only %d tags are compared", tags)
	}
}
