package sqlite

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// TestSubmitIDsAreRemembered: ids become runs while batches fail and the store begins
// anew, and each is known all the time, and stands in one place.
func TestSubmitIDsAreRemembered(t *testing.T) {
	const batches, size = 120, 50
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.packAt = 10 * size
		return s
	}
	s := open()
	alice := registerForTest(t, s, "alice")
	bob := registerForTest(t, s, "bob")
	chance := rand.New(rand.NewPCG(1, 2))
	var ids [][api.SubmitIDSize]byte
	write := func(broken bool, fresh int, repeated ...[api.SubmitIDSize]byte) (delivered int) {
		batch := &relay.Batch{MailboxRows: 1 << 20, MailboxBytes: 1 << 30, At: time.Unix(1, 0)}
		batch.Acks = []relay.Acknowledgement{{Device: bob, Sequence: relay.MaxSequence}}
		for range fresh {
			repeated = append(repeated, [api.SubmitIDSize]byte{byte(chance.Uint32()), byte(chance.Uint32()), byte(chance.Uint32()), byte(chance.Uint32()), 1})
		}
		for _, id := range repeated {
			batch.Submissions = append(batch.Submissions, &relay.Submission{
				Sender: alice, ID: id, Recipients: []identity.DeviceID{bob}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("x"),
			})
		}
		if broken {
			batch.Submissions = append(batch.Submissions, &relay.Submission{Sender: identity.NewDeviceID()}) // breaks the batch
		}
		err := s.Write(t.Context(), batch)
		if broken {
			if !errors.Is(err, relay.ErrUnknownDevice) {
				t.Fatalf("a batch that must fail: %v", err)
			}
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, repeated[len(repeated)-fresh:]...)
		for _, submission := range batch.Submissions {
			if submission.FirstSequence != 0 {
				delivered++
			}
		}
		return delivered
	}
	for range batches {
		var again [][api.SubmitIDSize]byte
		for range min(len(ids), 20) {
			again = append(again, ids[chance.IntN(len(ids))])
		}
		if delivered := write(false, size, again...); delivered != size {
			t.Fatalf("%d of %d were delivered", delivered, size)
		}
		write(true, size)
		if chance.IntN(20) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
		}
	}
	defer s.Close()
	for query, want := range map[string]int64{
		`SELECT (SELECT CAST(total(length(keys)) AS INT) FROM submission_page) + (SELECT CAST(total(length(keys)) AS INT) FROM submission_log)`: 24 * int64(len(ids)),
		`SELECT count(*) FROM submission_run`: batches / 10,
	} {
		if got, err := queryInt(s.writer.conn, query); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", query, got, err, want)
		}
	}
	if delivered := write(false, 0, ids...); delivered != 0 {
		t.Errorf("%d are not known any more", delivered)
	}
}
