package relay_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

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

// TestLogNamesNobody runs through what the relay does, with the log at its most
// talkative, and looks for people, payloads and addresses in it.
func TestLogNamesNobody(t *testing.T) {
	log := new(lockedBuffer)
	r := startRelay(t, t.TempDir(), func(c *relay.Config) {
		c.Store = breakingStore{c.Store}
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	alice, bob := r.registered("alice-canary"), r.registered("bob-canary")
	a := alice.connect()
	a.accepted(submit("payload-canary", bob))
	bob.connect().envelope("payload-canary")
	a.rejected(submit("payload-canary", r.unregistered("stranger-canary")), 7)
	if _, err := bob.publish([]string{"key-package-canary"}, "last-resort-canary"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := alice.claim("bob-canary"); err != nil {
			t.Fatal(err)
		}
	}
	founding := commit("founding-canary", 0, []*device{alice, bob}, []*device{bob})
	founding.Group.Id = []byte("group-id-canary-")
	a.accepted(founding)
	late := submit("late-canary")
	late.Group = founding.Group
	a.rejected(late, api.Reason_REASON_STALE_EPOCH)
	if err := r.unregistered("alice-canary").register(); err == nil {
		t.Fatal("the name was free")
	}
	if _, err := alice.lookup("nobody-canary"); err == nil {
		t.Fatal("nobody is somebody")
	}
	r.clock.move(2 * relay.DefaultLimits().Retention)
	r.Sweep(t.Context())
	if _, err := bob.lookup("breaks"); err == nil {
		t.Fatal("a broken store answers")
	}
	text := log.b.String()
	if !strings.Contains(text, "internal error") || !strings.Contains(text, "envelopes expired") {
		t.Fatalf("the log misses what happened: %s", text)
	}
	for _, word := range []string{"canary", "127.0.0.1", alice.id().String(), bob.id().String(), alice.certificate.AccountKey.String()} {
		if strings.Contains(text, word) {
			t.Errorf("the log holds %q: %s", word, text)
		}
	}
}
