package relay_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// TestKilledRelayKeepsGroupsInStep kills the relay while three members race to end
// epochs and speak in between. A member that only listens must have one commit for
// every epoch, in order, what was accepted in an epoch between the commits that
// begin and end it, and nothing else; one that every commit adds anew, a Welcome
// after each commit.
func TestKilledRelayKeepsGroupsInStep(t *testing.T) {
	dir, rounds := t.TempDir(), killRounds()
	r := startRelay(t, dir, nil)
	var members []*device
	for _, name := range []string{"alice", "bob", "carol", "dave", "erin"} {
		members = append(members, r.registered(name))
	}
	stranger, listener, renewed := r.registered("stranger"), members[3], members[4]
	members[0].connect().accepted(commit("founding", 0, members, nil))
	r.stop()
	var load []*groupLoad
	for i, d := range members[:3] {
		load = append(load, &groupLoad{device: d, name: fmt.Sprint(i), members: members, renewed: renewed, epoch: 1, accepted: make(map[string]bool)})
	}
	var inboxes []*tortureInbox
	for _, d := range []*device{listener, renewed} {
		inboxes = append(inboxes, &tortureInbox{device: d, got: make(map[string]uint64), check: checkListHash(members)})
	}
	for round := range rounds {
		address, kill := startChild(t, dir)
		r.address = address
		var group errgroup.Group
		for _, i := range inboxes {
			i.last = 0
			i.device.dial(r)
			group.Go(i.run)
		}
		for _, l := range load {
			l.device.dial(r)
			group.Go(l.run)
		}
		timer := time.AfterFunc(killDelay(), kill)
		err := group.Wait()
		timer.Stop()
		kill()
		checkIntegrity(t, dir)
		if err != nil || t.Failed() {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	r = startRelay(t, dir, func(c *relay.Config) { c.Limits.MailboxRows = 1 << 20 })
	accepted := make(map[string]bool)
	for _, l := range load {
		l.device.dial(r)
		if err := l.finish(l.device.connect()); err != nil {
			t.Fatal(err)
		}
		maps.Copy(accepted, l.accepted)
	}
	stranger.dial(r)
	for _, i := range inboxes {
		i.last, i.check = 0, nil
		i.device.dial(r)
		i.device.mailbox(stranger, func(e *api.Envelope) {
			if err := i.take(e); err != nil {
				t.Fatal(err)
			}
		})
	}
	epochs := checkStep(t, inboxes[0].got, accepted, false)
	if again := checkStep(t, inboxes[1].got, accepted, true); again != epochs {
		t.Fatalf("the renewed member saw %d epochs, the listener %d", again, epochs)
	}
	t.Logf("%d epochs, %d messages and commits accepted over %d kills", epochs, len(accepted), rounds)
}

// A groupLoad speaks and commits, one submit at a time, until the relay dies.
type groupLoad struct {
	device, renewed *device
	name            string
	members         []*device
	epoch           uint64
	sent            int
	pending         *api.Submit // has no answer
	accepted        map[string]bool
}

func (l *groupLoad) run() error {
	line, err := l.device.tryConnect()
	if err != nil {
		return whenKilled(err)
	}
	for {
		if l.pending == nil {
			l.pending = l.next()
		}
		if err := l.settle(line); err != nil {
			return whenKilled(err)
		}
	}
}

// finish settles what has no answer, on a relay that lives.
func (l *groupLoad) finish(line *line) error {
	if l.pending == nil {
		return nil
	}
	return l.settle(line)
}

// next makes a commit of every fourth submit.
func (l *groupLoad) next() *api.Submit {
	l.sent++
	if l.sent%4 > 0 {
		return toGroup(fmt.Sprintf("%d in %s.%d", l.epoch, l.name, l.sent), l.epoch)
	}
	// A renewed device is on both lists.
	return commit(fmt.Sprintf("%d by %s.%d", l.epoch, l.name, l.sent), l.epoch, l.members, []*device{l.renewed})
}

// settle submits what is pending, and reads until it is answered.
func (l *groupLoad) settle(line *line) error {
	if err := line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: l.pending}}); err != nil {
		return err
	}
	for {
		frame, err := line.Recv()
		if err != nil {
			return err
		}
		switch f := frame.GetFrame().(type) {
		case *api.ServerFrame_Envelope:
			if err := line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: f.Envelope.GetSequence()}}}); err != nil {
				return err
			}
		case *api.ServerFrame_Accepted:
			l.accepted[string(l.pending.GetPayload())] = true
			if l.pending.GetCommit() != nil {
				l.epoch = l.pending.GetGroup().GetEpoch() + 1
			}
			l.pending = nil
			return nil
		case *api.ServerFrame_Rejected:
			if f.Rejected.GetReason() != api.Reason_REASON_STALE_EPOCH || f.Rejected.GetEpoch() <= l.pending.GetGroup().GetEpoch() {
				return fmt.Errorf("%q got %v", l.pending.GetPayload(), f.Rejected)
			}
			l.epoch, l.pending = f.Rejected.GetEpoch(), nil
			return nil
		}
	}
}

// parseGroupPayload takes what groupLoad writes.
func parseGroupPayload(payload string) (epoch uint64, word, who string, err error) {
	_, err = fmt.Sscanf(payload, "%d %s %s", &epoch, &word, &who)
	if err != nil {
		_, err = fmt.Sscanf(payload, "w%d %s %s", &epoch, &word, &who)
		word = "welcome"
	}
	return epoch, word, who, err
}

// checkListHash wants the hash of the epoch that an envelope belongs to.
func checkListHash(members []*device) func(*api.Envelope) error {
	var ids []identity.DeviceID
	for _, d := range members {
		ids = append(ids, d.id())
	}
	return func(e *api.Envelope) error {
		epoch, word, _, err := parseGroupPayload(string(e.GetPayload()))
		if err != nil {
			return fmt.Errorf("%q came: %w", e.GetPayload(), err)
		}
		if word == "welcome" {
			epoch++
		}
		if hash := identity.DeliveryListHash(testGroup, epoch, ids); !bytes.Equal(e.GetListHash(), hash[:]) {
			return fmt.Errorf("%q came with another list", e.GetPayload())
		}
		return nil
	}
}

// checkStep goes through a mailbox in its order and returns how many epochs it
// saw end.
func checkStep(t *testing.T, got map[string]uint64, accepted map[string]bool, welcomes bool) uint64 {
	t.Helper()
	epoch, winner := uint64(1), ""
	order := slices.SortedFunc(maps.Keys(got), func(a, b string) int { return cmp.Compare(got[a], got[b]) })
	missing := maps.Clone(accepted)
	for _, payload := range order {
		of, word, who, err := parseGroupPayload(payload)
		if err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		if word == "welcome" {
			if !welcomes || of != epoch-1 || who != winner {
				t.Fatalf("%q came after the commit of %q for epoch %d", payload, winner, epoch-1)
			}
			winner = ""
			continue
		}
		if !accepted[payload] {
			t.Fatalf("%q came and was never accepted", payload)
		}
		if of != epoch || (welcomes && winner != "") {
			t.Fatalf("%q came in epoch %d; the Welcome of %q is missing", payload, epoch, winner)
		}
		delete(missing, payload)
		if word == "by" {
			epoch, winner = epoch+1, who
		}
	}
	if len(missing) > 0 {
		t.Fatalf("%d that were accepted are gone: %v", len(missing), missing)
	}
	return epoch - 1
}
