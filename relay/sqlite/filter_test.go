package sqlite

import (
	"encoding/binary"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// TestFilterForgetsNoSubmission: over several layers, and until it expires.
func TestFilterForgetsNoSubmission(t *testing.T) {
	const each = minFilterLayer + 1
	key := func(i int) (k submissionKey) {
		k.sender = int64(i % 7)
		binary.BigEndian.PutUint64(k.id[:], uint64(i))
		return k
	}
	var f submissionFilter
	for i := range 3 * each {
		f.add(key(i), time.Unix(int64(i/each), 0))
	}
	if len(f.layers) < 2 {
		t.Fatalf("%d layers", len(f.layers))
	}
	f.expire(time.Unix(1, 0))
	for i := each; i < 3*each; i++ {
		if !f.mayHave(key(i)) {
			t.Fatalf("submission %d is forgotten", i)
		}
	}
	wrong := 0
	for i := 3 * each; i < 4*each; i++ {
		if f.mayHave(key(i)) {
			wrong++
		}
	}
	if wrong > each/50 {
		t.Errorf("%d of %d new submissions are taken for old ones", wrong, each)
	}
	f.expire(time.Unix(3, 0))
	if len(f.layers) != 0 || f.mayHave(key(0)) {
		t.Errorf("%d layers are left of what expired", len(f.layers))
	}
}

// TestFilterIsReadAfterAStart: a repeat of what only the sorted table knows is
// still one.
func TestFilterIsReadAfterAStart(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	alice := registerForTest(t, s, "alice")
	batch := func(id byte) *relay.Batch {
		return &relay.Batch{At: time.Unix(1, 0), MailboxRows: 10, MailboxBytes: 1 << 20, Submissions: []*relay.Submission{{
			Sender: alice, ID: [api.SubmitIDSize]byte{id}, Recipients: []identity.DeviceID{alice},
			Kind: api.Kind_KIND_APPLICATION, Payload: []byte("x"),
		}}}
	}
	if err := s.Write(t.Context(), batch(1)); err != nil {
		t.Fatal(err)
	}
	s.mergeAt = 1
	for len(s.recent)+len(s.merger.ids) > 0 {
		if err := s.Write(t.Context(), &relay.Batch{At: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-s.filterLoader.done
	if !s.filtered || len(s.recent) != 0 {
		t.Fatalf("filtered %v, %d recent", s.filtered, len(s.recent))
	}
	for id, first := range map[byte]bool{1: false, 2: true} {
		b := batch(id)
		if err := s.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if delivered := b.Submissions[0].FirstSequence != 0; delivered != first {
			t.Errorf("submit %d delivered: %v", id, delivered)
		}
	}
}

func registerForTest(t *testing.T, s *Store, name string) identity.DeviceID {
	t.Helper()
	key, id := identity.GenerateDeviceKey(), identity.NewDeviceID()
	certificate := identity.IssueCertificate(identity.GenerateAccountKey(), identity.Username(name), key.Public(), id, time.Unix(1, 0))
	err := s.Register(t.Context(), relay.Registration{Certificate: certificate, Record: []byte("record"), At: time.Unix(1, 0), MaxDevices: 1})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// BenchmarkFilter looks up new submissions among twenty million.
func BenchmarkFilter(b *testing.B) {
	var f submissionFilter
	var key submissionKey
	number := uint64(0)
	next := func() submissionKey {
		number++
		binary.BigEndian.PutUint64(key.id[:], number)
		return key
	}
	for range 20_000_000 {
		f.add(next(), time.Unix(1, 0))
	}
	for b.Loop() {
		f.mayHave(next())
	}
}
