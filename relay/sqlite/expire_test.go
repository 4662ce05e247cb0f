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
	for _, want := range []relay.Expired{{Envelopes: 2 * old, Nonces: old, KeyPackages: old}, {}} {
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

func TestExpireSubmitIDs(t *testing.T) {
	dir := t.TempDir()
	s, closeStore := open(t, dir)
	alice := register(t, s, "alice")
	closeStore()
	damage(t, dir, `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
		INSERT INTO submission SELECT 1, CAST(printf('%016d', i) AS BLOB), 1000 + i % 2 * 1000 FROM n`)
	s, closeStore = open(t, dir)
	defer closeStore()
	gone, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(2000, 0)})
	if err != nil || gone != (relay.Expired{SubmitIDs: 2500}) {
		t.Fatalf("%+v expired, %v", gone, err)
	}
	for i, delivered := range map[int]bool{4998: true, 4999: false} {
		again := &relay.Submission{
			Sender: alice, ID: [16]byte([]byte(fmt.Sprintf("%016d", i))), Recipients: []identity.DeviceID{alice}, Kind: api.Kind_KIND_APPLICATION,
		}
		batch := relay.Batch{Submissions: []*relay.Submission{again}, MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(2000, 0)}
		if err := s.Write(t.Context(), &batch); err != nil || again.Err != nil || (again.FirstSequence != 0) != delivered {
			t.Errorf("id %d again: delivered at %d, %v, %v", i, again.FirstSequence, again.Err, err)
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
