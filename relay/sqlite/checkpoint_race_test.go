package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestCheckpointsBesideAFailingWriter copies the log back without pause, while the
// writer commits, fails in the middle, rolls back and tries again. What was
// accepted must be there once, in a database without a fault, also after the relay
// is killed.
func TestCheckpointsBesideAFailingWriter(t *testing.T) {
	disk := newFaultyVFS(t, "faulty-checkpoint")
	dir := t.TempDir()
	s, err := sqlite.OpenOn(dir, disk.name)
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := register(t, s, "alice"), register(t, s, "bob")
	stop := checkpointWithoutPause(s)
	const messages = 300
	failures := 0
	for i := range messages {
		submission := &relay.Submission{
			Sender: alice, ID: [16]byte{byte(i), byte(i >> 8)}, Recipients: []identity.DeviceID{alice, bob},
			Kind: api.Kind_KIND_APPLICATION, Payload: append(fmt.Appendf(nil, "%06d", i), make([]byte, rand.IntN(30_000))...),
		}
		batch := &relay.Batch{Submissions: []*relay.Submission{submission}, MailboxRows: messages, MailboxBytes: 1 << 30, At: time.Unix(1000, 0)}
		disk.fail(1+rand.IntN(20), rand.IntN(2) == 0, sqlite3.IOERR_WRITE, true)
		err := s.Write(t.Context(), batch)
		disk.heal()
		if err != nil {
			failures++
			err = s.Write(t.Context(), batch)
		}
		if err != nil || submission.Err != nil {
			t.Fatalf("message %d on a good disk: %v, %v", i, err, submission.Err)
		}
	}
	stop()
	disk.fail(0, false, nil, false) // the last failure may still be to come
	if failures == 0 {
		t.Error("the disk never failed")
	}
	t.Logf("%d writes failed", failures)
	r := &faultRun{disk: disk, dir: dir, store: s}
	r.restart(t)
	defer r.store.Close()
	for _, device := range []identity.DeviceID{alice, bob} {
		envelopes, _, err := r.store.Read(t.Context(), device, 0, relay.Page{Rows: messages + 1, Bytes: 1 << 30})
		if err != nil || len(envelopes) != messages {
			t.Fatalf("%d envelopes, %v; want %d", len(envelopes), err, messages)
		}
		for i, e := range envelopes {
			if string(e.Payload[:6]) != fmt.Sprintf("%06d", i) {
				t.Fatalf("envelope %d is %.6s", i, e.Payload)
			}
		}
	}
}
