package sqlite_test

import (
	"errors"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestFullDisk: what is left of the disk is for acknowledgements, which make room.
// Everything else is refused, and goes on when there is room again.
func TestFullDisk(t *testing.T) {
	s, err := sqlite.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	alice, bob := register(t, s, "alice"), register(t, s, "bob")
	submission := func(n byte) *relay.Submission {
		return &relay.Submission{Sender: alice, ID: [16]byte{n}, Recipients: []identity.DeviceID{bob}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte{n}}
	}
	write := func(submission *relay.Submission, acks ...relay.Acknowledgement) {
		t.Helper()
		batch := relay.Batch{Acks: acks, Submissions: []*relay.Submission{submission}, MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(1000, 0)}
		if err := s.Write(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(want int) {
		t.Helper()
		envelopes, _, err := s.Read(t.Context(), bob, 0, relay.Page{Rows: 10, Bytes: 1 << 20})
		if err != nil || len(envelopes) != want {
			t.Fatalf("%d envelopes wait, %v; want %d", len(envelopes), err, want)
		}
	}
	first, second := submission(1), submission(2)
	write(first)

	s.SetFreeBytes(64<<20 - 1)
	write(second)
	if !errors.Is(second.Err, relay.ErrFull) {
		t.Fatalf("a submission on a full disk: %v", second.Err)
	}
	waiting(1)
	write(second, relay.Acknowledgement{Device: bob, Sequence: first.FirstSequence})
	if !errors.Is(second.Err, relay.ErrFull) {
		t.Fatalf("a submission on a full disk: %v", second.Err)
	}
	waiting(0)
	_, err = s.PublishKeyPackages(t.Context(), relay.Publication{Device: bob, KeyPackages: [][]byte{{1}}, MaxStock: 1})
	if !errors.Is(err, relay.ErrFull) {
		t.Fatalf("a publication on a full disk: %v", err)
	}
	if err := s.Register(t.Context(), relay.Registration{}); !errors.Is(err, relay.ErrFull) {
		t.Fatalf("a registration on a full disk: %v", err)
	}
	if _, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(1000, 0)}); err != nil {
		t.Fatalf("making room: %v", err)
	}

	s.SetFreeBytes(64 << 20)
	write(second)
	if second.Err != nil {
		t.Fatalf("with room again: %v", second.Err)
	}
	waiting(1)
}
