package storetest

import (
	"fmt"
	"testing"
	"time"

	"sealpost/identity"
	"sealpost/relay"
)

// shareTests are about what one account may have in a mailbox.
var shareTests = map[string]func(*testing.T, *suite){
	"Share":             testShare,
	"ShareOfBytes":      testShareOfBytes,
	"ShareOfAccount":    testShareOfAccount,
	"ShareOfGroup":      testShareOfGroup,
	"ShareAcknowledged": testShareAcknowledged,
	"ShareExpires":      testShareExpires,
	"ShareOfOne":        testShareOfOne,
}

// shares is a batch under which an account may have 4 envelopes in a mailbox, of
// 100 bytes in all.
func (s *suite) shares(submissions ...*relay.Submission) *relay.Batch {
	b := s.batch(submissions...)
	b.MailboxRows, b.MailboxBytes, b.MailboxShare = 10, 250, 40
	return b
}

// sends writes n submissions one by one and returns how many were accepted; the
// others must have been over the share.
func (s *suite) sends(n int, make func(i int) *relay.Submission) (accepted int) {
	s.t.Helper()
	for i := range n {
		submission := make(i)
		s.write(s.shares(submission))
		if submission.Err == nil {
			accepted++
		} else {
			wantErr(s.t, submission.Err, relay.ErrMailboxShare)
			wantErr(s.t, submission.Err, relay.ErrMailboxFull)
		}
	}
	return accepted
}

// to makes submissions of one device to another.
func to(from, recipient identity.DeviceID) func(int) *relay.Submission {
	return func(i int) *relay.Submission { return submission(from, fmt.Sprint(i), recipient) }
}

func (s *suite) wantAccepted(got, want int) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%d were accepted, want %d", got, want)
	}
}

func testShare(_ *testing.T, s *suite) {
	mallory, alice, bob, carol := s.device("mallory"), s.device("alice"), s.device("bob"), s.device("carol")
	s.wantAccepted(s.sends(8, to(mallory, bob)), 4)
	s.wantAccepted(s.sends(2, to(alice, bob)), 2)
	s.wantAccepted(s.sends(1, to(mallory, carol)), 1)
}

func testShareOfBytes(_ *testing.T, s *suite) {
	mallory, bob := s.device("mallory"), s.device("bob")
	s.wantAccepted(s.sends(4, func(int) *relay.Submission { return submission(mallory, string(make([]byte, 50)), bob) }), 2)
}

func testShareOfAccount(_ *testing.T, s *suite) {
	account := identity.GenerateAccountKey()
	var devices []identity.DeviceID
	for range 2 {
		r := s.registration(account, "mallory")
		if err := s.store.Register(s.t.Context(), r); err != nil {
			s.t.Fatal(err)
		}
		devices = append(devices, r.Certificate.DeviceID)
	}
	bob := s.device("bob")
	s.wantAccepted(s.sends(8, func(i int) *relay.Submission { return submission(devices[i%2], fmt.Sprint(i), bob) }), 4)
}

// testShareOfGroup: what comes by a group counts like the rest, and one member
// over the share stops the submission for all.
func testShareOfGroup(_ *testing.T, s *suite) {
	mallory, bob, carol := s.device("mallory"), s.device("bob"), s.device("carol")
	s.group(mallory, bob, carol)
	s.wantAccepted(s.sends(2, to(mallory, bob)), 2)
	s.wantAccepted(s.sends(3, func(i int) *relay.Submission { return toGroup(mallory, fmt.Sprint("to all ", i), 1) }), 2)
	s.holds(carol, "to all 0", "to all 1")
}

func testShareAcknowledged(t *testing.T, s *suite) {
	mallory, alice, bob := s.device("mallory"), s.device("alice"), s.device("bob")
	s.wantAccepted(s.sends(8, to(mallory, bob)), 4)
	s.wantAccepted(s.sends(1, to(alice, bob)), 1)
	waiting := s.read(bob)
	s.ack(bob, waiting[0].Sequence)
	s.ack(bob, waiting[1].Sequence)
	s.ack(bob, waiting[3].Sequence) // all of mallory, not that of alice
	s.wantAccepted(s.sends(8, to(mallory, bob)), 4)
	s.ack(bob, waiting[4].Sequence) // nothing of mallory
	s.wantAccepted(s.sends(1, to(mallory, bob)), 0)
	s.ack(bob, relay.MaxSequence)
	for i := range 50 { // who is read is not held back
		if accepted := s.sends(1, to(mallory, bob)); accepted != 1 {
			t.Fatalf("number %d was refused", i)
		}
		if i%2 == 1 {
			s.ack(bob, s.read(bob)[0].Sequence)
		}
		if i%4 == 3 {
			s.ack(bob, relay.MaxSequence)
		}
	}
}

func testShareExpires(_ *testing.T, s *suite) {
	mallory, alice, bob := s.device("mallory"), s.device("alice"), s.device("bob")
	s.wantAccepted(s.sends(8, to(mallory, bob)), 4)
	s.now = s.now.Add(time.Hour)
	s.wantAccepted(s.sends(2, to(alice, bob)), 2)
	if _, err := s.store.Expire(s.t.Context(), relay.Due{Before: s.now}); err != nil {
		s.t.Fatal(err)
	}
	s.wantAccepted(s.sends(8, to(mallory, bob)), 4)
	s.wantAccepted(s.sends(8, to(alice, bob)), 2)
}

// testShareOfOne: a share that is too small for an envelope has room for one.
func testShareOfOne(_ *testing.T, s *suite) {
	mallory, bob := s.device("mallory"), s.device("bob")
	b := s.shares(submission(mallory, "one", bob), submission(mallory, "two", bob))
	b.MailboxShare = 1
	s.write(b)
	wantErr(s.t, b.Submissions[0].Err, nil)
	wantErr(s.t, b.Submissions[1].Err, relay.ErrMailboxShare)
}
