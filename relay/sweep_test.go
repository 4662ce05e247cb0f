package relay_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// TestSweeper lets a month go by at a relay that nobody talks to.
func TestSweeper(t *testing.T) {
	dir := t.TempDir()
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		key, id := identity.GenerateDeviceKey(), identity.NewDeviceID()
		c := identity.IssueCertificate(identity.GenerateAccountKey(), "alice", key.Public(), id, time.Now())
		if err := store.Register(t.Context(), relay.Registration{Certificate: c, Record: []byte("record"), At: time.Now(), MaxDevices: 1}); err != nil {
			t.Fatal(err)
		}
		submission := &relay.Submission{Sender: id, Recipients: []identity.DeviceID{id}, Kind: api.Kind_KIND_APPLICATION, Payload: []byte("x")}
		batch := relay.Batch{Submissions: []*relay.Submission{submission}, MailboxRows: 1, MailboxBytes: 1, At: time.Now()}
		if err := store.Write(t.Context(), &batch); err != nil || submission.Err != nil {
			t.Fatal(err, submission.Err)
		}
		publication := relay.Publication{
			Device: id, KeyPackages: [][]byte{[]byte("key package")}, At: time.Now(), Expires: time.Now().Add(time.Hour), MaxStock: 1,
		}
		if _, err := store.PublishKeyPackages(t.Context(), publication); err != nil {
			t.Fatal(err)
		}
		metrics := relay.NewMetrics()
		var log bytes.Buffer
		server, err := relay.New(relay.Config{
			Store: store, Certificate: certificate, Limits: relay.DefaultLimits(), Metrics: metrics,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		waiting := func() int {
			envelopes, _, err := store.Read(t.Context(), id, 0, relay.Page{Rows: 9, Bytes: 99})
			if err != nil {
				t.Fatal(err)
			}
			return len(envelopes)
		}
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if n := waiting(); n != 1 {
			t.Errorf("%d envelopes after 30 days", n)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := waiting(); n != 0 {
			t.Errorf("%d envelopes after more than 30 days", n)
		}
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if got := metricValue(t, metrics, "sealpost_envelopes_expired_total"); got != 1 {
			t.Errorf("%v envelopes expired, say the metrics", got)
		}
		if got := metricValue(t, metrics, "sealpost_records_expired_total", "kind", "key_package"); got != 1 {
			t.Errorf("%v key packages expired, say the metrics", got)
		}
		if !strings.Contains(log.String(), `msg="envelopes expired" count=1`) {
			t.Errorf("the log: %s", &log)
		}
	})
}
