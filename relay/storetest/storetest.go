// Package storetest is the contract of relay.Store as a test suite, which every
// store runs.
package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// Open opens the store under test. A second call with the same directory, after
// close, opens the same data again.
type Open func(t *testing.T, dir string) (store relay.Store, closeStore func())

// Run runs the contract.
func Run(t *testing.T, open Open) {
	tests := map[string]func(*testing.T, *suite){
		"Register":               testRegister,
		"RegisterAgain":          testRegisterAgain,
		"RegisterTaken":          testRegisterTaken,
		"RegisterTooManyDevices": testRegisterTooManyDevices,
		"UnknownNames":           testUnknownNames,
		"SubmitAndRead":          testSubmitAndRead,
		"SequenceOfRecipients":   testSequenceOfRecipients,
		"SubmitAgain":            testSubmitAgain,
		"SubmitAgainLater":       testSubmitAgainLater,
		"IDsAreOfTheirSender":    testIDsAreOfTheirSender,
		"AllOrNothing":           testAllOrNothing,
		"RejectedCanBeRepeated":  testRejectedCanBeRepeated,
		"MailboxRows":            testMailboxRows,
		"MailboxBytes":           testMailboxBytes,
		"Ack":                    testAck,
		"AckIsOfOneMailbox":      testAckIsOfOneMailbox,
		"SharedPayload":          testSharedPayload,
		"Pages":                  testPages,
		"SequenceNeverReused":    testSequenceNeverReused,
		"Reopen":                 testReopen,
		"Expire":                 testExpire,
		"ReadWhileWriting":       testReadWhileWriting,
		"Status":                 testStatus,
	}
	maps.Copy(tests, shareTests)
	maps.Copy(tests, groupTests)
	maps.Copy(tests, keyPackageTests)
	maps.Copy(tests, nonceTests)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &suite{t: t, open: open, dir: t.TempDir(), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
			s.store, s.close = open(t, s.dir)
			defer func() { s.close() }()
			test(t, s)
		})
	}
}

type suite struct {
	t     *testing.T
	open  Open
	dir   string
	store relay.Store
	close func()
	now   time.Time
}

func (s *suite) reopen() {
	s.t.Helper()
	s.close()
	s.store, s.close = s.open(s.t, s.dir)
}

const maxDevices = 3

// registration makes a device of an account.
func (s *suite) registration(account identity.AccountPrivateKey, name string) relay.Registration {
	s.t.Helper()
	key := identity.GenerateDeviceKey()
	certificate := identity.IssueCertificate(account, identity.Username(name), key.Public(), identity.NewDeviceID(), s.now)
	record, err := identity.SignDeviceRecord(key, certificate, "age1test")
	if err != nil {
		s.t.Fatal(err)
	}
	return relay.Registration{Certificate: certificate, Record: record.Marshal(), At: s.now, MaxDevices: maxDevices}
}

// device registers a device of a new account.
func (s *suite) device(name string) identity.DeviceID {
	s.t.Helper()
	r := s.registration(identity.GenerateAccountKey(), name)
	if err := s.store.Register(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	return r.Certificate.DeviceID
}

func submission(from identity.DeviceID, payload string, to ...identity.DeviceID) *relay.Submission {
	submission := &relay.Submission{Sender: from, Recipients: to, Kind: api.Kind_KIND_APPLICATION, Payload: []byte(payload)}
	rand.Read(submission.ID[:]) // never fails (crypto/rand)
	return submission
}

func (s *suite) batch(submissions ...*relay.Submission) *relay.Batch {
	return &relay.Batch{Submissions: submissions, MailboxRows: 100, MailboxBytes: 1 << 20, At: s.now}
}

func (s *suite) write(b *relay.Batch) {
	s.t.Helper()
	if err := s.store.Write(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) accepted(submissions ...*relay.Submission) {
	s.t.Helper()
	s.write(s.batch(submissions...))
	for _, submission := range submissions {
		if submission.Err != nil {
			s.t.Fatalf("not accepted: %v", submission.Err)
		}
	}
}

func (s *suite) ack(device identity.DeviceID, sequence uint64) {
	s.t.Helper()
	b := s.batch()
	b.Acks = []relay.Acknowledgement{{Device: device, Sequence: sequence}}
	s.write(b)
}

var wholeMailbox = relay.Page{Rows: 1 << 20, Bytes: 1 << 30}

func (s *suite) read(device identity.DeviceID) []relay.Envelope {
	s.t.Helper()
	envelopes, more, err := s.store.Read(s.t.Context(), device, 0, wholeMailbox)
	if err != nil || more {
		s.t.Fatalf("reading a whole mailbox: more %v, %v", more, err)
	}
	return envelopes
}

// holds wants a mailbox to hold just these payloads, in rising sequence.
func (s *suite) holds(device identity.DeviceID, payloads ...string) {
	s.t.Helper()
	envelopes := s.read(device)
	got := make([]string, len(envelopes))
	last := uint64(0)
	for i, e := range envelopes {
		got[i] = string(e.Payload)
		if e.Sequence <= last {
			s.t.Fatalf("sequence %d after %d", e.Sequence, last)
		}
		last = e.Sequence
	}
	if fmt.Sprint(got) != fmt.Sprint(payloads) {
		s.t.Fatalf("the mailbox holds %q, want %q", got, payloads)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func testRegister(t *testing.T, s *suite) {
	account := identity.GenerateAccountKey()
	first, second := s.registration(account, "alice"), s.registration(account, "alice")
	for _, r := range []relay.Registration{first, second} {
		if err := s.store.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		key, err := s.store.Device(t.Context(), r.Certificate.DeviceID)
		if err != nil || key != r.Certificate.DeviceKey {
			t.Fatalf("the device's key is %v, %v", key, err)
		}
	}
	records, err := s.store.Records(t.Context(), "alice")
	if err != nil || len(records) != 2 || !bytes.Equal(records[0], first.Record) || !bytes.Equal(records[1], second.Record) {
		t.Fatalf("%d records, %v", len(records), err)
	}
}

func testRegisterAgain(t *testing.T, s *suite) {
	r := s.registration(identity.GenerateAccountKey(), "alice")
	for range 3 {
		if err := s.store.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if records, err := s.store.Records(t.Context(), "alice"); err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
}

func testRegisterTaken(t *testing.T, s *suite) {
	r := s.registration(identity.GenerateAccountKey(), "alice")
	if err := s.store.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	other := s.registration(identity.GenerateAccountKey(), "alice")
	wantErr(t, s.store.Register(t.Context(), other), relay.ErrNameTaken)
	_, err := s.store.Device(t.Context(), other.Certificate.DeviceID)
	wantErr(t, err, relay.ErrUnknownDevice)

	thief := s.registration(identity.GenerateAccountKey(), "mallory")
	thief.Certificate.DeviceID = r.Certificate.DeviceID
	wantErr(t, s.store.Register(t.Context(), thief), relay.ErrDeviceTaken)
	_, err = s.store.Records(t.Context(), "mallory")
	wantErr(t, err, relay.ErrUnknownAccount)
}

func testRegisterTooManyDevices(t *testing.T, s *suite) {
	account := identity.GenerateAccountKey()
	for range maxDevices {
		if err := s.store.Register(t.Context(), s.registration(account, "alice")); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, s.store.Register(t.Context(), s.registration(account, "alice")), relay.ErrTooManyDevices)
}

func testUnknownNames(t *testing.T, s *suite) {
	_, err := s.store.Records(t.Context(), "nobody")
	wantErr(t, err, relay.ErrUnknownAccount)
	_, err = s.store.Device(t.Context(), identity.NewDeviceID())
	wantErr(t, err, relay.ErrUnknownDevice)
}

func testSubmitAndRead(_ *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.accepted(submission(alice, "one", bob), submission(alice, "two", bob, carol))
	s.accepted(submission(carol, "three", bob))
	s.holds(bob, "one", "two", "three")
	s.holds(carol, "two")
	s.holds(alice)
}

func testSequenceOfRecipients(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	sent := submission(alice, "one", carol, bob)
	s.accepted(sent)
	if got := s.read(carol)[0].Sequence; got != sent.FirstSequence {
		t.Fatalf("the first recipient has %d, announced was %d", got, sent.FirstSequence)
	}
	if got := s.read(bob)[0].Sequence; got != sent.FirstSequence+1 {
		t.Fatalf("the second recipient has %d, announced was %d", got, sent.FirstSequence+1)
	}
}

func testSubmitAgain(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	first := submission(alice, "one", bob)
	inBatch, later := *first, *first
	s.accepted(first, &inBatch)
	s.accepted(&later)
	if first.FirstSequence == 0 || inBatch.FirstSequence != 0 || later.FirstSequence != 0 {
		t.Fatalf("delivered at %d, %d and %d", first.FirstSequence, inBatch.FirstSequence, later.FirstSequence)
	}
	s.holds(bob, "one")
}

// testSubmitAgainLater repeats after so many others that a store may keep the id
// elsewhere by then, and after the envelope is gone.
func testSubmitAgainLater(_ *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	first := submission(alice, "one", bob)
	s.accepted(first)
	for range 40 {
		many := make([]*relay.Submission, 1000)
		for i := range many {
			many[i] = submission(alice, "x", bob)
		}
		b := s.batch(many...)
		b.MailboxRows = 1 << 20
		s.write(b)
	}
	s.ack(bob, relay.MaxSequence)
	again := *first
	s.accepted(&again)
	s.holds(bob)
	s.reopen()
	again = *first
	s.accepted(&again)
	s.holds(bob)
}

func testIDsAreOfTheirSender(_ *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	first := submission(alice, "of alice", bob)
	same := submission(bob, "of bob", bob)
	same.ID = first.ID
	s.accepted(first, same)
	s.holds(bob, "of alice", "of bob")
}

func testAllOrNothing(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	unknown := submission(alice, "one", bob, identity.NewDeviceID())
	full := submission(alice, "two", carol, bob)
	fine := submission(alice, "three", carol)
	b := s.batch(unknown, submission(alice, "fills it", bob), full, fine)
	b.MailboxRows = 1
	s.write(b)
	wantErr(t, unknown.Err, relay.ErrUnknownRecipient)
	wantErr(t, full.Err, relay.ErrMailboxFull)
	s.holds(bob, "fills it")
	s.holds(carol, "three")
}

func testRejectedCanBeRepeated(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	s.accepted(submission(alice, "fills it", bob))
	second := submission(alice, "second", bob)
	b := s.batch(second)
	b.MailboxRows = 1
	s.write(b)
	wantErr(t, second.Err, relay.ErrMailboxFull)
	s.ack(bob, s.read(bob)[0].Sequence)
	b.Submissions = []*relay.Submission{second}
	s.write(b)
	wantErr(t, second.Err, nil)
	s.holds(bob, "second")
}

func testMailboxRows(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	third := submission(alice, "three", bob)
	b := s.batch(submission(alice, "one", bob), submission(alice, "two", bob), third)
	b.MailboxRows = 2
	s.write(b)
	wantErr(t, third.Err, relay.ErrMailboxFull)
	s.reopen() // the count is not only in memory
	s.write(b)
	wantErr(t, third.Err, relay.ErrMailboxFull)
	s.holds(bob, "one", "two")
}

func testMailboxBytes(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	exact, over := submission(alice, "12345", bob), submission(alice, "6", bob)
	b := s.batch(exact, over)
	b.MailboxBytes = 5
	s.write(b)
	wantErr(t, exact.Err, nil)
	wantErr(t, over.Err, relay.ErrMailboxFull)
	s.ack(bob, exact.FirstSequence)
	s.write(b)
	wantErr(t, over.Err, nil)
	s.holds(bob, "6")
}

func testAck(_ *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	second := submission(alice, "two", bob)
	s.accepted(submission(alice, "one", bob), second, submission(alice, "three", bob))
	s.ack(bob, second.FirstSequence)
	s.holds(bob, "three")
	s.ack(bob, second.FirstSequence)
	s.holds(bob, "three")
	s.ack(bob, relay.MaxSequence)
	s.holds(bob)
	s.ack(identity.NewDeviceID(), relay.MaxSequence) // nobody's: no harm
}

func testAckIsOfOneMailbox(_ *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.accepted(submission(alice, "to bob", bob), submission(alice, "to carol", carol), submission(alice, "to both", bob, carol))
	s.ack(bob, relay.MaxSequence)
	s.holds(bob)
	s.holds(carol, "to carol", "to both")
}

func testSharedPayload(_ *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	s.accepted(submission(alice, "to both", bob, carol))
	s.ack(bob, relay.MaxSequence)
	s.reopen()
	s.accepted(submission(alice, "to both again", bob, carol))
	s.holds(carol, "to both", "to both again")
	s.ack(carol, relay.MaxSequence)
	s.holds(bob, "to both again")
}

func testPages(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	s.accepted(submission(alice, "1111", bob), submission(alice, "2222", bob), submission(alice, "3333", bob))
	for _, test := range []struct {
		page relay.Page
		want int
		more bool
	}{
		{relay.Page{Rows: 1, Bytes: 100}, 1, true},
		{relay.Page{Rows: 2, Bytes: 100}, 2, true},
		{relay.Page{Rows: 3, Bytes: 100}, 3, false},
		{relay.Page{Rows: 100, Bytes: 8}, 2, true},
		{relay.Page{Rows: 100, Bytes: 11}, 2, true},
		{relay.Page{Rows: 100, Bytes: 12}, 3, false},
		{relay.Page{Rows: 100, Bytes: 1}, 1, true},
	} {
		got, more, err := s.store.Read(t.Context(), bob, 0, test.page)
		if err != nil || len(got) != test.want || more != test.more {
			t.Errorf("%+v: %d envelopes, more %v, %v", test.page, len(got), more, err)
		}
	}
	all := s.read(bob)
	rest, more, err := s.store.Read(t.Context(), bob, all[1].Sequence, wholeMailbox)
	if err != nil || more || len(rest) != 1 || string(rest[0].Payload) != "3333" || rest[0].Kind != api.Kind_KIND_APPLICATION {
		t.Fatalf("after the second: %v, more %v, %v", rest, more, err)
	}
	if got, more, err := s.store.Read(t.Context(), bob, 1<<63, wholeMailbox); err != nil || more || len(got) != 0 {
		t.Fatalf("after the end: %v, more %v, %v", got, more, err)
	}
}

func testSequenceNeverReused(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	last := uint64(0)
	for range 3 {
		sent := submission(alice, "gone", bob)
		s.accepted(sent)
		if sent.FirstSequence <= last {
			t.Fatalf("sequence %d after %d", sent.FirstSequence, last)
		}
		last = sent.FirstSequence
		s.ack(bob, last)
		s.reopen()
	}
}

func testReopen(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	sent := submission(alice, "one", bob)
	s.accepted(sent)
	s.reopen()
	s.holds(bob, "one")
	if _, err := s.store.Device(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	again := *sent
	s.accepted(&again)
	s.holds(bob, "one")
}

// expire deletes what is older than this moment.
func (s *suite) expire() relay.Expired {
	s.t.Helper()
	gone, err := s.store.Expire(s.t.Context(), relay.Due{Before: s.now, At: s.now})
	if err != nil {
		s.t.Fatal(err)
	}
	return gone
}

func testExpire(t *testing.T, s *suite) {
	alice, bob, carol := s.device("alice"), s.device("bob"), s.device("carol")
	old := submission(alice, "old", bob)
	s.accepted(old, submission(alice, "old and shared", bob, carol))
	s.now = s.now.Add(time.Hour)
	s.accepted(submission(alice, "new", bob))
	for _, want := range []int{3, 0} {
		if gone := s.expire(); gone.Envelopes != want {
			t.Fatalf("%d envelopes expired, want %d", gone.Envelopes, want)
		}
	}
	s.holds(bob, "new")
	s.holds(carol)
	b := s.batch(submission(alice, "one more", bob))
	b.MailboxRows = 2 // the expired ones do not count
	s.write(b)
	s.holds(bob, "new", "one more")
}

func testReadWhileWriting(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	const messages = 200
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			seen := 0
			for seen < messages {
				envelopes, _, err := s.store.Read(t.Context(), bob, 0, wholeMailbox)
				if err != nil || len(envelopes) < seen {
					t.Errorf("%d envelopes after %d, %v", len(envelopes), seen, err)
					return
				}
				seen = len(envelopes)
			}
		})
	}
	for range messages {
		b := s.batch(submission(alice, "x", bob))
		b.MailboxRows = messages
		s.write(b)
	}
	reading.Wait()
}

func testStatus(t *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	status := func(device identity.DeviceID) relay.DeviceStatus {
		t.Helper()
		status, err := s.store.Status(t.Context(), device, s.now)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if got := status(alice); got.Username != "alice" || got.Acked != 0 || got.LastSubmit != nil || got.KeyPackages != 0 {
		t.Fatalf("a new device has the status %+v", got)
	}
	first, second := submission(alice, "one", bob), submission(alice, "two", bob)
	refused := submission(alice, "three", identity.NewDeviceID())
	s.write(s.batch(first, second, refused))
	again := *first
	s.accepted(&again)
	s.ack(bob, first.FirstSequence)
	for range 2 {
		if got := status(alice); !bytes.Equal(got.LastSubmit, second.ID[:]) {
			t.Fatalf("the last submit is %x, want %x", got.LastSubmit, second.ID)
		}
		if got := status(bob); got.Last < second.FirstSequence || got.Last < got.Acked {
			t.Fatalf("the last sequence number is %d, %d was given", got.Last, second.FirstSequence)
		}
		if got := status(bob); got.Acked != first.FirstSequence || got.LastSubmit != nil {
			t.Fatalf("acknowledged up to %d, want %d; last submit %x", got.Acked, first.FirstSequence, got.LastSubmit)
		}
		s.reopen()
	}
	s.ack(bob, second.FirstSequence)
	s.ack(bob, first.FirstSequence) // late, and no step back
	if got := status(bob).Acked; got != second.FirstSequence {
		t.Fatalf("acknowledged up to %d, want %d", got, second.FirstSequence)
	}
	s.ack(bob, relay.MaxSequence) // what was never given cannot be acknowledged
	later := submission(alice, "later", bob)
	s.accepted(later)
	if got := status(bob).Acked; got >= later.FirstSequence {
		t.Fatalf("acknowledged up to %d, before %d was given", got, later.FirstSequence)
	}
	_, err := s.store.Status(t.Context(), identity.NewDeviceID(), s.now)
	wantErr(t, err, relay.ErrUnknownDevice)
}
