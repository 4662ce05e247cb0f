package relay_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"sealpost/api"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// A steadyLoad submits from one device to another until the relay dies.
type steadyLoad struct {
	from, to *device

	mu       sync.Mutex
	accepted []*api.Submit
	more     sync.Cond // of accepted; its lock is mu
}

func (l *steadyLoad) run() error {
	line, err := l.from.tryConnect()
	for err == nil {
		s := submit(fmt.Sprint("message ", len(l.soFar())), l.to)
		if err = line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}); err != nil {
			break
		}
		var frame *api.ServerFrame
		if frame, err = line.Recv(); err == nil && !bytes.Equal(frame.GetAccepted().GetId(), s.Id) {
			return fmt.Errorf("got %v, not Accepted", frame)
		}
		if err == nil {
			l.mu.Lock()
			l.accepted = append(l.accepted, s)
			l.more.Broadcast()
			l.mu.Unlock()
		}
	}
	return whenKilled(err)
}

func (l *steadyLoad) soFar() []*api.Submit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.accepted)
}

// await returns what is accepted once that is n submits.
func (l *steadyLoad) await(n int) []*api.Submit {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.accepted) < n {
		l.more.Wait()
	}
	return slices.Clone(l.accepted)
}

// TestBackupUnderLoad backs a relay up while it is busy, kills it, and starts
// another on what was restored: it is the same to its clients, has what was
// accepted before the backup, knows it again, and uses no sequence number that
// the lost one used later.
func TestBackupUnderLoad(t *testing.T) {
	dir, backup, restored := t.TempDir(), filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	r := startRelay(t, dir, nil)
	id := r.ID()
	alice, bob := r.registered("alice"), r.registered("bob")
	r.stop()
	address, kill := startChild(t, dir)
	defer kill()
	r.address = address
	alice.dial(r)
	bob.dial(r)
	load := &steadyLoad{from: alice, to: bob}
	load.more.L = &load.mu
	ended := make(chan error, 1)
	go func() { ended <- load.run() }()
	before := load.await(100)
	if err := sqlite.Copy(t.Context(), dir, backup); err != nil {
		t.Fatal(err)
	}
	last := lastSequence(bob, len(load.await(len(load.soFar())+10))) // and some that the backup cannot have
	kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	accepted := load.soFar()

	if err := sqlite.Copy(t.Context(), backup, restored); err != nil {
		t.Fatal(err)
	}
	r = startRelay(t, restored, func(c *relay.Config) { c.Limits.MailboxRows = 1 << 20 })
	if r.ID() != id {
		t.Error("the restored server is another to its clients")
	}
	alice.dial(r)
	bob.dial(r)
	line := alice.connect()
	for _, s := range accepted { // what is in the backup is known again
		line.accepted(s)
	}
	var got []string
	repeated := 0
	bob.mailbox(alice, func(e *api.Envelope) {
		got = append(got, string(e.GetPayload()))
		if e.GetSequence() > last {
			repeated++
		}
	})
	want := make([]string, len(accepted))
	for i, s := range accepted {
		want[i] = string(s.Payload)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d messages arrived, in order or not, %d were accepted", len(got), len(want))
	}
	if kept := len(want) - repeated; kept < len(before) {
		t.Errorf("%d of %d messages accepted before the backup were in it", kept, len(before))
	}
	if repeated < 10 {
		t.Errorf("%d numbers lie after those of the killed relay", repeated)
	}
	t.Logf("%d messages accepted before the backup, %d in all, %d of them only after it", len(before), len(accepted), repeated)
}

// lastSequence reads n envelopes without acknowledging them.
func lastSequence(d *device, n int) uint64 {
	line := d.connect()
	var last uint64
	for range n {
		last = line.receive().GetEnvelope().GetSequence()
	}
	return last
}
