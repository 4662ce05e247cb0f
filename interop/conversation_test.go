package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// participant is a member under its name, which is also its identity.
type participant struct {
	name, kind string
	member
}

// conversation is one group, a Delivery Service that hands every message to everybody
// in order, and a judge: after each commit all members have to agree.
type conversation struct {
	t       *testing.T
	peer    *peer
	suite   int
	number  int // among the peer's
	born    int
	members []*participant
	joining []*participant // proposed by reference, joins with the next commit
	leaving []*participant // likewise
}

func newConversation(t *testing.T, p *peer, suite int, creator string) *conversation {
	t.Helper()
	p.groups++
	c := &conversation{t: t, peer: p, suite: suite, number: p.groups}
	first := c.newcomer(creator)
	c.must("creating", first.create(fmt.Appendf(nil, "group of %s", t.Name())))
	c.members = []*participant{first}
	return c
}

func (c *conversation) must(doing string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", doing, err)
	}
}

func (c *conversation) newcomer(kind string) *participant {
	c.t.Helper()
	name := fmt.Sprintf("%s-%d.%d", kind, c.number, c.born)
	habit := habits{public: c.born&1 != 0, restarts: c.born&2 != 0, omitPath: c.born&4 != 0, rotates: c.born%3 == 2}
	c.born++
	return &participant{name, kind, newMember(c.t, c.peer, kind, name, c.suite, habit)}
}

func (c *conversation) leaf(p *participant) uint32 {
	c.t.Helper()
	v, err := p.view()
	c.must("viewing "+p.name, err)
	return v.Leaf
}

func (c *conversation) others(p *participant) []*participant {
	return slices.DeleteFunc(slices.Clone(c.members), func(q *participant) bool { return p == q })
}

// change says what a commit does besides covering the proposals sent before it.
type change struct {
	add      []*participant
	remove   []*participant
	other    []proposal
	public   bool // as a PublicMessage
	withTree bool // the ratchet tree inside the Welcome, not beside it
}

// staged is a commit that its maker has not merged, and what it does to the group.
type staged struct {
	by     *participant
	result commitResult
	add    []*participant
	remove []*participant
	inside bool // the ratchet tree is in the Welcome
}

func (c *conversation) proposals(ch change) []proposal {
	c.t.Helper()
	ps := slices.Clone(ch.other)
	for _, gone := range ch.remove {
		ps = append(ps, proposal{Type: "remove", Leaf: c.leaf(gone)})
	}
	for _, joiner := range ch.add {
		kp, err := joiner.keyPackage()
		c.must("making a key package of "+joiner.name, err)
		ps = append(ps, proposal{Type: "add", KeyPackage: kp})
	}
	return ps
}

func (c *conversation) stage(by *participant, ch change) staged {
	c.t.Helper()
	result, err := by.commit(c.proposals(ch), ch.public, ch.withTree)
	c.must("committing by "+by.name, err)
	return staged{by, result, slices.Concat(c.joining, ch.add), slices.Concat(c.leaving, ch.remove), ch.withTree}
}

// deliver hands a staged commit to all, and the Welcome to those it adds.
func (c *conversation) deliver(s staged) {
	c.t.Helper()
	for _, p := range c.others(s.by) {
		want := "commit"
		if slices.Contains(s.remove, p) {
			want = "removed"
		}
		c.process(p, s.by, s.result.Commit, want)
	}
	c.must("merging by "+s.by.name, s.by.merge())
	c.members = slices.DeleteFunc(c.members, func(p *participant) bool { return slices.Contains(s.remove, p) })
	tree := c.tree(s.by, s.inside)
	for _, joiner := range s.add {
		c.must(fmt.Sprintf("joining by %s with the Welcome of %s", joiner.name, s.by.name),
			joiner.join(s.result.Welcome, tree))
		c.members = append(c.members, joiner)
	}
	c.joining, c.leaving = nil, nil
	c.agree()
}

// tree returns what p holds, or nil where it travels inside of another message.
func (c *conversation) tree(p *participant, inside bool) []byte {
	c.t.Helper()
	if inside {
		return nil
	}
	tree, err := p.tree()
	c.must("exporting the tree of "+p.name, err)
	return tree
}

func (c *conversation) process(p, from *participant, message []byte, want string) processed {
	c.t.Helper()
	got, err := p.process(message)
	c.must(fmt.Sprintf("processing by %s of a %s from %s", p.name, want, from.name), err)
	if got.Kind != want {
		c.t.Fatalf("%s made a %s of a %s from %s", p.name, got.Kind, want, from.name)
	}
	return got
}

func (c *conversation) commit(by *participant, ch change) {
	c.t.Helper()
	c.deliver(c.stage(by, ch))
}

// propose sends a proposal by reference to all.
func (c *conversation) propose(by *participant, p proposal, public bool) {
	c.t.Helper()
	message, err := by.propose(p, public)
	c.must(fmt.Sprintf("proposing %s by %s", p.Type, by.name), err)
	for _, other := range c.others(by) {
		c.process(other, by, message, "proposal")
	}
}

func (c *conversation) proposeAdd(by, joiner *participant, public bool) {
	c.t.Helper()
	c.propose(by, c.proposals(change{add: []*participant{joiner}})[0], public)
	c.joining = append(c.joining, joiner)
}

func (c *conversation) proposeRemove(by, gone *participant, public bool) {
	c.t.Helper()
	c.propose(by, proposal{Type: "remove", Leaf: c.leaf(gone)}, public)
	c.leaving = append(c.leaving, gone)
}

// joinExternally lets joiner in by an external commit on helper's GroupInfo. A joiner who
// is a member replaces its old self.
func (c *conversation) joinExternally(helper, joiner *participant, withTree bool) {
	c.t.Helper()
	info := c.groupInfo(helper, withTree)
	var replace *uint32
	if slices.Contains(c.members, joiner) {
		replace = new(c.leaf(joiner))
	}
	commit, err := joiner.joinExternal(info, c.tree(helper, withTree), replace)
	c.must(fmt.Sprintf("joining externally by %s with the GroupInfo of %s", joiner.name, helper.name), err)
	if replace == nil {
		c.members = append(c.members, joiner)
	}
	c.deliver(staged{by: joiner, result: commitResult{Commit: commit}})
}

func (c *conversation) groupInfo(p *participant, withTree bool) []byte {
	c.t.Helper()
	info, err := p.groupInfo(withTree)
	c.must("making a GroupInfo by "+p.name, err)
	return info
}

// succeed lets opener begin a group of the same people that continues this one or
// branches off it.
func (c *conversation) succeed(opener *participant, suite int) *conversation {
	c.t.Helper()
	c.peer.groups++
	next := &conversation{t: c.t, peer: c.peer, suite: suite, number: c.peer.groups}
	var keyPackages [][]byte
	for _, p := range c.members {
		m, err := p.successor(suite)
		c.must("succeeding "+p.name, err)
		next.members = append(next.members, &participant{p.name, p.kind, m})
		if p == opener {
			continue
		}
		kp, err := m.keyPackage()
		c.must("making a key package of "+p.name, err)
		keyPackages = append(keyPackages, kp)
	}
	first := next.members[slices.Index(c.members, opener)]
	welcome, err := first.open(fmt.Appendf(nil, "branch %d", next.number), keyPackages)
	c.must("opening by "+first.name, err)
	tree := next.tree(first, false)
	for _, p := range next.others(first) {
		c.must(fmt.Sprintf("joining by %s with the Welcome of %s", p.name, first.name), p.join(welcome, tree))
	}
	next.agree()
	return next
}

// letter is an application message under way to those who were members when it was sent.
type letter struct {
	from    *participant
	to      []*participant
	epoch   uint64
	message []byte
	data    []byte
}

func (c *conversation) write(from *participant, data string) letter {
	c.t.Helper()
	message, err := from.send([]byte(data), []byte("read by the Delivery Service too"))
	c.must("sending by "+from.name, err)
	v, err := from.view()
	c.must("viewing "+from.name, err)
	return letter{from, c.others(from), v.Epoch, message, []byte(data)}
}

func (c *conversation) read(l letter) {
	c.t.Helper()
	for _, p := range l.to {
		if !slices.Contains(c.members, p) {
			continue
		}
		got := c.process(p, l.from, l.message, "application")
		if !bytes.Equal(got.Data, l.data) {
			c.t.Fatalf("%s read %q from %s, want %q", p.name, got.Data, l.from.name, l.data)
		}
	}
}

// talk lets everyone say something to everyone.
func (c *conversation) talk() {
	c.t.Helper()
	for _, p := range c.members {
		c.read(c.write(p, "from "+p.name))
	}
}

// agree compares what all members believe, and that they are who they should be.
func (c *conversation) agree() {
	c.t.Helper()
	type shared struct {
		View     view
		Exported []byte
	}
	var want shared
	for i, p := range c.members {
		v, err := p.view()
		c.must("viewing "+p.name, err)
		exported, err := p.export("interop", []byte("context"), 40)
		c.must("exporting by "+p.name, err)
		at := slices.IndexFunc(v.Members, func(m viewMember) bool { return string(m.Identity) == p.name })
		if at < 0 || v.Members[at].Leaf != v.Leaf {
			c.t.Fatalf("%s is not at its leaf %d: %v", p.name, v.Leaf, v.Members)
		}
		v.Leaf = 0
		got := shared{v, exported}
		if i == 0 {
			want = got
		} else if !reflect.DeepEqual(got, want) {
			c.t.Fatalf("%s and %s differ:\n%+v\n%+v", p.name, c.members[0].name, got, want)
		}
	}
	if len(want.View.Members) != len(c.members) {
		c.t.Fatalf("the group has %d members, want %d", len(want.View.Members), len(c.members))
	}
}

// refuses checks that p neither accepts message nor is changed by it.
func (c *conversation) refuses(p *participant, message []byte, what string) {
	c.t.Helper()
	before, err := p.view()
	c.must("viewing "+p.name, err)
	if got, err := p.process(message); err == nil {
		c.t.Fatalf("%s took %s as a %s", p.name, what, got.Kind)
	}
	after, err := p.view()
	c.must("viewing "+p.name, err)
	if !reflect.DeepEqual(before, after) {
		c.t.Fatalf("%s refused %s but changed", p.name, what)
	}
}

// pick returns a random element.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
