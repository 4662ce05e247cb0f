package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestExpireInSteps has more of everything than one step takes.
func TestExpireInSteps(t *testing.T) {
	const old, fresh = 2500, 1100
	dir := t.TempDir()
	s, closeStore := open(t, dir)
	defer closeStore()
	alice, bob := register(t, s, "alice"), register(t, s, "bob")
	fill := func(at int64, n int) {
		batch := relay.Batch{MailboxRows: 10_000, MailboxBytes: 1 << 30, At: time.Unix(at, 0)}
		publication := relay.Publication{Device: alice, At: time.Unix(at, 0), Expires: time.Unix(at, 0), MaxStock: 10_000}
		for i := range n {
			batch.Submissions = append(batch.Submissions, &relay.Submission{
				Sender: alice, ID: [16]byte([]byte(fmt.Sprintf("%16d", at+int64(i)))), Recipients: []identity.DeviceID{alice, bob},
				Kind: api.Kind_KIND_APPLICATION, Payload: bytes.Repeat([]byte("x"), 4000),
			})
			publication.KeyPackages = append(publication.KeyPackages, fmt.Appendf(nil, "key package %d", at+int64(i)))
		}
		if err := s.Write(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PublishKeyPackages(t.Context(), publication); err != nil {
			t.Fatal(err)
		}
		nonces := make([]relay.Nonce, n)
		for i := range nonces {
			nonces[i] = relay.Nonce{Device: alice, Nonce: batch.Submissions[i].ID, At: time.Unix(at, 0)}
		}
		if err := s.AddNonces(t.Context(), nonces); err != nil {
			t.Fatal(err)
		}
	}
	fill(1_000_000, old)
	fill(2_000_000, fresh)
	due := relay.Due{Before: time.Unix(2_000_000, 0), Nonces: time.Unix(2_000_000, 0), At: time.Unix(1_999_999, 0)}
	for _, want := range []relay.Expired{{Envelopes: 2 * old, SubmitIDs: old, Nonces: old, KeyPackages: old}, {}} {
		if gone, err := s.Expire(t.Context(), due); err != nil || gone != want {
			t.Errorf("%+v expired, %v; want %+v", gone, err, want)
		}
	}
	if envelopes, _, err := s.Read(t.Context(), bob, 0, relay.Page{Rows: 10_000, Bytes: 1 << 30}); err != nil || len(envelopes) != fresh {
		t.Errorf("%d envelopes stay, %v; want %d", len(envelopes), err, fresh)
	}
	if problems, err := openAdmin(t, dir).Check(); err != nil || len(problems) > 0 {
		t.Errorf("afterwards the store has %q, %v", problems, err)
	}
}

// TestExpireSubmitIDs: those in runs and those in the log, each after its time.
func TestExpireSubmitIDs(t *testing.T) {
	const each, runs = 15_000, 3
	s, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetPackAt(each)
	alice := register(t, s, "alice")
	// write sends the messages of one time, or sends them again at the end.
	write := func(i int, at int64, n int) (delivered int) {
		t.Helper()
		batch := relay.Batch{MailboxRows: 1 << 20, MailboxBytes: 1 << 30, At: time.Unix(at, 0)}
		for j := range n {
			batch.Submissions = append(batch.Submissions, &relay.Submission{
				Sender: alice, ID: [16]byte(fmt.Appendf(nil, "%08d%08d", i, j)), Recipients: []identity.DeviceID{alice}, Kind: api.Kind_KIND_APPLICATION,
			})
		}
		batch.Acks = []relay.Acknowledgement{{Device: alice, Sequence: relay.MaxSequence}}
		if err := s.Write(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		for _, submission := range batch.Submissions {
			if submission.FirstSequence != 0 {
				delivered++
			}
		}
		return delivered
	}
	for i := range runs {
		write(i, int64(1000*(i+1)), each)
	}
	write(runs, 4000, 10)
	write(runs+1, 5000, 10)
	for _, step := range []struct{ before, gone int }{{1000, 0}, {2001, 2 * each}, {2001, 0}, {4001, each + 10}, {4001, 0}} {
		// Envelopes go with the acknowledgement of the next batch.
		write(0, 5000, 0)
		gone, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(int64(step.before), 0)})
		if err != nil || gone.SubmitIDs != step.gone {
			t.Errorf("%+v expired before %d, %v; want %d", gone, step.before, err, step.gone)
		}
	}
	for i, want := range map[int]int{0: 10, runs - 1: 10, runs: 10, runs + 1: 0} {
		if n := write(i, 6000, 10); n != want {
			t.Errorf("of time %d %d of 10 are delivered again, want %d", i, n, want)
		}
	}
}

func TestExpireInvites(t *testing.T) {
	dir := t.TempDir()
	s, closeStore := open(t, dir)
	defer closeStore()
	a := openAdmin(t, dir)
	now := time.Unix(1000, 0)
	for _, expires := range []time.Time{{}, now, now.Add(time.Second)} {
		if _, err := a.AddInvite(sqlite.Invite{Uses: 1, Expires: expires}, now); err != nil {
			t.Fatal(err)
		}
	}
	if gone, err := s.Expire(t.Context(), relay.Due{At: now}); err != nil || gone != (relay.Expired{Invites: 1}) {
		t.Errorf("%+v expired, %v", gone, err)
	}
	left := 0
	if err := a.Invites(func(sqlite.Invite) error { left++; return nil }); err != nil || left != 2 {
		t.Errorf("%d invitations stay, %v", left, err)
	}
}

func TestExpireStops(t *testing.T) {
	s, closeStore := open(t, t.TempDir())
	defer closeStore()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Expire(ctx, relay.Due{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
