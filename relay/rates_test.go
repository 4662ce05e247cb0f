package relay_test

import (
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// limited wants a submit rejected for its rate and returns when to try again.
func (l *line) limited(s *api.Submit) time.Duration {
	l.t.Helper()
	l.submit(s)
	r := l.receive().GetRejected()
	if string(r.GetId()) != string(s.Id) || r.GetReason() != api.Reason_REASON_RATE_LIMITED || r.GetRetryAfterMs() == 0 {
		l.t.Fatalf("got %v, not Rejected for its rate", r)
	}
	return time.Duration(r.GetRetryAfterMs()) * time.Millisecond
}

// TestSubmitRates: over a rate a submit is rejected with a time, after which it
// passes; others are not concerned.
func TestSubmitRates(t *testing.T) {
	for name, change := range map[string]func(*relay.Limits){
		"submits of a device":   func(l *relay.Limits) { l.DeviceSubmits = 2 },
		"bytes of a device":     func(l *relay.Limits) { l.DeviceBytes = 2 << 10 },
		"submits of an account": func(l *relay.Limits) { l.AccountSubmits = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, t.TempDir(), func(c *relay.Config) { change(&c.Limits) })
			alice, bob := r.registered("alice"), r.registered("bob")
			a, b := alice.connect(), bob.connect()
			a.accepted(submit("1", bob))
			a.accepted(submit("2", bob))
			third := submit("3", bob)
			wait := a.limited(third)
			b.envelope("1")
			b.envelope("2")
			b.accepted(submit("of another", alice))
			a.envelope("of another")
			a = alice.connect()
			a.envelope("of another")
			a.limited(third) // a new connection changes nothing
			r.clock.move(wait + time.Millisecond)
			a.accepted(third)
			b.envelope("3")
		})
	}
}

// TestAccountRateIsOfAllDevices: a second device does not double the rate.
func TestAccountRateIsOfAllDevices(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.AccountSubmits = 2 })
	account := identity.GenerateAccountKey()
	one, two := r.deviceOf(account, "alice"), r.deviceOf(account, "alice")
	for _, d := range []*device{one, two} {
		if err := d.register(); err != nil {
			t.Fatal(err)
		}
	}
	l := one.connect()
	l.accepted(submit("1", two))
	l.accepted(submit("2", two))
	two.connect().envelope("1")
	l = two.connect()
	l.envelope("1")
	l.envelope("2")
	l.limited(submit("3", one))
}

// wantRetry wants a call refused for its rate, and returns when to try again.
func wantRetry(t *testing.T, err error) time.Duration {
	t.Helper()
	wantReason(t, err, api.Reason_REASON_RATE_LIMITED)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && status.Code(err) == codes.ResourceExhausted {
			return info.GetRetryDelay().AsDuration()
		}
	}
	t.Fatalf("%v does not say when to try again", err)
	return 0
}

func TestCallRate(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.DeviceCalls = 2 })
	alice, bob := r.registered("alice"), r.registered("bob")
	for range 2 {
		if _, err := alice.lookup("bob"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := alice.lookup("bob")
	wait := wantRetry(t, err)
	if _, err := bob.lookup("alice"); err != nil {
		t.Errorf("another device: %v", err)
	}
	r.clock.move(wait)
	if _, err := alice.lookup("bob"); err != nil {
		t.Errorf("after the time that was said: %v", err)
	}
}

func TestAttackA14BulkLookups(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.DeviceLookups = 3 })
	alice, bob := r.registered("alice"), r.registered("bob")
	for _, name := range []string{"bob", "nobody", "nobody-else"} {
		if _, err := alice.lookup(name); err != nil && reasonOf(err) != api.Reason_REASON_UNKNOWN_ACCOUNT.String() {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bob", "nobody"} { // the same for one that exists and one that does not
		_, err := alice.lookup(name)
		wantRetry(t, err)
	}
	if _, err := bob.lookup("alice"); err != nil {
		t.Errorf("another device: %v", err)
	}
	_, err := alice.lookup("bob")
	r.clock.move(wantRetry(t, err))
	if _, err := alice.lookup("bob"); err != nil {
		t.Errorf("after the time that was said: %v", err)
	}
}

func TestRegistrationRate(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.AddressRegistrations = 2 })
	r.registered("alice")
	r.registered("bob")
	carol := r.unregistered("carol")
	wait := wantRetry(t, carol.register())
	r.clock.move(wait)
	carol = r.unregistered("carol")
	if err := carol.register(); err != nil {
		t.Errorf("after the time that was said: %v", err)
	}
}

// TestCommitRate: commits are rarer than messages, and each may leave a list of a
// thousand devices on the disk for long.
func TestCommitRate(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.AccountCommits = 2 })
	alice, bob := r.registered("alice"), r.registered("bob")
	a, b := alice.connect(), bob.connect()
	both := []*device{alice, bob}
	a.accepted(commit("one", 0, both, nil))
	a.accepted(commit("two", 1, both, nil))
	b.ofGroup(api.Kind_KIND_HANDSHAKE, "two", 1, both...)
	wait := a.limited(commit("three", 2, both, nil))
	a.accepted(toGroup("a message", 2))
	b.ofGroup(api.Kind_KIND_APPLICATION, "a message", 2, both...)
	b.accepted(commit("of another", 2, both, nil))
	a.ofGroup(api.Kind_KIND_HANDSHAKE, "of another", 2, both...)
	r.clock.move(wait)
	a.accepted(commit("three", 3, both, nil))
}
