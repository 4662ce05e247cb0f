package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

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

// A clock that goes back for a moment, as at a start before its time is set, makes no
// id expire that was accepted at the right time.
func TestClockGoesBack(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const now, packAt = 1_800_000_000, 10
	s.packAt = packAt
	alice := registerForTest(t, s, "alice")
	write := func(at int64, ids ...byte) (delivered int) {
		batch := &relay.Batch{MailboxRows: 1000, MailboxBytes: 1 << 20, At: time.Unix(at, 0)}
		for _, id := range ids {
			batch.Submissions = append(batch.Submissions, &relay.Submission{
				Sender: alice, ID: [api.SubmitIDSize]byte{id}, Recipients: []identity.DeviceID{alice}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("x"),
			})
		}
		if err := s.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for _, submission := range batch.Submissions {
			if submission.FirstSequence != 0 {
				delivered++
			}
		}
		return delivered
	}
	write(now, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	write(0, 9) // makes a run of all
	if gone, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(now-1, 0)}); err != nil || gone.SubmitIDs != 0 {
		t.Errorf("%+v expired, %v", gone, err)
	}
	if n := write(now, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9); n != 0 {
		t.Errorf("%d submissions of a moment ago are delivered again", n)
	}
}

// TestPackSubmissions: runs are made of what an older version had in one table, and
// what it had appended stays so.
func TestPackSubmissions(t *testing.T) {
	const sorted, recent = 2*packAt + 1000, 700
	dir := t.TempDir()
	c, err := sqlite3.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range migrations[:4] {
		if err := c.Exec(m.sql); err != nil {
			t.Fatal(err)
		}
	}
	err = c.Exec(fmt.Sprintf(`PRAGMA user_version = 4;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO submission SELECT 7 + (i %% 2 << 40), unhex(printf('%%016x%%016x', i * 2654435761, i)), 1000 + i FROM n;
		WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO submission_recent (mailbox, id, accepted_at) SELECT 7 + (i %% 2 << 40), unhex(printf('%%016x%%016x', i * 2654435761, i)), 1000 + i FROM n`,
		sorted, sorted-100, sorted+recent-100))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := func(i int) submissionKey {
		var id [api.SubmitIDSize]byte
		binary.BigEndian.PutUint64(id[:], uint64(i)*2654435761)
		binary.BigEndian.PutUint64(id[8:], uint64(i))
		return newSubmissionKey(7+int64(i%2)<<40, id)
	}
	for i := 1; i < sorted+2*recent; i++ {
		if found, err := s.seen(key(i)); err != nil || found != (i <= sorted+recent-100) {
			t.Fatalf("id %d is known: %v, %v", i, found, err)
		}
	}
	if runs, err := queryInt(s.writer.conn, `SELECT count(*) FROM submission_run`); err != nil || runs != 3 {
		t.Errorf("%d runs, %v", runs, err)
	}
	// The newest of all stands in one of the runs, and in no other.
	before := relay.Due{Before: time.Unix(1000+sorted, 0)}
	if gone, err := s.Expire(t.Context(), before); err != nil || gone.SubmitIDs == 0 || gone.SubmitIDs > 2*packAt+100 {
		t.Errorf("%+v expired, %v", gone, err)
	}
}
