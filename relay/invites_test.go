package relay_test

import (
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// startPublicRelay listens on every address: then even who comes over loopback may
// be a stranger behind a proxy.
func startPublicRelay(t *testing.T, dir string, open bool, changes ...func(*relay.Config)) *testRelay {
	t.Helper()
	r := startRelay(t, dir, func(c *relay.Config) {
		c.OpenRegistration = open
		for _, change := range changes {
			change(c)
		}
	})
	wide, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(wide) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(wide.Addr().String())
	r.address = "127.0.0.1:" + port
	// Once anything is answered there, the listener is known.
	d := r.unregistered("nobody")
	if _, err := grpc_health_v1.NewHealthClient(d.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// invite makes a code beside the running relay, as sealpost admin does.
func (r *testRelay) invite(uses int, lifetime time.Duration) identity.InviteCode {
	r.t.Helper()
	admin, err := sqlite.OpenAdmin(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer admin.Close()
	code, err := admin.AddInvite(sqlite.Invite{Uses: uses, Expires: r.clock.Now().Add(lifetime)}, r.clock.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

func TestOpenRegistration(t *testing.T) {
	r := startPublicRelay(t, t.TempDir(), true)
	if err := r.unregistered("alice").register(); err != nil {
		t.Fatal(err)
	}
}

func TestRegistrationByInvite(t *testing.T) {
	r := startPublicRelay(t, t.TempDir(), false)
	alice := r.unregistered("alice")
	wantReason(t, alice.register(), api.Reason_REASON_INVITE_REQUIRED)
	code := r.invite(1, time.Hour)
	for name, wrong := range map[string][]byte{"short": code[:19], "long": append(code[:], 0)} {
		if err := alice.registerWith(wrong); reasonOf(err) != api.Reason_REASON_MALFORMED.String() {
			t.Errorf("a %s code: %v", name, err)
		}
	}
	wrong := code
	wrong[19] ^= 1 // of the same invitation
	wantReason(t, alice.registerWith(wrong[:]), api.Reason_REASON_INVITE_INVALID)
	another := identity.NewInviteCode()
	wantReason(t, alice.registerWith(another[:]), api.Reason_REASON_INVITE_INVALID)

	for range 2 { // a repeat uses nothing up, and needs nothing
		if err := alice.registerWith(code[:]); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.register(); err != nil {
		t.Fatal(err)
	}
	wantReason(t, r.unregistered("bob").registerWith(code[:]), api.Reason_REASON_INVITE_INVALID)
}

// TestRefusedRegistrationKeepsItsInvite also sees to it that nobody without a code
// learns which names there are.
func TestRefusedRegistrationKeepsItsInvite(t *testing.T) {
	r := startPublicRelay(t, t.TempDir(), false)
	code := r.invite(2, time.Hour)
	account := identity.GenerateAccountKey()
	if err := r.deviceOf(account, "alice").registerWith(code[:]); err != nil {
		t.Fatal(err)
	}
	if err := r.deviceOf(account, "alice").register(); err != nil {
		t.Errorf("a second device of an account: %v", err)
	}
	wantReason(t, r.unregistered("alice").register(), api.Reason_REASON_INVITE_REQUIRED)
	for range 3 {
		wantReason(t, r.unregistered("alice").registerWith(code[:]), api.Reason_REASON_NAME_TAKEN)
	}
	if err := r.unregistered("bob").registerWith(code[:]); err != nil {
		t.Errorf("refusals used the code up: %v", err)
	}
	wantReason(t, r.unregistered("alice").registerWith(code[:]), api.Reason_REASON_INVITE_INVALID)
}

// TestGuessingInvitesIsLimited: a wrong code counts like a registration, and whoever
// guessed too often waits with the right one, too.
func TestGuessingInvitesIsLimited(t *testing.T) {
	const guesses = 3
	r := startPublicRelay(t, t.TempDir(), false, func(c *relay.Config) { c.Limits.AddressRegistrations = guesses })
	code := r.invite(1, 24*time.Hour)
	mallory := r.unregistered("mallory")
	for range guesses {
		guess := identity.NewInviteCode()
		wantReason(t, mallory.registerWith(guess[:]), api.Reason_REASON_INVITE_INVALID)
	}
	wait := wantRetry(t, mallory.registerWith(code[:]))
	if wait < 10*time.Minute || wait > time.Hour/guesses {
		t.Errorf("the next guess is allowed after %v", wait)
	}
	r.clock.move(wait)
	if err := r.unregistered("mallory").registerWith(code[:]); err != nil {
		t.Errorf("after the time that was said: %v", err)
	}
}

func TestInviteExpires(t *testing.T) {
	r := startPublicRelay(t, t.TempDir(), false)
	code := r.invite(2, time.Hour)
	r.clock.move(time.Hour - time.Second)
	if err := r.unregistered("alice").registerWith(code[:]); err != nil {
		t.Errorf("a second before: %v", err)
	}
	r.clock.move(time.Second)
	wantReason(t, r.unregistered("bob").registerWith(code[:]), api.Reason_REASON_INVITE_INVALID)
}

// TestInviteIsUsedOnce registers many at once with a code for one.
func TestInviteIsUsedOnce(t *testing.T) {
	r := startPublicRelay(t, t.TempDir(), false)
	code := r.invite(1, time.Hour)
	errs := make(chan error)
	const strangers = 8
	for i := range strangers {
		d := r.unregistered("stranger" + string(rune('0'+i)))
		go func() { errs <- d.registerWith(code[:]) }()
	}
	registered := 0
	for range strangers {
		if err := <-errs; err == nil {
			registered++
		} else if reasonOf(err) != api.Reason_REASON_INVITE_INVALID.String() {
			t.Errorf("got %v", err)
		}
	}
	if registered != 1 {
		t.Errorf("%d registered with a code for one", registered)
	}
}
