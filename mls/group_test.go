package mls

import (
	"bytes"
	"testing"
)

func TestLifeOfAGroup(t *testing.T) {
	for _, cs := range CipherSuites() {
		for _, public := range []bool{false, true} {
			name := cs.String() + "/private"
			if public {
				name = cs.String() + "/public"
			}
			t.Run(name, func(t *testing.T) {
				config := Config{PublicHandshakes: public}
				r := newRoom(t, cs, config, 1)
				r.add(r.members[0], 1, config)
				r.say(r.members[1], "hello")
				r.add(r.members[1], 3, config)
				for _, p := range r.members {
					r.commit(p, CommitOptions{})
					r.say(p, "renewed")
				}
				r.commit(r.members[2], CommitOptions{Proposals: []Proposal{&Remove{1}}})
				r.commit(r.members[0], CommitOptions{Proposals: []Proposal{&Remove{4}, &Remove{3}}})
				r.add(r.members[1], 2, config)
				r.say(r.members[0], "three, and two new")
			})
		}
	}
}

func TestExternalCommit(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	info, err := r.members[1].group.GroupInfo(true)
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
	r.say(p, "in")
	r.commit(p, CommitOptions{})

	// The same client comes again, in place of its old self.
	info, err = r.members[0].group.GroupInfo(true)
	if err != nil {
		t.Fatal(err)
	}
	old := g.OwnIndex()
	g, commit, err = p.client.JoinExternal(info, p.id, ExternalJoinOptions{Replace: &old})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.members[:3] {
		if err := m.group.Merge(mustStage(t, m.group, commit)); err != nil {
			t.Fatal(err)
		}
	}
	p.group = g
	r.checkAgreement()
	r.say(p, "again")
}

func TestProposalsByReference(t *testing.T) {
	for _, public := range []bool{false, true} {
		r := newRoom(t, classic, Config{PublicHandshakes: public}, 4)
		update, err := r.members[1].group.ProposeUpdate(UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		remove, err := r.members[2].group.Propose(&Remove{3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.members {
			for i, b := range [][]byte{update, remove} {
				if p == r.members[i+1] {
					continue
				}
				if _, err := p.group.Process(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.commit(r.members[0], CommitOptions{})
		if len(r.members) != 3 {
			t.Fatalf("%d members", len(r.members))
		}
		r.say(r.members[1], "hi")
	}
}

func TestSaveAndLoad(t *testing.T) {
	r := newRoom(t, classic, Config{}, 5)
	stores := make([]map[string][]byte, len(r.members))
	save := func() {
		for i, p := range r.members {
			if stores[i] == nil {
				stores[i] = make(map[string][]byte)
			}
			err := p.group.Save(func(records []Record) error {
				for _, rec := range records {
					if rec.Value == nil {
						delete(stores[i], string(rec.Key))
					} else {
						stores[i][string(rec.Key)] = rec.Value
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			g, err := p.client.LoadGroup(func(yield func(k, v []byte) bool) {
				for k, v := range stores[i] {
					if !yield([]byte(k), v) {
						return
					}
				}
			}, p.id.Signer)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(g.Marshal(), p.group.Marshal()) {
				t.Fatal("group loaded from changes differs")
			}
			// What is in the store is what a whole save would hold.
			whole := p.group.Records()
			if len(whole) != len(stores[i]) {
				t.Fatalf("store has %d records, group %d", len(stores[i]), len(whole))
			}
			p.group = g
		}
	}
	save()
	for round := range 12 {
		p := r.members[round%len(r.members)]
		r.say(p, "message")
		save()
		r.commit(p, CommitOptions{})
		save()
	}
	pending, err := r.members[1].group.Commit(CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	save()
	r.deliver(r.members[1], pending)
	save()
	if _, err := r.members[1].group.Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	save()
	r.members[1].group.DiscardPendingCommit()
	save()
}

func TestInviter(t *testing.T) {
	r := newRoom(t, DefaultCipherSuite, Config{}, 3)
	alice, bob := r.members[0], r.members[1]
	joined := r.add(bob, 1, Config{})[0]
	inviter, known := joined.group.Inviter()
	if !known || inviter.Index != bob.group.OwnIndex() || !inviter.Credential.Equal(bob.id.Credential) {
		t.Errorf("the inviter is %v (%v), want bob", inviter.Index, known)
	}
	if _, known := alice.group.Inviter(); known {
		t.Error("who made the group was invited by somebody")
	}
}
