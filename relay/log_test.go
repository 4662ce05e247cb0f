package relay_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// A lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// A breakingStore fails to find one account.
type breakingStore struct{ relay.Store }

func (s breakingStore) Records(ctx context.Context, username identity.Username) ([][]byte, error) {
	if username == "breaks" {
		return nil, errors.New("the disk is on fire")
	}
	return s.Store.Records(ctx, username)
}

// TestNothingNamesAnybody goes through what the relay does, good and bad, with the
// log at its most talkative, and looks for people, what they sent, keys, codes
// and addresses in the log and in the metrics.
func TestNothingNamesAnybody(t *testing.T) {
	log, metrics := new(lockedBuffer), relay.NewMetrics()
	r := startRelay(t, t.TempDir(), func(c *relay.Config) {
		c.Store = breakingStore{c.Store}
		c.Metrics = metrics
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	alice, bob := r.registered("alice-canary"), r.registered("bob-canary")
	code := r.invite(1, time.Hour)
	if err := r.unregistered("carol-canary").registerWith(code[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.publish([]string{"package-canary"}, "last-canary"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is the last resort
		if _, err := alice.claim("bob-canary"); err != nil {
			t.Fatal(err)
		}
	}
	a := alice.connect()
	a.accepted(submit("payload-canary", bob))
	b := bob.connect()
	b.ack(b.envelope("payload-canary"))
	b.settled()
	a.accepted(commit("commit-canary", 0, []*device{alice, bob}, []*device{bob}))
	badRequests(t, r, alice, a)
	r.clock.move(2 * relay.DefaultLimits().Retention)
	r.Sweep(t.Context())
	if _, err := bob.lookup("breaks"); err == nil {
		t.Fatal("a broken store answers")
	}
	text := log.b.String()
	if !strings.Contains(text, "internal error") || !strings.Contains(text, "envelopes expired") {
		t.Fatalf("the log misses what happened: %s", text)
	}
	shown := metricsText(t, metrics)
	if !strings.Contains(shown, "sealpost_internal_errors_total 1") {
		t.Fatalf("the metrics miss what happened: %s", shown)
	}
	canaries := []string{"canary", "127.0.0.1", code.String(), hex.EncodeToString(code[:])}
	for _, d := range []*device{alice, bob} {
		c := d.certificate
		canaries = append(canaries, c.AccountKey.String(), c.DeviceKey.String(), c.DeviceID.String())
		for _, raw := range [][]byte{c.AccountKey[:], c.DeviceKey[:], c.DeviceID[:], testGroup} {
			canaries = append(canaries, string(raw), hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw))
		}
	}
	for place, text := range map[string]string{"log": text, "metrics": shown} {
		for _, canary := range canaries {
			if strings.Contains(text, canary) {
				t.Errorf("the %s hold %q: %s", place, canary, text)
			}
		}
	}
}

// badRequests asks for what is refused, in every way.
func badRequests(t *testing.T, r *testRelay, alice *device, a *line) {
	t.Helper()
	stranger := r.unregistered("stranger-canary")
	a.rejected(submit("payload-canary", stranger), api.Reason_REASON_UNKNOWN_RECIPIENT)
	a.rejected(submit("", alice), api.Reason_REASON_MALFORMED)
	a.rejected(commit("commit-canary", 0, []*device{alice}, nil), api.Reason_REASON_STALE_EPOCH)
	taken := r.unregistered("alice-canary")
	forged := alice.signed(t.Context(), stranger.request(api.Directory_Lookup_FullMethodName))
	_, forgery := api.NewDirectoryClient(alice.conn).Lookup(forged, &api.LookupRequest{Username: "bob-canary"})
	_, unknown := alice.lookup("nobody-canary")
	_, malformed := alice.lookup("NOT A NAME canary")
	_, stream := stranger.connect().Recv()
	for name, err := range map[string]error{
		"a taken name": taken.register(), "a wrong code": stranger.registerWith([]byte("code-canary")), "a forgery": forgery,
		"nobody": unknown, "no name": malformed, "a stranger": stream,
	} {
		if err == nil {
			t.Errorf("%s was not refused", name)
		}
	}
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /canary HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

func metricsText(t *testing.T, metrics *relay.Metrics) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}
