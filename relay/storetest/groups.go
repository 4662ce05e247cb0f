package storetest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

var groupTests = map[string]func(*testing.T, *suite){
	"GroupIsMade":                testGroupIsMade,
	"GroupSubmit":                testGroupSubmit,
	"GroupRefusals":              testGroupRefusals,
	"GroupRefusedChangesNothing": testGroupRefusedChangesNothing,
	"OneCommitForAnEpoch":        testOneCommitForAnEpoch,
	"CommitAgain":                testCommitAgain,
	"CommitAddsAndRemoves":       testCommitAddsAndRemoves,
	"CommitWelcomesAMember":      testCommitWelcomesAMember,
	"CommitNeedsRoomForBoth":     testCommitNeedsRoomForBoth,
	"FullMemberIsRemoved":        testFullMemberIsRemoved,
	"RestoredStore":              testRestoredStore,
	"GroupReopen":                testGroupReopen,
	"OldListsAreForgotten":       testOldListsAreForgotten,
	"IdleGroupsAreForgotten":     testIdleGroupsAreForgotten,
	"ManyGroups":                 testManyGroups,
}

const testGroup = "a group of 16 by"

// ascending sorts devices as a commit names them.
func ascending(devices ...identity.DeviceID) []identity.DeviceID {
	slices.SortFunc(devices, func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) })
	return devices
}

// toGroup makes a submission to the test group.
func toGroup(from identity.DeviceID, payload string, epoch uint64) *relay.Submission {
	s := submission(from, payload)
	s.Group = &relay.GroupEpoch{ID: testGroup, Epoch: epoch}
	return s
}

// commit makes a commit that ends an epoch; the Welcome is the payload with a w
// before it.
func commit(from identity.DeviceID, payload string, epoch uint64, members, welcomed []identity.DeviceID) *relay.Submission {
	s := toGroup(from, payload, epoch)
	s.Kind = api.Kind_KIND_HANDSHAKE
	s.Commit = &relay.Commit{Members: ascending(members...), Welcomed: ascending(welcomed...)}
	if len(welcomed) > 0 {
		s.Commit.Welcome = []byte("w" + payload)
	}
	return s
}

// group makes the test group of devices; all have processed their Welcome.
func (s *suite) group(founder identity.DeviceID, others ...identity.DeviceID) {
	s.t.Helper()
	s.accepted(commit(founder, "founding", 0, append([]identity.DeviceID{founder}, others...), others))
	for _, device := range others {
		s.ack(device, relay.MaxSequence)
	}
}

// holdsOfGroup wants the last envelope of a mailbox to be of the test group.
func (s *suite) holdsOfGroup(device identity.DeviceID, kind api.Kind, payload string, epoch uint64, list ...identity.DeviceID) {
	s.t.Helper()
	envelopes := s.read(device)
	if len(envelopes) == 0 {
		s.t.Fatalf("an empty mailbox, want %q", payload)
	}
	e := envelopes[len(envelopes)-1]
	hash := identity.DeliveryListHash([]byte(testGroup), epoch, list)
	if e.Kind != kind || string(e.Payload) != payload || string(e.Group) != testGroup || !bytes.Equal(e.ListHash, hash[:]) {
		s.t.Fatalf("the mailbox holds %q of kind %v, group %q, list %x; want %q of kind %v, list %x",
			e.Payload, e.Kind, e.Group, e.ListHash, payload, kind, hash)
	}
}

func wantStale(t *testing.T, err error, current uint64) {
	t.Helper()
	stale, ok := errors.AsType[relay.StaleEpochError](err)
	if !ok || stale.Current != current || !errors.Is(err, relay.ErrStaleEpoch) {
		t.Fatalf("got %v, want the current epoch %d", err, current)
	}
}

func (s *suite) refused(submission *relay.Submission) error {
	s.t.Helper()
	s.write(s.batch(submission))
	if submission.FirstSequence != 0 || (submission.Commit != nil && submission.Commit.FirstSequence != 0) {
		s.t.Fatalf("delivered at %d", submission.FirstSequence)
	}
	return submission.Err
}

func testGroupIsMade(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	members := []identity.DeviceID{alice, bob, carol}
	c := commit(alice, "one", 0, members, []identity.DeviceID{bob, carol})
	s.accepted(c)
	s.holds(alice)
	s.holdsOfGroup(bob, api.Kind_KIND_WELCOME, "wone", 1, members...)
	s.holdsOfGroup(carol, api.Kind_KIND_WELCOME, "wone", 1, members...)
	hash := identity.DeliveryListHash([]byte(testGroup), 1, members)
	if c.FirstSequence != 0 || !bytes.Equal(c.Commit.ListHash, hash[:]) {
		t.Fatalf("the commit is delivered at %d, the Welcome with the list %x", c.FirstSequence, c.Commit.ListHash)
	}
	for i, device := range c.Commit.Welcomed {
		if got := s.read(device)[0].Sequence; got != c.Commit.FirstSequence+uint64(i) {
			t.Fatalf("Welcome %d has sequence %d, announced was %d", i, got, c.Commit.FirstSequence+uint64(i))
		}
	}
}

func testGroupSubmit(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.group(alice, bob, carol)
	sent := toGroup(bob, "hello", 1)
	s.accepted(sent)
	s.holds(bob)
	s.holdsOfGroup(alice, api.Kind_KIND_APPLICATION, "hello", 1, alice, bob, carol)
	s.holdsOfGroup(carol, api.Kind_KIND_APPLICATION, "hello", 1, alice, bob, carol)
	if want := ascending(alice, carol); !slices.Equal(sent.Recipients, want) {
		t.Fatalf("the recipients are %v, want %v", sent.Recipients, want)
	}
	for i, device := range sent.Recipients {
		if got := s.read(device)[0].Sequence; got != sent.FirstSequence+uint64(i) {
			t.Fatalf("recipient %d has sequence %d, announced was %d", i, got, sent.FirstSequence+uint64(i))
		}
	}
	again := *sent
	s.accepted(&again)
	if again.FirstSequence != 0 {
		t.Fatalf("a repeat is delivered at %d", again.FirstSequence)
	}
	s.holds(alice, "hello")
	// What was accepted in its epoch stays accepted in the next.
	s.accepted(commit(alice, "commit", 1, []identity.DeviceID{alice, bob}, nil))
	again = *sent
	s.accepted(&again)
	s.holds(carol, "hello", "commit")
}

func testGroupRefusals(t *testing.T, s *suite) {
	alice, bob, stranger := s.device("alice"), s.device("bob"), s.device("stranger")
	unknown := identity.NewDeviceID()
	both := []identity.DeviceID{alice, bob}
	wantErr(t, s.refused(toGroup(alice, "no group yet", 0)), relay.ErrNotAMember)
	wantErr(t, s.refused(commit(alice, "not from the beginning", 1, both, []identity.DeviceID{bob})), relay.ErrNotAMember)
	wantErr(t, s.refused(commit(alice, "with a ghost", 0, []identity.DeviceID{alice, unknown}, nil)), relay.ErrUnknownRecipient)
	s.group(alice, bob)
	for name, test := range map[string]struct {
		submission *relay.Submission
		want       error
		current    uint64
	}{
		"a stranger speaks":      {toGroup(stranger, "x", 1), relay.ErrNotAMember, 0},
		"a stranger commits":     {commit(stranger, "x", 1, []identity.DeviceID{stranger}, nil), relay.ErrNotAMember, 0},
		"a stranger founds":      {commit(stranger, "x", 0, []identity.DeviceID{stranger}, nil), relay.ErrNotAMember, 0},
		"the past":               {toGroup(alice, "x", 0), relay.ErrStaleEpoch, 1},
		"the future":             {toGroup(alice, "x", 2), relay.ErrStaleEpoch, 1},
		"a far future":           {toGroup(alice, "x", relay.MaxEpoch), relay.ErrStaleEpoch, 1},
		"founded again":          {commit(alice, "x", 0, both, nil), relay.ErrStaleEpoch, 1},
		"a commit too late":      {commit(bob, "x", 0, both, nil), relay.ErrStaleEpoch, 1},
		"a commit too early":     {commit(bob, "x", 2, both, []identity.DeviceID{alice}), relay.ErrStaleEpoch, 1},
		"a stranger, too early":  {commit(stranger, "x", 2, []identity.DeviceID{stranger}, nil), relay.ErrNotAMember, 0},
		"adds who is not known":  {commit(bob, "x", 1, []identity.DeviceID{alice, bob, unknown}, nil), relay.ErrUnknownRecipient, 0},
		"welcomes the not known": {commit(bob, "x", 1, []identity.DeviceID{bob, unknown}, []identity.DeviceID{unknown}), relay.ErrUnknownRecipient, 0},
	} {
		err := s.refused(test.submission)
		if !errors.Is(test.want, relay.ErrStaleEpoch) {
			wantErr(t, err, test.want)
		} else {
			wantStale(t, err, test.current)
		}
		for _, device := range []identity.DeviceID{alice, bob, stranger} {
			if got := s.read(device); len(got) > 0 {
				t.Fatalf("%s: %q was delivered", name, got[0].Payload)
			}
		}
	}
	s.accepted(toGroup(alice, "still in epoch 1", 1))
}

// testGroupRefusedChangesNothing: neither the list, nor the epoch, nor the id of a
// commit that has no room is taken.
func testGroupRefusedChangesNothing(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.group(alice, bob)
	s.accepted(submission(alice, "fills it", carol))
	c := commit(alice, "add carol", 1, []identity.DeviceID{alice, bob, carol}, []identity.DeviceID{carol})
	for range 2 {
		b := s.batch(c, toGroup(bob, "still in epoch 1", 1))
		b.MailboxRows = 1
		s.write(b)
		wantErr(t, c.Err, relay.ErrMailboxFull)
		wantErr(t, b.Submissions[1].Err, nil)
		s.holds(bob)
		s.holds(alice, "still in epoch 1")
		s.ack(alice, relay.MaxSequence)
		s.reopen()
	}
	s.ack(carol, relay.MaxSequence)
	s.accepted(c)
	s.holds(bob, "add carol")
	s.holds(carol, "wadd carol")
}

func testOneCommitForAnEpoch(t *testing.T, s *suite) {
	alice, bob, carol, dave := s.device("alice"), s.device("bob"), s.device("carol"), s.device("dave")
	s.group(alice, bob)
	won := commit(alice, "add carol", 1, []identity.DeviceID{alice, bob, carol}, []identity.DeviceID{carol})
	lost := commit(bob, "add dave", 1, []identity.DeviceID{alice, bob, dave}, []identity.DeviceID{dave})
	s.write(s.batch(won, lost))
	wantErr(t, won.Err, nil)
	wantStale(t, lost.Err, 2)
	wantStale(t, s.refused(lost), 2)
	s.holds(alice)
	s.holds(dave)
	s.holdsOfGroup(bob, api.Kind_KIND_HANDSHAKE, "add carol", 1, alice, bob)
	s.holdsOfGroup(carol, api.Kind_KIND_WELCOME, "wadd carol", 2, alice, bob, carol)
}

func testCommitAgain(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	first := commit(alice, "one", 0, []identity.DeviceID{alice, bob}, []identity.DeviceID{bob})
	inBatch := *first
	s.accepted(first, &inBatch)
	s.reopen()
	later := *first
	s.accepted(&later)
	s.holds(bob, "wone")
	other := commit(alice, "one", 0, []identity.DeviceID{alice, bob}, []identity.DeviceID{bob})
	wantStale(t, s.refused(other), 1) // the same content is not the same submit
}

func testCommitAddsAndRemoves(t *testing.T, s *suite) {
	alice, bob, carol, dave := s.device("alice"), s.device("bob"), s.device("carol"), s.device("dave")
	s.group(alice, bob, carol)
	s.accepted(
		toGroup(carol, "before", 1),
		commit(alice, "dave for carol", 1, []identity.DeviceID{alice, bob, dave}, []identity.DeviceID{dave}),
		toGroup(dave, "after", 2),
	)
	s.holds(alice, "before", "after")
	s.holds(bob, "before", "dave for carol", "after")
	s.holds(carol, "dave for carol")
	s.holds(dave, "wdave for carol")
	s.holdsOfGroup(carol, api.Kind_KIND_HANDSHAKE, "dave for carol", 1, alice, bob, carol)
	s.holdsOfGroup(bob, api.Kind_KIND_APPLICATION, "after", 2, alice, bob, dave)
	wantErr(t, s.refused(toGroup(carol, "I am still here", 2)), relay.ErrNotAMember)
}

// testCommitWelcomesAMember: a device that lost its state is removed and added by
// one commit. It gets the commit, and after it the Welcome.
func testCommitWelcomesAMember(_ *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.group(alice, bob, carol)
	s.accepted(commit(alice, "bob anew", 1, []identity.DeviceID{alice, bob, carol}, []identity.DeviceID{bob}))
	s.holds(bob, "bob anew", "wbob anew")
	s.holds(carol, "bob anew")
}

func testCommitNeedsRoomForBoth(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	both := []identity.DeviceID{alice, bob}
	s.group(alice, bob)
	c := commit(alice, "12345", 1, both, []identity.DeviceID{bob})
	for _, test := range []struct {
		rows  int
		bytes int64
		want  error
	}{{1, 100, relay.ErrMailboxFull}, {2, 10, relay.ErrMailboxFull}, {2, 11, nil}} {
		b := s.batch(c)
		b.MailboxRows, b.MailboxBytes = test.rows, test.bytes
		s.write(b)
		wantErr(t, c.Err, test.want)
	}
	s.holds(bob, "12345", "w12345")
}

// testFullMemberIsRemoved: a device with a full mailbox stops the group until a
// commit removes it. That one passes, and who is removed gets it only with room.
func testFullMemberIsRemoved(t *testing.T, s *suite) {
	alice, bob, carol, dave := s.device("alice"), s.device("bob"), s.device("carol"), s.device("dave")
	s.group(alice, bob, carol, dave)
	s.accepted(submission(alice, "fills it", carol))
	write := func(submission *relay.Submission) error {
		b := s.batch(submission)
		b.MailboxRows = 1
		s.write(b)
		return submission.Err
	}
	for _, stopped := range []*relay.Submission{
		toGroup(alice, "hello", 1),
		commit(alice, "update", 1, []identity.DeviceID{alice, bob, carol, dave}, nil),
	} {
		err := write(stopped)
		wantErr(t, err, relay.ErrMailboxFull)
		if at, ok := errors.AsType[relay.RecipientError](err); !ok || at.Device != carol {
			t.Fatalf("got %v, want the device %v", err, carol)
		}
	}
	out := commit(alice, "carol and dave are out", 1, []identity.DeviceID{alice, bob}, nil)
	wantErr(t, write(out), nil)
	if want := ascending(bob, dave); !slices.Equal(out.Recipients, want) {
		t.Fatalf("the recipients are %v, want %v", out.Recipients, want)
	}
	s.holds(bob, "carol and dave are out")
	s.holds(carol, "fills it")
	s.holds(dave, "carol and dave are out")
	s.ack(bob, relay.MaxSequence)
	wantErr(t, write(toGroup(alice, "hello", 2)), nil)
	s.holds(bob, "hello")
}

// testRestoredStore: a store that is older than its groups takes a member's word,
// given by a commit that adds nobody, and goes on from there.
func testRestoredStore(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.group(alice, bob)
	all := []identity.DeviceID{alice, bob, carol}
	wantErr(t, s.refused(commit(carol, "added after the backup", 7, all, nil)), relay.ErrNotAMember)
	b := s.batch(commit(bob, "no room", 7, all, nil))
	b.MailboxBytes = 1
	s.write(b)
	wantErr(t, b.Submissions[0].Err, relay.ErrMailboxFull)
	wantStale(t, s.refused(toGroup(bob, "ahead", 7)), 1) // and nothing changed
	won, lost := commit(alice, "we are further", 7, all, nil), commit(bob, "we are further", 7, all, nil)
	s.write(s.batch(won, lost))
	wantErr(t, won.Err, nil)
	wantStale(t, lost.Err, 8)
	for range 2 {
		s.holdsOfGroup(bob, api.Kind_KIND_HANDSHAKE, "we are further", 7, all...)
		s.holdsOfGroup(carol, api.Kind_KIND_HANDSHAKE, "we are further", 7, all...)
		s.reopen()
	}
	s.accepted(toGroup(carol, "thanks", 8))
	s.holdsOfGroup(alice, api.Kind_KIND_APPLICATION, "thanks", 8, all...)

	// A group that was made after the backup.
	unknown := commit(carol, "unknown", 3, all, nil)
	unknown.Group.ID = "another group of"
	s.accepted(unknown)
	next := commit(bob, "next", 4, all, nil)
	next.Group.ID = unknown.Group.ID
	s.accepted(next)
	s.holds(alice, "thanks", "unknown", "next")
}

func testGroupReopen(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.group(alice, bob, carol)
	s.accepted(toGroup(alice, "one", 1))
	s.reopen()
	s.accepted(toGroup(carol, "two", 1))
	s.holds(bob, "one", "two")
	s.holdsOfGroup(bob, api.Kind_KIND_APPLICATION, "two", 1, alice, bob, carol)
	wantStale(t, s.refused(commit(bob, "late", 0, []identity.DeviceID{bob}, nil)), 1)
	s.accepted(commit(bob, "alone", 1, []identity.DeviceID{bob}, nil))
	s.reopen()
	s.accepted(toGroup(bob, "to nobody", 2))
	s.holds(bob, "one", "two")
}

// testOldListsAreForgotten: as long as an envelope of an old epoch waits, it has
// its list.
func testOldListsAreForgotten(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	both := []identity.DeviceID{alice, bob}
	s.group(alice, bob)
	s.accepted(toGroup(alice, "one", 1), commit(bob, "two", 1, both, nil), commit(alice, "three", 2, both, nil))
	s.expire()
	s.reopen()
	s.holdsOfGroup(bob, api.Kind_KIND_HANDSHAKE, "three", 2, both...)
	s.ack(bob, s.read(bob)[0].Sequence)
	s.expire()
	s.holdsOfGroup(bob, api.Kind_KIND_HANDSHAKE, "three", 2, both...)
	s.holdsOfGroup(alice, api.Kind_KIND_HANDSHAKE, "two", 1, both...)
	s.now = s.now.Add(time.Hour)
	s.expire()
	s.holds(alice)
	s.holds(bob)
	s.accepted(toGroup(bob, "four", 3))
	s.holdsOfGroup(alice, api.Kind_KIND_APPLICATION, "four", 3, both...)
}

// testIdleGroupsAreForgotten: a group goes when nobody wrote in it for long, and any
// member makes it known again.
func testIdleGroupsAreForgotten(t *testing.T, s *suite) {
	const day = 24 * time.Hour
	alice, bob := s.device("alice"), s.device("bob")
	both := ascending(alice, bob)
	busy := func(payload string) *relay.Submission {
		m := toGroup(alice, payload, 1)
		m.Group.ID = "a group in use.."
		return m
	}
	s.group(alice, bob)
	founding := commit(alice, "founding", 0, both, nil)
	founding.Group.ID = busy("").Group.ID
	s.accepted(founding, toGroup(alice, "one", 1))
	forget := func(want int) {
		t.Helper()
		gone, err := s.store.Expire(t.Context(), relay.Due{Groups: s.now.Add(-10 * day)})
		if err != nil || gone != (relay.Expired{Groups: want}) {
			t.Fatalf("%+v expired, %v; want %d groups", gone, err, want)
		}
	}
	for range 10 {
		s.now = s.now.Add(day)
		s.accepted(busy("still here"))
		forget(0)
	}
	s.now = s.now.Add(day)
	forget(1)
	forget(0)
	s.reopen()
	s.accepted(busy("as before"))
	hash := identity.DeliveryListHash([]byte(testGroup), 1, both)
	if e := s.read(bob)[0]; string(e.Payload) != "one" || !bytes.Equal(e.ListHash, hash[:]) {
		t.Errorf("the mailbox holds %q with the list %x, which is to outlive the group", e.Payload, e.ListHash)
	}
	for range 2 {
		if err := s.refused(toGroup(bob, "anybody?", 1)); !errors.Is(err, relay.ErrNotAMember) {
			t.Errorf("in a group that was forgotten: %v", err)
		}
		s.reopen()
	}
	s.accepted(commit(bob, "it is", 1, both, nil), toGroup(alice, "good", 2))
	s.holdsOfGroup(bob, api.Kind_KIND_APPLICATION, "good", 2, both...)
	s.ack(alice, relay.MaxSequence)
	s.ack(bob, relay.MaxSequence)
	s.now = s.now.Add(11 * day)
	forget(2)
}

// testManyGroups speaks in turn in more groups than a batch has, so that a store
// that keeps groups in memory must not mix them up.
func testManyGroups(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	group := func(n int) string { return string(bytes.Repeat([]byte{byte(n + 1)}, 16+n)) }
	for n := range 40 {
		c := commit(alice, "c", 0, []identity.DeviceID{alice, bob}, nil)
		c.Group.ID = group(n)
		s.accepted(c)
	}
	s.reopen()
	for n := range 40 {
		sent := toGroup(bob, "m", 1)
		sent.Group.ID = group(n)
		s.accepted(sent)
	}
	for n, e := range s.read(alice) {
		hash := identity.DeliveryListHash([]byte(group(n)), 1, []identity.DeviceID{alice, bob})
		if string(e.Group) != group(n) || !bytes.Equal(e.ListHash, hash[:]) {
			t.Fatalf("envelope %d is of the group %x with the list %x", n, e.Group, e.ListHash)
		}
	}
}
