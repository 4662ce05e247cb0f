package mls

import (
	"bytes"
	"errors"
	"testing"
)

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
