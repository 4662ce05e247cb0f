package mls

import (
	"bytes"
	"errors"
	"testing"
)

var public = Config{PublicHandshakes: true}

// TestGroupAndEpoch sends messages of other groups and epochs.
func TestGroupAndEpoch(t *testing.T) {
	for _, config := range []Config{public, {}} {
		r := newRoom(t, classic, config, 2)
		other := newRoom(t, classic, config, 2)
		bob := r.members[1].group
		message, err := other.members[0].group.Propose(&Remove{1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, bob, message, ErrWrongGroup)

		old, err := r.members[0].group.Propose(&Remove{1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.members[0].group.ClearProposals()
		r.commit(r.members[1], CommitOptions{})
		var epoch *EpochError
		if _, err := bob.Process(old); !errors.As(err, &epoch) || epoch.Behind() || epoch.Want != 1 || epoch.Have != 2 {
			t.Errorf("proposal of an old epoch: %v", err)
		}
		commit, err := r.members[0].group.Commit(CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.members[0].group.MergePendingCommit(); err != nil {
			t.Fatal(err)
		}
		next, err := r.members[0].group.Encrypt(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Process(next); !errors.As(err, &epoch) || !epoch.Behind() {
			t.Errorf("message of an epoch to come: %v", err)
		}
		if err := bob.Merge(mustStage(t, bob, commit.Commit)); err != nil {
			t.Fatal(err)
		}
		refused(t, bob, commit.Commit, epoch)
	}
}

// Is lets refused compare with any EpochError.
func (e *EpochError) Is(target error) bool { _, ok := target.(*EpochError); return ok }

// TestReplay opens a message twice, and one whose copy was damaged before.
func TestReplay(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	message, err := alice.Encrypt([]byte("once"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range message {
		damaged := bytes.Clone(message)
		damaged[i] ^= 0x10
		before := bob.Marshal()
		if _, err := bob.Process(damaged); err == nil {
			t.Fatalf("byte %d does not matter", i)
		}
		if !bytes.Equal(bob.Marshal(), before) {
			t.Fatalf("message damaged at byte %d changed the group", i)
		}
	}
	mustOpen(t, bob, message)
	refused(t, bob, message, ErrGenerationUsed)
	loaded, err := r.members[1].client.UnmarshalGroup(bob.Marshal(), r.members[1].id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, loaded, message, ErrGenerationUsed)
	refused(t, alice, message, ErrOwnMessage)
}

// TestOutOfOrder opens messages backwards, within the bound on skipped keys.
func TestOutOfOrder(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	var messages [][]byte
	for range MaxSkippedKeys + 3 {
		m, err := alice.Encrypt([]byte("late"), nil)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	for i := len(messages) - 1; i >= 2; i-- {
		mustOpen(t, bob, messages[i])
		refused(t, bob, messages[i], ErrGenerationUsed)
	}
	refused(t, bob, messages[1], ErrGenerationUsed)
	refused(t, bob, messages[0], ErrGenerationUsed)
}

// TestPastEpochs opens late messages of the last epochs, each from the sender as
// it was then, and no older ones.
func TestPastEpochs(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	alice, bob := r.members[0], r.members[1].group
	carol := r.members[2]
	var late [][]byte
	send := func(p *person) {
		m, err := p.group.Encrypt([]byte(p.name), nil)
		if err != nil {
			t.Fatal(err)
		}
		late = append(late, m)
	}
	send(carol)
	send(alice)
	r.commit(alice, CommitOptions{Proposals: []Proposal{&Remove{2}}})
	r.add(alice, 1, Config{}) // takes the place of the one who was removed
	if r.members[2].group.OwnIndex() != 2 {
		t.Fatal("the new member has another place")
	}
	if m := mustOpen(t, bob, late[0]); string(m.Data) != carol.name || string(m.Sender.Credential.Identity) != carol.name || m.Epoch != 1 {
		t.Errorf("message of %q from %q", m.Data, m.Sender.Credential.Identity)
	}
	for range MaxPastEpochs - 2 {
		r.commit(alice, CommitOptions{})
	}
	mustOpen(t, bob, late[1])
	refused(t, bob, late[1], ErrGenerationUsed)

	late = nil
	send(alice)
	for range MaxPastEpochs + 1 {
		r.commit(alice, CommitOptions{})
	}
	refused(t, bob, late[0], &EpochError{})
	send(alice)
	r.commit(alice, CommitOptions{})
	bob.ForgetPastEpochs(bob.Epoch())
	refused(t, bob, late[1], &EpochError{})
}

// TestHandshakeOfPastEpoch refuses a private handshake message of a past epoch,
// for which there are keys.
func TestHandshakeOfPastEpoch(t *testing.T) {
	r := newRoom(t, classic, Config{}, 2)
	alice, bob := r.members[0].group, r.members[1].group
	old, err := alice.Propose(&Remove{1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	alice.ClearProposals()
	r.commit(r.members[1], CommitOptions{})
	refused(t, bob, old, &EpochError{})
}
