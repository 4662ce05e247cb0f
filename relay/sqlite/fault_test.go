package sqlite_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// A scenario is a life of a store in steps, each of them all or nothing.
type scenario struct {
	registrations []relay.Registration
	devices       []identity.DeviceID // of alice, bob and carol
	at            time.Time
}

// A step changes a store. Again is false where a repeat of what was done does more.
type step struct {
	name  string
	again bool
	do    func(*testing.T, *sqlite.Store) error
}

func newScenario() *scenario {
	c := &scenario{at: time.Unix(1000, 0)}
	for _, name := range []string{"alice", "bob", "carol"} {
		key := identity.GenerateDeviceKey()
		certificate := identity.IssueCertificate(identity.GenerateAccountKey(), identity.Username(name), key.Public(), identity.NewDeviceID(), c.at)
		c.registrations = append(c.registrations, relay.Registration{Certificate: certificate, Record: []byte(name), At: c.at, MaxDevices: 1})
		c.devices = append(c.devices, certificate.DeviceID)
	}
	return c
}

// write makes a step of a batch, whose submissions must all be accepted. They are
// made anew each time, with the same ids, as a client's are.
func (c *scenario) write(name string, submissions func() []*relay.Submission) step {
	return step{name, true, func(t *testing.T, s *sqlite.Store) error {
		batch := &relay.Batch{Submissions: submissions(), MailboxRows: 100, MailboxBytes: 1 << 30, At: c.at}
		for i, submission := range batch.Submissions {
			copy(submission.ID[:], fmt.Sprint(i, name))
		}
		if err := s.Write(t.Context(), batch); err != nil {
			return err
		}
		for _, submission := range batch.Submissions {
			if submission.Err != nil {
				t.Fatalf("%s: not accepted: %v", name, submission.Err)
			}
		}
		return nil
	}}
}

func (c *scenario) steps() []step {
	alice, bob, carol := c.devices[0], c.devices[1], c.devices[2]
	to := func(from identity.DeviceID, payload string, recipients ...identity.DeviceID) *relay.Submission {
		return &relay.Submission{Sender: from, Recipients: recipients, Kind: api.Kind_KIND_APPLICATION, Payload: []byte(payload)}
	}
	toGroup := func(from identity.DeviceID, payload string, epoch uint64, commit *relay.Commit) *relay.Submission {
		s := to(from, payload)
		s.Group = &relay.GroupEpoch{ID: "a group of 16 by", Epoch: epoch}
		if s.Commit = commit; commit != nil {
			s.Kind = api.Kind_KIND_HANDSHAKE
		}
		return s
	}
	commit := func(welcomed []identity.DeviceID, members ...identity.DeviceID) *relay.Commit {
		slices.SortFunc(members, func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) })
		if welcomed == nil {
			return &relay.Commit{Members: members}
		}
		return &relay.Commit{Members: members, Welcome: []byte("welcome"), Welcomed: welcomed}
	}
	var steps []step
	for _, r := range c.registrations {
		steps = append(steps, step{"register", true, func(t *testing.T, s *sqlite.Store) error { return s.Register(t.Context(), r) }})
	}
	large := strings.Repeat("large ", 2_000)
	return append(steps,
		c.write("first", func() []*relay.Submission {
			return []*relay.Submission{to(alice, "one", bob), to(alice, "two", bob, carol), to(bob, "three", alice, bob, carol)}
		}),
		step{"publish", true, func(t *testing.T, s *sqlite.Store) error {
			_, err := s.PublishKeyPackages(t.Context(), relay.Publication{
				Device: bob, KeyPackages: [][]byte{[]byte("k1"), []byte("k2"), []byte("k3")}, LastResort: []byte("last"),
				At: c.at, Expires: c.at.Add(time.Hour), MaxStock: 3,
			})
			return err
		}},
		c.write("found", func() []*relay.Submission {
			return []*relay.Submission{toGroup(alice, "founding", 0, commit([]identity.DeviceID{bob}, alice, bob)), toGroup(bob, "hello", 1, nil)}
		}),
		step{"checkpoint", true, func(_ *testing.T, s *sqlite.Store) error { s.Checkpoint(); return nil }},
		step{"claim", false, func(t *testing.T, s *sqlite.Store) error {
			_, err := s.ClaimKeyPackages(t.Context(), "bob", c.at)
			return err
		}},
		c.write("commit", func() []*relay.Submission {
			return []*relay.Submission{
				to(carol, large, bob),
				toGroup(bob, "add carol", 1, commit([]identity.DeviceID{carol}, alice, bob, carol)),
				toGroup(carol, large, 2, nil),
			}
		}),
		step{"ack", true, func(t *testing.T, s *sqlite.Store) error {
			waiting, _, err := s.Read(t.Context(), bob, 0, relay.Page{Rows: 2, Bytes: 1 << 20})
			if err != nil || len(waiting) < 2 || string(waiting[1].Payload) != "two" {
				return err // acknowledged before
			}
			return s.Write(t.Context(), &relay.Batch{Acks: []relay.Acknowledgement{{Device: bob, Sequence: waiting[1].Sequence}}, At: c.at})
		}},
		step{"expire", true, func(t *testing.T, s *sqlite.Store) error {
			_, err := s.Expire(t.Context(), relay.Due{Before: c.at, At: c.at})
			return err
		}},
		c.write("last", func() []*relay.Submission {
			return []*relay.Submission{toGroup(carol, "bob is out", 2, commit(nil, alice, carol)), toGroup(alice, "bye", 3, nil), to(alice, "bye", bob)}
		}),
	)
}

// state returns what a store holds, as its users see it.
func (c *scenario) state(t *testing.T, s *sqlite.Store) string {
	t.Helper()
	var state strings.Builder
	for i, device := range c.devices {
		status, err := s.Status(t.Context(), device, c.at)
		if errors.Is(err, relay.ErrUnknownDevice) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&state, "%d: stock %d, last %q, acked %v\n", i, status.KeyPackages, status.LastSubmit, status.Acked > 0)
		envelopes, more, err := s.Read(t.Context(), device, 0, relay.Page{Rows: 100, Bytes: 1 << 30})
		if err != nil || more {
			t.Fatal(more, err)
		}
		for _, e := range envelopes {
			fmt.Fprintf(&state, "\t%v %.10q %d %q %x\n", e.Kind, e.Payload, len(e.Payload), e.Group, e.ListHash)
		}
	}
	return state.String()
}

var faultStride = flag.Int("fault.stride", 13, "try one of so many places where the disk can fail; with -short one of four times as many")

// TestFailingDisk makes every single write, sync and truncation of a store's life
// fail, and wants each step to have happened wholly or not at all, and to happen
// when it is repeated.
func TestFailingDisk(t *testing.T) {
	c := newScenario()
	want := c.faultless(t)
	for _, test := range []struct {
		name   string
		onward bool
		torn   bool
		err    error
		crash  bool // the relay is killed and started again on a good disk
		power  bool // what was not synced is there or not
	}{
		{"full for a moment", false, false, sqlite3.FULL, false, false},
		{"full", true, true, sqlite3.FULL, false, false},
		{"a bad write", false, true, sqlite3.IOERR_WRITE, false, false},
		{"killed", true, true, sqlite3.IOERR_FSYNC, true, false},
		{"power cut", true, true, sqlite3.IOERR_FSYNC, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := newFaultyVFS(t, "faulty-"+strings.ReplaceAll(test.name, " ", "-"))
			stride := *faultStride
			if testing.Short() {
				stride *= 4
			}
			for n := 1; ; n += stride {
				run := &faultRun{scenario: c, disk: disk, crash: test.crash, full: errors.Is(test.err, sqlite3.FULL), want: want}
				if test.power {
					run.power = rand.New(rand.NewPCG(0, uint64(n)))
				}
				disk.fail(n, test.onward, test.err, test.torn)
				if failed := run.live(t); !failed {
					t.Logf("%d places to fail at, one of %d tried", n, stride)
					return
				}
				if t.Failed() {
					t.Fatalf("at operation %d", n)
				}
			}
		})
	}
}

// faultless returns the state before the first step and after each.
func (c *scenario) faultless(t *testing.T) []string {
	t.Helper()
	s, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	states := []string{c.state(t, s)}
	for _, step := range c.steps() {
		if err := step.do(t, s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		states = append(states, c.state(t, s))
	}
	return states
}

// A faultRun is one life of a store on a disk that fails at one place.
type faultRun struct {
	*scenario
	disk        *faultyVFS
	crash, full bool
	power       *rand.Rand // nil: what was written is there
	want        []string

	dir   string
	store *sqlite.Store
}

// live goes through all steps and tells whether the disk failed on the way.
func (r *faultRun) live(t *testing.T) (failed bool) {
	t.Helper()
	r.dir = t.TempDir()
	for r.store == nil {
		failed = r.open(t) || failed
	}
	defer func() { r.store.Close() }()
	for i, step := range r.steps() {
		err := step.do(t, r.store)
		if r.disk.heal() {
			failed = true
			r.failedAt(t, i, step, err)
		} else if err != nil {
			t.Fatalf("%s on a good disk: %v", step.name, err)
		}
		if got := r.state(t, r.store); got != r.want[i+1] {
			t.Fatalf("%s failed with %v; after its repeat there is\n%s\nwant\n%s", step.name, err, got, r.want[i+1])
		}
	}
	checkDatabase(t, r.dir)
	return failed
}

// open opens the store, perhaps not at the first try.
func (r *faultRun) open(t *testing.T) (failed bool) {
	t.Helper()
	s, err := sqlite.OpenOn(r.dir, r.disk.name)
	failed = r.disk.heal()
	if err != nil && !failed {
		t.Fatal(err)
	}
	if err == nil {
		r.store = s
		s.SetPackAt(2)
	}
	return failed
}

// restart opens what is on the disk at this moment, without the store having been
// closed.
func (r *faultRun) restart(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{sqlite.FileName, sqlite.FileName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if r.power != nil {
			b = r.disk.afterPowerCut(filepath.Join(r.dir, name), r.power)
		}
		write(t, filepath.Join(dir, name), b)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.dir = dir
	r.open(t)
	checkDatabase(t, r.dir)
}

// failedAt looks at the store after a step in which the disk failed, and repeats
// the step.
func (r *faultRun) failedAt(t *testing.T, i int, step step, err error) {
	t.Helper()
	if err != nil && r.full && !errors.Is(err, relay.ErrFull) {
		t.Fatalf("%s on a full disk: %v", step.name, err)
	}
	if r.crash {
		r.restart(t)
	}
	got := r.state(t, r.store)
	before, after := got == r.want[i], got == r.want[i+1]
	if err == nil && !after || !before && !after {
		t.Fatalf("%s failed with %v, and there is\n%s\nwhich is neither\n%s\nnor\n%s", step.name, err, got, r.want[i], r.want[i+1])
	}
	if after && !step.again {
		return
	}
	if err := step.do(t, r.store); err != nil {
		t.Fatalf("%s again, on a good disk: %v", step.name, err)
	}
}

// checkDatabase runs SQLite's own checks and those of the store's rules.
func checkDatabase(t *testing.T, dir string) {
	t.Helper()
	a, err := sqlite.OpenAdmin(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if problems, err := a.Check(); err != nil || len(problems) > 0 {
		t.Errorf("the database has %q, %v", problems, err)
	}
}
