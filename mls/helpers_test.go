package mls

import (
	"bytes"
	"fmt"
	"testing"
)

// believer is an AuthenticationService that believes everybody.
type believer struct{}

func (believer) ValidateCredential(CredentialCheck) error { return nil }
func (believer) ValidateSuccessor(CredentialCheck) error  { return nil }

var acceptAll AuthenticationService = believer{}

// classic is a fast suite, for tests to which the suite does not matter.
const classic = MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519

// person is a client with its identity in tests.
type person struct {
	t      testing.TB
	name   string
	suite  CipherSuite
	client *Client
	id     Identity
	kps    []*PrivateKeyPackage
	group  *Group
}

func newPerson(t testing.TB, name string, cs CipherSuite, config Config) *person {
	t.Helper()
	client, err := NewClient(acceptAll, config)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := cs.GenerateSignatureKey()
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, name: name, suite: cs, client: client, id: Identity{BasicCredential([]byte(name)), signer}}
}

func (p *person) keyPackage() *KeyPackage {
	p.t.Helper()
	k, err := p.client.NewKeyPackage(p.suite, p.id, KeyPackageOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	p.kps = append(p.kps, k)
	return k.KeyPackage
}

func (p *person) create(opts GroupOptions) *Group {
	p.t.Helper()
	g, err := p.client.CreateGroup(p.suite, p.id, opts)
	if err != nil {
		p.t.Fatal(err)
	}
	p.group = g
	return g
}

func (p *person) join(welcome []byte, opts JoinOptions) *Group {
	p.t.Helper()
	g, _, err := p.client.Join(welcome, p.kps, p.id.Signer, opts)
	if err != nil {
		p.t.Fatal(err)
	}
	p.group = g
	return g
}

// room is a group of people with an honest delivery service.
type room struct {
	t       testing.TB
	members []*person
}

func newRoom(t testing.TB, cs CipherSuite, config Config, n int) *room {
	t.Helper()
	r := &room{t: t}
	creator := newPerson(t, "member 0", cs, config)
	creator.create(GroupOptions{})
	r.members = append(r.members, creator)
	if n > 1 {
		r.add(r.members[0], n-1, config)
	}
	return r
}

// add lets one member add n people at once.
func (r *room) add(by *person, n int, config Config) []*person {
	r.t.Helper()
	var joiners []*person
	var proposals []Proposal
	for range n {
		p := newPerson(r.t, fmt.Sprintf("member %d", len(r.members)+len(joiners)), by.suite, config)
		joiners = append(joiners, p)
		proposals = append(proposals, &Add{p.keyPackage()})
	}
	r.commit(by, CommitOptions{Proposals: proposals}, joiners...)
	return joiners
}

// commit lets a member commit, and everybody else process it.
func (r *room) commit(by *person, opts CommitOptions, joiners ...*person) {
	r.t.Helper()
	pending, err := by.group.Commit(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.deliver(by, pending, joiners...)
}

func (r *room) deliver(by *person, pending *PendingCommit, joiners ...*person) {
	r.t.Helper()
	commit, welcome := pending.Commit, pending.Welcome
	var stay []*person
	for _, p := range r.members {
		if p == by {
			if err := p.group.MergePendingCommit(); err != nil {
				r.t.Fatal(err)
			}
			stay = append(stay, p)
			continue
		}
		staged := mustStage(r.t, p.group, commit)
		if err := p.group.Merge(staged); err != nil {
			r.t.Fatal(err)
		}
		if !staged.RemovesUs {
			stay = append(stay, p)
		}
	}
	r.members = stay
	for _, p := range joiners {
		p.join(welcome, JoinOptions{})
		r.members = append(r.members, p)
	}
	r.checkAgreement()
}

func (r *room) checkAgreement() {
	r.t.Helper()
	first := r.members[0].group
	want := first.EpochAuthenticator()
	for _, p := range r.members[1:] {
		if !bytes.Equal(p.group.EpochAuthenticator(), want) {
			r.t.Fatalf("%s disagrees on epoch %d", p.name, first.Epoch())
		}
	}
}

// say lets a member send a message that all others open.
func (r *room) say(by *person, text string) {
	r.t.Helper()
	b, err := by.group.Encrypt([]byte(text), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range r.members {
		if p != by {
			if got := mustOpen(r.t, p.group, b); string(got.Data) != text {
				r.t.Fatalf("%s reads %q", p.name, got.Data)
			}
		}
	}
}

func mustStage(t testing.TB, g *Group, message []byte) *StagedCommit {
	t.Helper()
	p, err := g.Process(message)
	if err != nil {
		t.Fatal(err)
	}
	staged, ok := p.(*StagedCommit)
	if !ok {
		t.Fatalf("message is a %T", p)
	}
	return staged
}

func mustOpen(t testing.TB, g *Group, message []byte) *ApplicationMessage {
	t.Helper()
	p, err := g.Process(message)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := p.(*ApplicationMessage)
	if !ok {
		t.Fatalf("message is a %T", p)
	}
	return m
}
