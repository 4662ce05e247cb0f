package interop

import (
	"fmt"
	"slices"
	"testing"

	"sealpost/mls"
)

// scenarios are short lives of a group; each is played once with either side in the
// first role. Those that are about the shape of the tree or the order of messages are the
// same for all suites, and are played with one classical and one hybrid suite.
var scenarios = []struct {
	name       string
	everySuite bool
	play       func(c *conversation, first *participant, us, them string)
}{
	{"add, talk, update, remove", true, playLife},
	{"proposals by reference", true, playProposals},
	{"external joins", true, playExternalJoins},
	{"pre-shared key and extensions", true, playOtherProposals},
	{"proposals from outside", true, playOutsiders},
	{"branch and reinitialise", true, playSuccession},
	{"what has to be refused", true, playRefusals},
	{"a lost race", false, playRace},
	{"late and reordered messages", false, playLateMessages},
	{"a blank half of the tree", false, playBlankHalf},
	{"unmerged leaves", false, playUnmergedLeaves},
}

func TestScenarios(t *testing.T) {
	for _, s := range hpkeSuites {
		t.Run(fmt.Sprintf("suite %#04x", s.suite), func(t *testing.T) {
			t.Parallel()
			playScenarios(t, startPeer(t), s.suite)
		})
	}
}

func playScenarios(t *testing.T, p *peer, suite int) {
	for _, scenario := range scenarios {
		if !scenario.everySuite && suite != 0x0001 && suite != 0xF002 {
			continue
		}
		for i, us := range kinds {
			them := kinds[len(kinds)-1-i]
			t.Run(fmt.Sprintf("%s, %s first", scenario.name, us), func(t *testing.T) {
				c := newConversation(t, p, suite, us)
				scenario.play(c, c.members[0], us, them)
			})
		}
	}
}

func (c *conversation) newcomers(kinds ...string) []*participant {
	c.t.Helper()
	var all []*participant
	for _, kind := range kinds {
		all = append(all, c.newcomer(kind))
	}
	return all
}

func playLife(c *conversation, first *participant, us, them string) {
	second, third, fourth := c.newcomer(them), c.newcomer(them), c.newcomer(us)
	c.commit(first, change{add: []*participant{second}, withTree: true})
	c.talk()
	c.commit(second, change{})
	c.commit(first, change{})
	c.commit(second, change{add: []*participant{third, fourth}, public: true})
	c.talk()
	c.commit(third, change{})
	c.commit(fourth, change{public: true})
	c.commit(first, change{remove: []*participant{third}, withTree: true})
	c.talk()
	c.commit(second, change{remove: []*participant{first}, add: c.newcomers(us), withTree: true})
	c.talk()
}

func playProposals(c *conversation, first *participant, us, them string) {
	rest := c.newcomers(them, us, them, us, them)
	c.commit(first, change{add: rest, withTree: true})
	for _, public := range []bool{false, true} {
		a, b := c.members[0], c.members[1]
		c.propose(a, proposal{Type: "update"}, public)
		c.propose(b, proposal{Type: "update"}, public)
		c.commit(c.members[2], change{public: public})
		c.talk()
		c.propose(a, proposal{Type: "update"}, public)
		c.commit(a, change{}) // leaves out the committer's own Update
		c.proposeAdd(a, c.newcomer(us), public)
		c.proposeAdd(b, c.newcomer(them), public)
		c.proposeRemove(b, c.members[3], public)
		c.commit(b, change{withTree: public})
		c.talk()
		gone := c.members[len(c.members)-1]
		c.propose(gone, proposal{Type: "update"}, public)
		c.commit(b, change{remove: []*participant{gone}}) // which leaves out its Update
	}
	leaver := c.members[len(c.members)-1]
	c.proposeRemove(leaver, leaver, false)
	c.commit(c.members[0], change{})
	c.talk()
}

func playExternalJoins(c *conversation, first *participant, us, them string) {
	c.joinExternally(first, c.newcomer(them), true)
	c.joinExternally(c.members[1], c.newcomer(us), false)
	c.talk()
	c.joinExternally(c.members[1], c.newcomer(them), true)
	c.commit(c.members[1], change{remove: []*participant{c.members[0], c.members[2]}})
	c.joinExternally(c.members[0], c.newcomer(us), true)
	c.commit(c.members[0], change{})
	c.talk()
	for _, again := range c.members[:2] {
		c.joinExternally(c.others(again)[0], again, true)
	}
	c.talk()
}

// playOutsiders lets newcomers ask to be added, and external senders to remove members.
func playOutsiders(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them, us, them), withTree: true})
	senders := c.newcomers(them, us)
	var list []mls.ExternalSender
	for _, s := range senders {
		key, err := s.signatureKey()
		c.must("reading a key", err)
		list = append(list, mls.ExternalSender{SignatureKey: key, Credential: mls.BasicCredential([]byte(s.name))})
	}
	extension := mls.ExternalSendersExtension(list)
	c.commit(first, change{other: []proposal{{
		Type: "extensions", Extension: uint16(extension.ExtensionType), Data: extension.ExtensionData,
	}}})
	for i, s := range senders {
		gone, helper := c.members[len(c.members)-1], c.members[i]
		message, err := s.proposeFromOutside(c.groupInfo(helper, true), uint32(i), proposal{Type: "remove", Leaf: c.leaf(gone)})
		c.must("proposing from outside by "+s.name, err)
		c.hear(s, message)
		c.leaving = append(c.leaving, gone)

		joiner := c.newcomer(s.kind)
		message, err = joiner.proposeJoin(c.groupInfo(helper, true))
		c.must("proposing to join by "+joiner.name, err)
		c.hear(joiner, message)
		c.joining = append(c.joining, joiner)
		c.commit(c.members[1-i], change{withTree: true})
		c.talk()
	}
}

// hear hands a proposal from outside to all.
func (c *conversation) hear(from *participant, message []byte) {
	c.t.Helper()
	for _, p := range c.members {
		c.process(p, from, message, "proposal")
	}
}

// playSuccession branches off, and then moves to another cipher suite.
func playSuccession(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them), withTree: true})
	for _, opener := range c.members[:2] {
		branch := c.succeed(opener, c.suite)
		branch.commit(branch.members[2], change{})
		branch.talk()
	}
	suite := 0x0002
	if c.suite == suite {
		suite = 0xF002
	}
	reInit := proposal{Type: "reinit", Data: fmt.Appendf(nil, "successor of %d", c.number), Suite: suite}
	c.commit(c.members[1], change{other: []proposal{reInit}})
	next := c.succeed(c.members[0], suite)
	next.commit(next.members[1], change{})
	next.talk()
}

func playOtherProposals(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them), withTree: true})
	pskID := []byte("the phrase we agreed on")
	for _, p := range c.members {
		c.must("setting a PSK", p.setPSK(pskID, []byte("correct horse battery staple")))
	}
	for _, by := range c.members[:2] {
		c.commit(by, change{other: []proposal{{Type: "psk", PSKID: pskID}}})
	}
	c.propose(c.members[0], proposal{Type: "psk", PSKID: pskID}, false)
	c.commit(c.members[1], change{})
	for i, by := range c.members[:2] {
		extension := proposal{Type: "extensions", Extension: sharedExtension, Data: []byte{byte(i)}}
		c.commit(by, change{other: []proposal{extension}})
	}
	c.commit(c.members[1], change{add: c.newcomers(us, them)})
	c.talk()
}

func playRace(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them), withTree: true})
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		winner, loser := c.members[order[0]], c.members[order[1]]
		won := c.stage(winner, change{add: c.newcomers(them)})
		c.stage(loser, change{add: c.newcomers(us)})
		c.deliver(won)
		c.commit(loser, change{})
		c.talk()
	}
}

func playLateMessages(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them), withTree: true})
	var letters []letter
	for i := range 3 {
		for _, p := range c.members {
			letters = append(letters, c.write(p, fmt.Sprintf("letter %d of %s", i, p.name)))
		}
		c.commit(c.members[i], change{})
	}
	slices.Reverse(letters)
	for _, l := range letters {
		c.read(l)
	}
	c.talk()
}

// playBlankHalf goes where the root is filtered out of the update path: the other half
// of the tree is blank, but the tree may not be cut, as the right half is the full one.
func playBlankHalf(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them, us, them, us, them), withTree: true})
	for _, p := range c.members {
		c.commit(p, change{})
	}
	left, right := slices.Clone(c.members[:4]), slices.Clone(c.members[4:])
	c.commit(right[0], change{remove: left})
	for _, p := range right {
		c.commit(p, change{})
	}
	c.commit(right[1], change{add: c.newcomers(them, us)})
	c.talk()
	c.commit(right[2], change{remove: []*participant{right[0], right[1], c.members[4], c.members[5]}})
	c.joinExternally(right[3], c.newcomer(us), true)
	for _, p := range c.members {
		c.commit(p, change{})
	}
	c.talk()
}

// playUnmergedLeaves makes parents that list different unmerged leaves, and lets both
// sides join such a tree.
func playUnmergedLeaves(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them, us, them, us, them), withTree: true})
	for _, p := range c.members {
		c.commit(p, change{})
	}
	all := slices.Clone(c.members)
	c.commit(all[0], change{remove: []*participant{all[3], all[5]}})
	c.commit(all[2], change{})
	c.commit(all[4], change{})
	c.commit(all[0], change{add: c.newcomers(us)}) // unmerged up to the root
	c.commit(all[7], change{})                     // the root merges it, the nodes below do not
	c.commit(all[0], change{add: c.newcomers(them)})
	c.joinExternally(all[7], c.newcomer(us), true)
	c.joinExternally(all[6], c.newcomer(them), true)
	c.talk()
}

func playRefusals(c *conversation, first *participant, us, them string) {
	c.commit(first, change{add: c.newcomers(them, us, them), withTree: true})
	old := c.write(first, "before the newcomers")
	a, b := c.newcomer(us), c.newcomer(them)
	c.commit(c.members[1], change{add: []*participant{a, b}, withTree: true})
	c.refuses(a, old.message, "a message from before it joined")
	c.refuses(b, old.message, "a message from before it joined")

	for _, by := range c.members[:2] {
		s := c.stage(by, change{})
		for _, p := range c.others(by) {
			for _, at := range []int{len(s.result.Commit) / 2, len(s.result.Commit) - 1} {
				broken := slices.Clone(s.result.Commit)
				broken[at] ^= 1
				c.refuses(p, broken, "a commit with a bit turned")
			}
		}
		c.deliver(s)

		l := c.write(by, "once")
		c.read(l)
		for _, p := range l.to {
			c.refuses(p, l.message, "a message for the second time")
		}
	}

	gone := []*participant{a, b}
	c.commit(first, change{remove: gone})
	later := c.write(first, "after they left")
	for _, p := range gone {
		if got, err := p.process(later.message); err == nil {
			c.t.Fatalf("%s was removed and read a later %s", p.name, got.Kind)
		}
	}
	c.read(later)
}
