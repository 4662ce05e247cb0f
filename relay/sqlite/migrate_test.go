package sqlite_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestMigration opens what each earlier version left, with all that was in it, and
// uses it as a new one.
func TestMigration(t *testing.T) {
	for name, check := range map[string][]func(*testing.T, relay.Store){
		"schema-1.sql": {checkMigrated},
		"schema-2.sql": {checkMigrated, checkMigratedGroup},
		"schema-3.sql": {checkMigrated, checkMigratedGroup},
		"schema-4.sql": {checkMigrated, checkMigratedGroup, checkMigratedSubmissions},
		"schema-5.sql": {checkMigrated, checkMigratedGroup, checkMigratedSubmissions},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			restore(t, filepath.Join("testdata", name), dir)
			wantOlder(t, dir)
			s, closeStore := open(t, dir)
			defer closeStore()
			// Nobody noted when a group was used, so that its time begins now.
			if gone, err := s.Expire(t.Context(), relay.Due{Groups: time.Now().Add(-time.Hour)}); err != nil || gone.Groups > 0 {
				t.Errorf("%+v expired, %v", gone, err)
			}
			for _, check := range check {
				check(t, s)
			}
			a := openAdmin(t, dir)
			if problems, err := a.Check(); err != nil || len(problems) > 0 {
				t.Errorf("the migrated store has %q, %v", problems, err)
			}
			if _, err := a.AddInvite(sqlite.Invite{Uses: 1}, time.Unix(2000, 0)); err != nil {
				t.Error(err)
			}
		})
	}
}

// wantOlder checks that an operator can back up what no server has migrated yet,
// and is told where that is not enough.
func wantOlder(t *testing.T, dir string) {
	t.Helper()
	a := openAdmin(t, dir)
	if _, err := a.Stats(); !errors.Is(err, sqlite.ErrOlderSchema) {
		t.Errorf("counting in an older store: %v", err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := sqlite.Copy(t.Context(), dir, to); err != nil {
		t.Errorf("copying an older store: %v", err)
	}
}

// restore makes a database of a dump.
func restore(t *testing.T, dump, dir string) {
	t.Helper()
	sql, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sqlite3.Open(filepath.Join(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec(string(sql)); err != nil {
		t.Fatal(err)
	}
}

// The devices in the dumps.
var (
	alice = identity.DeviceID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	bob   = identity.DeviceID{0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff}
)

// checkMigratedGroup looks for the group that schema 2 has, and its key packages.
func checkMigratedGroup(t *testing.T, s relay.Store) {
	t.Helper()
	commit := &relay.Submission{
		Sender: alice, ID: [16]byte{2}, Kind: api.Kind_KIND_HANDSHAKE, Payload: []byte("second commit"),
		Group: &relay.GroupEpoch{ID: "the first group.", Epoch: 1}, Commit: &relay.Commit{Members: []identity.DeviceID{alice, bob}},
	}
	batch := relay.Batch{Submissions: []*relay.Submission{commit}, MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(2000, 0)}
	if err := s.Write(t.Context(), &batch); err != nil || commit.Err != nil {
		t.Fatalf("the next commit of the group: %v, %v", err, commit.Err)
	}
	claimed, err := s.ClaimKeyPackages(t.Context(), "bob", time.Unix(2000, 0))
	if err != nil || len(claimed) != 1 || string(claimed[0].KeyPackage) != "key package of bob" {
		t.Errorf("claimed %v, %v", claimed, err)
	}
}

// checkMigratedSubmissions looks for the submit ids that schema 4 has sorted.
func checkMigratedSubmissions(t *testing.T, s relay.Store) {
	t.Helper()
	const sorted = 400
	batch := relay.Batch{MailboxRows: 1000, MailboxBytes: 1 << 20, At: time.Unix(2000, 0)}
	for i := uint64(0); i <= sorted; i++ {
		submission := &relay.Submission{Sender: bob, Recipients: []identity.DeviceID{alice}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("again")}
		binary.BigEndian.PutUint64(submission.ID[:], i*2654435761)
		binary.BigEndian.PutUint64(submission.ID[8:], i)
		batch.Submissions = append(batch.Submissions, submission)
	}
	if err := s.Write(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	for i, submission := range batch.Submissions {
		if fresh := i == 0; submission.Err != nil || (submission.FirstSequence != 0) != fresh {
			t.Errorf("submission %d: sequence number %d, %v", i, submission.FirstSequence, submission.Err)
		}
	}
}

func checkMigrated(t *testing.T, s relay.Store) {
	t.Helper()
	if records, err := s.Records(t.Context(), "alice"); err != nil || len(records) != 1 || string(records[0]) != "record of alice" {
		t.Errorf("the records of alice are %q, %v", records, err)
	}
	group := &relay.GroupEpoch{ID: "a group of 16 by"}
	submissions := []*relay.Submission{
		{Sender: alice, ID: [16]byte([]byte("\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11")), Recipients: []identity.DeviceID{bob}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("again")},
		{Sender: alice, ID: [16]byte([]byte("\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"")), Recipients: []identity.DeviceID{bob}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("again")},
		{Sender: alice, ID: [16]byte{1}, Kind: api.Kind_KIND_HANDSHAKE, Payload: []byte("commit"), Group: group, Commit: &relay.Commit{
			Members: []identity.DeviceID{alice, bob}, Welcome: []byte("welcome"), Welcomed: []identity.DeviceID{bob},
		}},
	}
	batch := relay.Batch{Submissions: submissions, MailboxRows: 10, MailboxBytes: 1 << 20, At: time.Unix(2000, 0)}
	if err := s.Write(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	for i, submission := range submissions {
		if submission.Err != nil {
			t.Errorf("submission %d: %v", i, submission.Err)
		}
	}
	envelopes, _, err := s.Read(t.Context(), bob, 0, relay.Page{Rows: 10, Bytes: 1 << 20})
	if err != nil || len(envelopes) != 3 {
		t.Fatalf("%d envelopes, %v", len(envelopes), err)
	}
	for i, want := range []string{"for bob", "for both", "welcome"} {
		e := envelopes[i]
		if string(e.Payload) != want || (e.Group != nil) != (want == "welcome") {
			t.Errorf("envelope %d is %q of the group %q, want %q", i, e.Payload, e.Group, want)
		}
	}
	if envelopes[2].Sequence <= 1048577 {
		t.Errorf("sequence number %d may have been used before", envelopes[2].Sequence)
	}
}
