package sqlite_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// BenchmarkWrite is the store alone: batches of 256 messages of 300 bytes, 1:1
// among 16 devices, each batch acknowledging what the one before delivered.
func BenchmarkWrite(b *testing.B) {
	s, err := sqlite.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	devices := registerMany(b, s, 16)
	payload := make([]byte, 300)
	var acks []relay.Acknowledgement
	var times []time.Duration
	for n := 0; n < b.N; n += 256 {
		batch := &relay.Batch{Acks: acks, MailboxRows: 1000, MailboxBytes: 1 << 20, At: time.Unix(int64(n), 0)}
		for i := range 256 {
			submission := &relay.Submission{
				Sender: devices[i%16], Recipients: devices[(i+1)%16 : (i+1)%16+1],
				Kind: api.Kind_KIND_APPLICATION, Payload: payload,
			}
			rand.Read(submission.ID[:])
			batch.Submissions = append(batch.Submissions, submission)
		}
		begin := time.Now()
		if err := s.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
		acks = acks[:0]
		last := batch.Submissions[255].FirstSequence
		for _, device := range devices {
			acks = append(acks, relay.Acknowledgement{Device: device, Sequence: last})
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	slices.Sort(times)
	b.ReportMetric(times[len(times)*999/1000].Seconds()*1e3, "p99.9-ms")
}

// BenchmarkFanOut is one message of 1 KB to a group of 1,000 devices.
func BenchmarkFanOut(b *testing.B) {
	s, err := sqlite.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	devices := registerMany(b, s, 1000)
	for b.Loop() {
		submission := &relay.Submission{Sender: devices[0], Recipients: devices, Kind: api.Kind_KIND_APPLICATION, Payload: make([]byte, 1024)}
		rand.Read(submission.ID[:])
		batch := &relay.Batch{Submissions: []*relay.Submission{submission}, MailboxRows: 1 << 30, MailboxBytes: 1 << 40, At: time.Unix(0, 0)}
		if err := s.Write(b.Context(), batch); err != nil || submission.Err != nil {
			b.Fatal(err, submission.Err)
		}
	}
}

func registerMany(b *testing.B, s relay.Store, n int) []identity.DeviceID {
	b.Helper()
	devices := make([]identity.DeviceID, n)
	for i := range devices {
		devices[i] = register(b, s, fmt.Sprint("device-", i))
	}
	b.ResetTimer()
	return devices
}

// BenchmarkGroupFanOut is one message of 1 KB to a group of 1,000 devices, by its
// delivery list.
func BenchmarkGroupFanOut(b *testing.B) {
	s, err := sqlite.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	devices := registerMany(b, s, 1000)
	slices.SortFunc(devices, func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) })
	group := &relay.GroupEpoch{ID: "a group of 16 by"}
	write := func(submission *relay.Submission) {
		rand.Read(submission.ID[:])
		batch := &relay.Batch{Submissions: []*relay.Submission{submission}, MailboxRows: 1 << 30, MailboxBytes: 1 << 40, At: time.Unix(0, 0)}
		if err := s.Write(b.Context(), batch); err != nil || submission.Err != nil {
			b.Fatal(err, submission.Err)
		}
	}
	write(&relay.Submission{
		Sender: devices[0], Kind: api.Kind_KIND_HANDSHAKE, Payload: []byte("founding"), Group: group, Commit: &relay.Commit{Members: devices},
	})
	inEpoch := &relay.GroupEpoch{ID: group.ID, Epoch: 1}
	for b.Loop() {
		write(&relay.Submission{Sender: devices[0], Kind: api.Kind_KIND_APPLICATION, Payload: make([]byte, 1024), Group: inEpoch})
	}
}
