package relay_test

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"sealpost/api"
)

// TestCommittersRace has eight members end the same epoch at once, each adding a
// newcomer of their own, over and over. Exactly one wins each time; what the others
// brought with them reaches nobody.
func TestCommittersRace(t *testing.T) {
	const committers, epochs = 8, 10
	r := startRelay(t, t.TempDir(), nil)
	var members []*device
	lines := make([]*line, committers)
	for n := range committers {
		d := r.registered(fmt.Sprint("member-", n))
		members, lines[n] = append(members, d), d.connect()
	}
	newcomers := make([]*device, committers) // the same ones lose and try again
	for n := range newcomers {
		newcomers[n] = r.registered(fmt.Sprint("newcomer-", n))
	}
	lines[0].accepted(commit("founding", 0, members, members[1:]))
	for _, l := range lines[1:] {
		l.ofGroup(api.Kind_KIND_WELCOME, "wfounding", 1, members...)
	}
	bystander := r.registered("bystander")
	won := make(map[int]int) // epoch → who
	for epoch := uint64(1); epoch <= epochs; epoch++ {
		results := make([]*api.Rejected, committers)
		var race errgroup.Group
		for n, l := range lines {
			c := commit(fmt.Sprint(n, " ends ", epoch), epoch, append(members[:committers:committers], newcomers[n]), []*device{newcomers[n]})
			race.Go(func() (err error) {
				if err := l.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: c}}); err != nil {
					return err
				}
				results[n], err = raceAnswer(l, n, epoch)
				return err
			})
		}
		if err := race.Wait(); err != nil {
			t.Fatal(err)
		}
		winner := -1
		for n, rejected := range results {
			switch {
			case rejected == nil && winner < 0:
				winner = n
			case rejected == nil:
				t.Fatalf("%d and %d both ended epoch %d", winner, n, epoch)
			case rejected.GetReason() != api.Reason_REASON_STALE_EPOCH || rejected.GetEpoch() != epoch+1:
				t.Fatalf("in epoch %d, %d got %v", epoch, n, rejected)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody ended epoch %d", epoch)
		}
		won[int(epoch)] = winner
	}
	for n, d := range newcomers {
		d.mailbox(bystander, func(e *api.Envelope) {
			var who, epoch int
			if _, err := fmt.Sscanf(string(e.GetPayload()), "w%d ends %d", &who, &epoch); err != nil {
				return // a commit of a later epoch
			}
			if e.GetKind() != api.Kind_KIND_WELCOME || who != n || won[epoch] != n {
				t.Errorf("newcomer %d got the Welcome of %d for epoch %d, which %d won", n, who, epoch, won[epoch])
			}
			delete(won, epoch)
		})
	}
	if len(won) > 0 {
		t.Errorf("the Welcomes of these winners came to nobody: %v", won)
	}
}

// raceAnswer waits until a committer knows how the race ended: it won, or it was
// told so and has the commit that won, in whatever order.
func raceAnswer(l *line, committer int, epoch uint64) (rejected *api.Rejected, err error) {
	seen := false
	for {
		frame, err := l.Recv()
		if err != nil {
			return nil, err
		}
		switch f := frame.GetFrame().(type) {
		case *api.ServerFrame_Accepted:
			return nil, nil
		case *api.ServerFrame_Rejected:
			rejected = f.Rejected
		case *api.ServerFrame_Envelope:
			var who int
			var of uint64
			if _, err := fmt.Sscanf(string(f.Envelope.GetPayload()), "%d ends %d", &who, &of); err != nil || of != epoch || who == committer || seen {
				return nil, fmt.Errorf("in epoch %d, %d got %q", epoch, committer, f.Envelope.GetPayload())
			}
			seen = true
		}
		if seen && rejected != nil {
			return rejected, nil
		}
	}
}
