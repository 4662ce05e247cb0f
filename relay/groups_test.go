package relay_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

var testGroup = []byte("a group of 16 by")

// toGroup makes a submit to the test group.
func toGroup(payload string, epoch uint64) *api.Submit {
	s := submit(payload)
	s.Group = &api.GroupEpoch{Id: testGroup, Epoch: epoch}
	return s
}

// deviceIDs returns ids as a commit names them.
func deviceIDs(devices ...*device) [][]byte {
	ids := make([][]byte, len(devices))
	for i, d := range devices {
		id := d.id()
		ids[i] = id[:]
	}
	slices.SortFunc(ids, bytes.Compare)
	return ids
}

// commit makes a commit that ends an epoch; the Welcome is the payload with a w
// before it.
func commit(payload string, epoch uint64, members, welcomed []*device) *api.Submit {
	s := toGroup(payload, epoch)
	s.Kind = api.Kind_KIND_HANDSHAKE
	s.Commit = &api.Commit{Members: deviceIDs(members...), Welcomed: deviceIDs(welcomed...)}
	if len(welcomed) > 0 {
		s.Commit.Welcome = []byte("w" + payload)
	}
	return s
}

// ofGroup wants an envelope of the test group.
func (l *line) ofGroup(kind api.Kind, payload string, epoch uint64, list ...*device) {
	l.t.Helper()
	ids := make([]identity.DeviceID, len(list))
	for i, d := range list {
		ids[i] = d.id()
	}
	hash := identity.DeliveryListHash(testGroup, epoch, ids)
	e := l.receive().GetEnvelope()
	if e.GetKind() != kind || string(e.GetPayload()) != payload || !bytes.Equal(e.GetGroup(), testGroup) || !bytes.Equal(e.GetListHash(), hash[:]) {
		l.t.Fatalf("got %v, not %q of kind %v with the list %x", e, payload, kind, hash)
	}
}

// TestGroup goes through the life of a group, with a member who is connected, and
// one who reads it all from the disk.
func TestGroup(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob, carol, dave := r.registered("alice"), r.registered("bob"), r.registered("carol"), r.registered("dave")
	a, b := alice.connect(), bob.connect()
	three, four := []*device{alice, bob, carol}, []*device{alice, bob, carol, dave}

	a.accepted(commit("one", 0, three, []*device{bob, carol}))
	a.accepted(toGroup("hello", 1))
	b.ofGroup(api.Kind_KIND_WELCOME, "wone", 1, three...)
	b.ofGroup(api.Kind_KIND_APPLICATION, "hello", 1, three...)
	b.accepted(commit("add dave", 1, four, []*device{dave}))
	a.ofGroup(api.Kind_KIND_HANDSHAKE, "add dave", 1, three...)

	late := toGroup("late", 1)
	a.submit(late)
	if rejected := a.receive().GetRejected(); rejected.GetReason() != api.Reason_REASON_STALE_EPOCH || rejected.GetEpoch() != 2 {
		t.Fatalf("got %v", rejected)
	}
	late.Group.Epoch = 2 // rejected, so that the id is free
	a.accepted(late)
	b.ofGroup(api.Kind_KIND_APPLICATION, "late", 2, four...)
	a.accepted(commit("carol is out", 2, []*device{alice, bob, dave}, nil))
	b.ofGroup(api.Kind_KIND_HANDSHAKE, "carol is out", 2, four...)

	c := carol.connect()
	c.ofGroup(api.Kind_KIND_WELCOME, "wone", 1, three...)
	c.ofGroup(api.Kind_KIND_APPLICATION, "hello", 1, three...)
	c.ofGroup(api.Kind_KIND_HANDSHAKE, "add dave", 1, three...)
	c.ofGroup(api.Kind_KIND_APPLICATION, "late", 2, four...)
	c.ofGroup(api.Kind_KIND_HANDSHAKE, "carol is out", 2, four...)
	c.rejected(toGroup("me too", 3), api.Reason_REASON_NOT_A_MEMBER)
	d := dave.connect()
	d.ofGroup(api.Kind_KIND_WELCOME, "wadd dave", 2, four...)

	// What a device that cannot follow asks belongs to no epoch.
	help := submit("help", alice)
	help.Kind = api.Kind_KIND_REQUEST
	d.ofGroup(api.Kind_KIND_APPLICATION, "late", 2, four...)
	d.ofGroup(api.Kind_KIND_HANDSHAKE, "carol is out", 2, four...)
	d.accepted(help)
	a.envelope("help")

	// Who does not know which of them are members asks those that are.
	lost := toGroup("who are you", 0)
	lost.Kind, lost.Recipients = api.Kind_KIND_REQUEST, deviceIDs(carol, alice, dave)
	c.rejected(lost, api.Reason_REASON_NOT_A_MEMBER)
	d.accepted(lost)
	a.ofGroup(api.Kind_KIND_REQUEST, "who are you", 3, alice, bob, dave)
	erin := r.registered("erin")
	for _, p := range []*device{bob, carol, dave} {
		p.mailbox(erin, func(e *api.Envelope) {
			if string(e.GetPayload()) == "who are you" {
				t.Error("somebody else was asked")
			}
		})
	}
}

func TestMalformedGroupSubmits(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob, carol := r.registered("alice"), r.registered("bob"), r.registered("carol")
	all := []*device{alice, bob, carol}
	a := alice.connect()
	a.accepted(commit("founding", 0, all, nil))
	limits := relay.DefaultLimits()
	for name, change := range map[string]func(*api.Submit){
		"a short group id":           func(s *api.Submit) { s.Group.Id = s.Group.Id[:15] },
		"a long group id":            func(s *api.Submit) { s.Group.Id = make([]byte, 65) },
		"no group id":                func(s *api.Submit) { s.Group.Id = nil },
		"a commit without its group": func(s *api.Submit) { s.Group = nil },
		"an epoch that cannot end":   func(s *api.Submit) { s.Group.Epoch = relay.MaxEpoch + 1 },
		"recipients as well":         func(s *api.Submit) { s.Recipients = deviceIDs(bob) },
		"an application message":     func(s *api.Submit) { s.Kind = api.Kind_KIND_APPLICATION },
		"a Welcome":                  func(s *api.Submit) { s.Kind = api.Kind_KIND_WELCOME },
		"a Welcome alone":            func(s *api.Submit) { s.Kind, s.Commit = api.Kind_KIND_WELCOME, nil },
		"a request as a commit":      func(s *api.Submit) { s.Kind, s.Recipients = api.Kind_KIND_REQUEST, deviceIDs(bob) },
		"a request of nobody":        func(s *api.Submit) { s.Kind, s.Commit = api.Kind_KIND_REQUEST, nil },
		"no members":                 func(s *api.Submit) { s.Commit.Members = nil },
		"without the sender":         func(s *api.Submit) { s.Commit.Members = deviceIDs(bob, carol) },
		"not ascending":              func(s *api.Submit) { slices.Reverse(s.Commit.Members) },
		"a member twice":             func(s *api.Submit) { s.Commit.Members = slices.Insert(s.Commit.Members, 0, s.Commit.Members[0]) },
		"a short member":             func(s *api.Submit) { s.Commit.Members[0] = s.Commit.Members[0][:15] },
		"a Welcome for nobody":       func(s *api.Submit) { s.Commit.Welcomed = nil },
		"nothing for who is new":     func(s *api.Submit) { s.Commit.Welcome = nil },
		"a Welcome for no member":    func(s *api.Submit) { s.Commit.Members = deviceIDs(alice, carol) },
		"a Welcome for oneself":      func(s *api.Submit) { s.Commit.Welcomed = deviceIDs(alice, bob) },
		"a welcomed device twice":    func(s *api.Submit) { s.Commit.Welcomed = append(s.Commit.Welcomed, s.Commit.Welcomed[0]) },
	} {
		s := commit(name, 1, all, []*device{bob})
		change(s)
		a.rejected(s, api.Reason_REASON_MALFORMED)
	}
	crowd := commit("crowd", 1, all, []*device{bob})
	crowd.Commit.Members = make([][]byte, limits.Members+1)
	for i := range crowd.Commit.Members {
		crowd.Commit.Members[i] = []byte{byte(i >> 8), byte(i), 15: 0}
	}
	a.rejected(crowd, api.Reason_REASON_TOO_LARGE) // a limit of this server, and no mistake
	for payload, reason := range map[string]api.Reason{
		strings.Repeat("x", limits.MaxHandshake-2): api.Reason_REASON_TOO_LARGE, // with its Welcome
		"x": api.Reason_REASON_UNSPECIFIED,
	} {
		s := commit("123", 1, all, []*device{bob})
		s.Payload = []byte(payload)
		if s.Commit.Welcome = []byte("www"); reason == api.Reason_REASON_UNSPECIFIED {
			a.accepted(s)
		} else {
			a.rejected(s, reason)
		}
	}
	got := bob.connect()
	got.ofGroup(api.Kind_KIND_HANDSHAKE, "x", 1, all...)
	got.ofGroup(api.Kind_KIND_WELCOME, "www", 2, all...)
	large := submit(strings.Repeat("x", limits.MaxMessage+1), bob)
	large.Kind = api.Kind_KIND_REQUEST
	a.rejected(large, api.Reason_REASON_TOO_LARGE)
}

// TestHello: what a device is told first is what it knows, unless it is a copy
// restored from a backup.
func TestHello(t *testing.T) {
	dir := t.TempDir()
	r := startRelay(t, dir, nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	a := alice.connect()
	if hello := a.hello(); hello.GetAcked() != 0 || hello.GetKeyPackages() != 0 || len(hello.GetLastSubmit()) != 0 {
		t.Fatalf("a new device is told %v", hello)
	}
	first, second := submit("one", bob), submit("two", bob)
	a.accepted(first)
	a.accepted(second)
	a.accepted(first) // a repeat is not the last
	if _, err := bob.publish([]string{"a", "b"}, ""); err != nil {
		t.Fatal(err)
	}
	b := bob.connect()
	acked := b.envelope("one")
	b.envelope("two")
	b.ack(acked)
	b.settled()
	// At once, while the acknowledgement may not be on disk, and after a restart.
	for range 2 {
		if hello := alice.connect().hello(); !bytes.Equal(hello.GetLastSubmit(), second.GetId()) {
			t.Fatalf("the last submit is %x, want %x", hello.GetLastSubmit(), second.GetId())
		}
		if hello := bob.connect().hello(); hello.GetAcked() != acked || hello.GetKeyPackages() != 2 {
			t.Fatalf("got %v, want %d acknowledged and 2 key packages", hello, acked)
		}
		r.stop()
		r = startRelay(t, dir, nil)
		alice.dial(r)
		bob.dial(r)
	}
}
