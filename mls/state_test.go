package mls

import (
	"bytes"
	"errors"
	"testing"
)

// recordStore is a database of records in memory.
type recordStore map[string][]byte

func (s recordStore) put(records []Record) error {
	for _, r := range records {
		if r.Value == nil {
			delete(s, string(r.Key))
		} else {
			s[string(r.Key)] = r.Value
		}
	}
	return nil
}

func (s recordStore) all(yield func(key, value []byte) bool) {
	for k, v := range s {
		if !yield([]byte(k), v) {
			return
		}
	}
}

// TestSaveFails has the store refuse once: the next Save hands out the same, and
// what came since.
func TestSaveFails(t *testing.T) {
	r := newRoom(t, classic, Config{}, 3)
	p := r.members[1]
	store := make(recordStore)
	if err := p.group.Save(store.put); err != nil {
		t.Fatal(err)
	}
	errDisk := errors.New("disk is full")
	r.commit(p, CommitOptions{})
	var lost []Record
	if err := p.group.Save(func(records []Record) error { lost = records; return errDisk }); !errors.Is(err, errDisk) || len(lost) == 0 {
		t.Fatalf("saving %d records: %v", len(lost), err)
	}
	r.say(p, "on")
	if err := p.group.Save(store.put); err != nil {
		t.Fatal(err)
	}
	g, err := p.client.LoadGroup(store.all, p.id.Signer)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Marshal(), p.group.Marshal()) {
		t.Error("group loaded after a failed save differs")
	}
	if err := p.group.Save(func([]Record) error { return errDisk }); err != nil {
		t.Errorf("saving without a change: %v", err)
	}
}

// TestSaveSize checks that saving after a message costs the same in groups of any
// size, and after a commit grows as the height of the tree.
func TestSaveSize(t *testing.T) {
	sizes := make(map[string][]int)
	for _, n := range []int{2, 8, 64} {
		r := newRoom(t, classic, Config{}, n)
		p := r.members[0]
		store := make(recordStore)
		size := 0
		save := func(kind string) {
			err := p.group.Save(func(records []Record) error {
				size = 0
				for _, r := range records {
					size += len(r.Key) + len(r.Value)
				}
				return store.put(records)
			})
			if err != nil {
				t.Fatal(err)
			}
			sizes[kind] = append(sizes[kind], size)
		}
		save("all")
		r.say(p, "first of the epoch")
		save("first message")
		r.say(p, "second")
		save("message")
		r.commit(p, CommitOptions{})
		save("commit")
	}
	if s := sizes["message"]; s[0] != s[2] || s[0] > 200 {
		t.Errorf("saving after a message writes %v bytes", s)
	}
	if s := sizes["first message"]; s[2] > 1000 {
		t.Errorf("saving after the first message of a sender writes %v bytes", s)
	}
	if s, all := sizes["commit"], sizes["all"]; s[2] > 5000 || s[2] > all[2]/2 {
		t.Errorf("saving after a commit writes %v bytes of %v", s, all)
	}
}

// TestCorruptState loads state that lacks records, or has damaged ones.
func TestCorruptState(t *testing.T) {
	r := newRoom(t, classic, Config{}, 4)
	for _, p := range r.members {
		r.commit(p, CommitOptions{})
	}
	p := r.members[1]
	if _, err := p.group.Commit(CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	whole := p.group.Records()
	load := func(records []Record) error {
		_, err := p.client.LoadGroup(func(yield func(k, v []byte) bool) {
			for _, r := range records {
				if !yield(r.Key, r.Value) {
					return
				}
			}
		}, p.id.Signer)
		return err
	}
	if err := load(whole); err != nil {
		t.Fatal(err)
	}
	for i, rec := range whole {
		without := append(append([]Record(nil), whole[:i]...), whole[i+1:]...)
		kind := rec.Key[0]
		// Without its secrets an epoch opens nothing, and the pending commit may
		// not be there; anything else is missed.
		if err := load(without); kind != recordSecret && kind != recordRatchets && kind != recordPending && !errors.Is(err, ErrState) {
			t.Errorf("without record %q: %v", rec.Key, err)
		}
		for _, change := range []func([]byte) []byte{
			func(b []byte) []byte { return b[:len(b)-1] },
			func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		} {
			damaged := append([]Record(nil), whole...)
			damaged[i] = Record{rec.Key, change(rec.Value)}
			if err := load(damaged); !errors.Is(err, ErrState) {
				t.Errorf("record %q of another length: %v", rec.Key, err)
			}
		}
		if kind == recordNode {
			for at := range rec.Value {
				damaged := append([]Record(nil), whole...)
				v := bytes.Clone(rec.Value)
				v[at] ^= 0x20
				damaged[i] = Record{rec.Key, v}
				if err := load(damaged); !errors.Is(err, ErrState) {
					t.Errorf("byte %d of record %q does not matter", at, rec.Key)
				}
			}
		}
	}
	for name, extra := range map[string]Record{
		"secret of an unknown epoch": {secretKey(recordSecret, 99, 0), make([]byte, 32)},
		"secret out of the tree":     {secretKey(recordSecret, p.group.Epoch(), 99), make([]byte, 32)},
		"short secret":               {secretKey(recordSecret, p.group.Epoch(), 0), make([]byte, 31)},
		"short key":                  {[]byte{recordRatchets}, nil},
	} {
		if err := load(append(append([]Record(nil), whole...), extra)); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.client.LoadGroup(func(func(k, v []byte) bool) {}, p.id.Signer); !errors.Is(err, ErrState) {
		t.Errorf("no records: %v", err)
	}
	if _, err := p.client.UnmarshalGroup(p.group.Marshal(), r.members[0].id.Signer); !errors.Is(err, ErrState) {
		t.Errorf("signer of another: %v", err)
	}
	state := p.group.Marshal()
	for i := range state {
		if _, err := p.client.UnmarshalGroup(state[:i], p.id.Signer); !errors.Is(err, ErrState) {
			t.Fatalf("state cut at byte %d: %v", i, err)
		}
	}
	state[0]++
	if _, err := p.client.UnmarshalGroup(state, p.id.Signer); !errors.Is(err, ErrState) {
		t.Errorf("state of another version: %v", err)
	}
}

// TestPendingCommitSurvives saves a group with a pending commit, loads it, and goes
// on: merging, recognising its own commit, or losing the race.
func TestPendingCommitSurvives(t *testing.T) {
	for _, how := range []string{"merge", "echo", "lose", "discard"} {
		t.Run(how, func(t *testing.T) {
			r := newRoom(t, classic, Config{}, 3)
			bob := r.members[1]
			joiner := newPerson(t, "new", classic, Config{})
			pending, err := bob.group.Commit(CommitOptions{Proposals: []Proposal{&Add{joiner.keyPackage()}, &Remove{2}}})
			if err != nil {
				t.Fatal(err)
			}
			if bob.group, err = bob.client.UnmarshalGroup(bob.group.Marshal(), bob.id.Signer); err != nil {
				t.Fatal(err)
			}
			if got := bob.group.PendingCommit(); got == nil || !bytes.Equal(got.Commit, pending.Commit) || !bytes.Equal(got.Welcome, pending.Welcome) || got.Epoch() != 2 || len(got.Members()) != 3 {
				t.Fatal("pending commit is another one")
			}
			switch how {
			case "merge":
				r.deliver(bob, bob.group.PendingCommit(), joiner)
			case "echo":
				staged := mustStage(t, bob.group, pending.Commit)
				if !staged.Own() || len(staged.Added) != 1 || len(staged.Updated) != 1 || len(staged.Removed) != 1 {
					t.Errorf("own commit is %+v", staged)
				}
				if err := bob.group.Merge(staged); err != nil {
					t.Fatal(err)
				}
			case "lose":
				r.commit(r.members[0], CommitOptions{})
			case "discard":
				bob.group.DiscardPendingCommit()
				r.commit(bob, CommitOptions{})
			}
			if err := bob.checkKeys(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProposalsAreSavedApart saves after each of several proposals: what is written
// does not grow with how many wait.
func TestProposalsAreSavedApart(t *testing.T) {
	r := newRoom(t, classic, Config{}, 6)
	p, bob := r.members[0], r.members[1].group
	store, written := make(recordStore), 0
	save := func() {
		t.Helper()
		written = 0
		err := p.group.Save(func(records []Record) error {
			for _, r := range records {
				if r.Key[0] == recordProposal && r.Value != nil {
					written++
				}
			}
			return store.put(records)
		})
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := p.client.LoadGroup(store.all, p.id.Signer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(loaded.Marshal(), p.group.Marshal()) {
			t.Error("group loads as another")
		}
	}
	receive := func(i LeafIndex) *ReceivedProposal {
		t.Helper()
		got, err := p.group.Process(must(bob.Propose(&Remove{i}, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return got.(*ReceivedProposal)
	}
	var last *ReceivedProposal
	for i := LeafIndex(2); i < 6; i++ {
		last = receive(i)
		if save(); written != 1 {
			t.Errorf("%d proposals are written for one", written)
		}
	}
	p.group.DropProposal(last)
	receive(0) // in the place of the one that was dropped
	if save(); written != 1 || len(p.group.Proposals()) != 4 {
		t.Errorf("%d proposals are written, %d wait", written, len(p.group.Proposals()))
	}
	p.group.ClearProposals()
	save()
	for key := range store {
		if key[0] == recordProposal {
			t.Errorf("record %q is left over", key)
		}
	}
}
