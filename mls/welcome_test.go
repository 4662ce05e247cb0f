package mls

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestTreeOutOfBand joins with a tree that the Welcome does not hold.
func TestTreeOutOfBand(t *testing.T) {
	alice := newPerson(t, "alice", classic, Config{})
	alice.create(GroupOptions{})
	p := newPerson(t, "new", classic, Config{})
	pending, err := alice.group.Commit(CommitOptions{Proposals: []Proposal{&Add{p.keyPackage()}}, OmitRatchetTree: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.group.MergePendingCommit(); err != nil {
		t.Fatal(err)
	}
	_, _, err = p.client.Join(pending.Welcome, p.kps, p.id.Signer, JoinOptions{})
	if err == nil || !strings.Contains(err.Error(), "neither in the GroupInfo nor given") {
		t.Errorf("got %v", err)
	}
	p.join(pending.Welcome, JoinOptions{RatchetTree: alice.group.RatchetTree()})
	(&room{t: t, members: []*person{alice, p}}).checkAgreement()
}

// TestWelcomeNamesItsMembers reads from a Welcome what a delivery service needs
// to hand it out (RFC 9420, Section 12.4.3.1).
func TestWelcomeNamesItsMembers(t *testing.T) {
	alice := newPerson(t, "alice", classic, Config{})
	alice.create(GroupOptions{})
	var want [][]byte
	var proposals []Proposal
	for _, name := range []string{"bob", "carol"} {
		k := newPerson(t, name, classic, Config{}).keyPackage()
		ref, err := k.Ref()
		if err != nil {
			t.Fatal(err)
		}
		want, proposals = append(want, ref), append(proposals, &Add{k})
	}
	pending, err := alice.group.Commit(CommitOptions{Proposals: proposals})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMessage(pending.Welcome)
	if err != nil {
		t.Fatal(err)
	}
	if m.Welcome.CipherSuite() != classic {
		t.Errorf("suite %v", m.Welcome.CipherSuite())
	}
	if got := m.Welcome.NewMembers(); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("got %x, want %x", got, want)
	}
}
