package sqlite

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// keysFrom returns ids that no other number gives.
func keysFrom(first, n int) []submissionKey {
	keys := make([]submissionKey, n)
	for i := range keys {
		keys[i] = newSubmissionKey(int64(i%7), [api.SubmitIDSize]byte(fmt.Appendf(nil, "%016d", first+i)))
	}
	return keys
}

// TestFilterForgetsNoSubmission: over several layers, until they expire, and after
// they were saved.
func TestFilterForgetsNoSubmission(t *testing.T) {
	const each, many = minFilterLayer/2 + 1, 7
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	var runs []submissionRun
	for i := range int64(many) {
		run := submissionRun{number: i + 1, keys: keysFrom(int(i)*each, each)}
		run.makeFilter()
		runs = append(runs, run)
		s.filter.add(run)
	}
	if len(s.filter.layers) != 3 {
		t.Fatalf("%d layers", len(s.filter.layers))
	}
	check := func(from int64) {
		t.Helper()
		wrong := 0
		for i := range int64(many + 1) {
			for _, key := range keysFrom(int(i)*each, each) {
				switch found := slices.Collect(s.filter.mayHave(key)); {
				case i < many && i >= from && !slices.Contains(found, i+1):
					t.Fatalf("a submission of run %d is forgotten", i+1)
				case i == many && len(found) > 0:
					wrong++
				}
			}
		}
		if wrong > each/1000 {
			t.Errorf("%d of %d new submissions are taken for old ones", wrong, each)
		}
	}
	check(0)
	if err := s.transaction(s.saveLayers); err != nil {
		t.Fatal(err)
	}
	unsaved := s.filter.layers[2]
	s.filter.layers = nil
	if last, err := s.loadLayers(); err != nil || last != 6 || len(s.filter.layers) != 2 {
		t.Fatalf("%d layers are read, up to run %d, %v", len(s.filter.layers), last, err)
	}
	for _, run := range runs[1:6] { // the first expired meanwhile
		s.filter.addSaved(run)
	}
	s.filter.layers = append(s.filter.layers, unsaved)
	check(1)
	s.filter.expire(map[int64]bool{1: true, 2: true})
	if len(s.filter.layers) != 2 {
		t.Errorf("%d layers are left after the first run expired", len(s.filter.layers))
	}
	check(2)
}

// TestStartKnowsSubmissions: a repeat of what stands only in a run, in a filter that
// was saved or not, is still one.
func TestStartKnowsSubmissions(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	alice := registerForTest(t, s, "alice")
	write := func(keys []submissionKey) (delivered int) {
		batch := &relay.Batch{At: time.Unix(1, 0), MailboxRows: 1 << 20, MailboxBytes: 1 << 30}
		for _, key := range keys {
			batch.Submissions = append(batch.Submissions, &relay.Submission{
				Sender: alice, ID: [api.SubmitIDSize]byte(key[8:]), Recipients: []identity.DeviceID{alice},
				Kind: api.Kind_KIND_APPLICATION, Payload: []byte("x"),
			})
		}
		batch.Acks = []relay.Acknowledgement{{Device: alice, Sequence: relay.MaxSequence}}
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
	for i := range 4 {
		write(keysFrom(i*packAt, packAt))
	}
	write(keysFrom(4*packAt, 1))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		if n := len(s.filter.layers); n != 2 || !s.filter.layers[0].saved || s.filter.layers[1].saved || len(s.recent) != 1 || s.nextRun != 5 {
			t.Fatalf("%d layers, %d recent ids, the next run is %d", n, len(s.recent), s.nextRun)
		}
		for i := range 4 {
			if n := write(keysFrom(i*packAt, packAt)); n != 0 {
				t.Errorf("%d submissions of run %d are delivered again", n, i+1)
			}
		}
		if n := write(keysFrom(4*packAt, 1)); n != 0 {
			t.Error("the last submission is delivered again")
		}
	}
	// Those of the first two runs were accepted at the same time as the others.
	if gone, err := s.Expire(t.Context(), relay.Due{Before: time.Unix(2, 0)}); err != nil || gone.SubmitIDs != 4*packAt+1 {
		t.Fatalf("%+v expired, %v", gone, err)
	}
	if n := write(keysFrom(0, packAt)); n != packAt {
		t.Errorf("%d of %d submissions are known after they expired", packAt-n, packAt)
	}
	if n := len(s.filter.layers); n != 1 || s.nextRun != 6 {
		t.Errorf("%d layers, the next run is %d", n, s.nextRun)
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
	number := uint64(0)
	next := func() (key submissionKey) {
		number++
		binary.BigEndian.PutUint64(key[8:], number)
		return key
	}
	for i := range int64(20_000_000 / packAt) {
		run := submissionRun{number: i}
		for range packAt {
			run.keys = append(run.keys, next())
		}
		run.makeFilter()
		f.add(run)
	}
	for b.Loop() {
		for range f.mayHave(next()) {
		}
	}
}
