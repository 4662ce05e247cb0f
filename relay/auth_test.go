package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

func TestAuthentication(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob, stranger := r.registered("alice"), r.registered("bob"), r.unregistered("stranger")
	const method = api.Directory_Lookup_FullMethodName
	plain := func(change func(*identity.Request)) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			request := alice.request(method)
			change(&request)
			return alice.signed(ctx, request)
		}
	}
	skew := relay.DefaultLimits().ClockSkew
	for name, test := range map[string]struct {
		sign func(context.Context) context.Context
		want api.Reason // unspecified: it passes
	}{
		"as it should be":    {plain(func(*identity.Request) {}), 0},
		"just not too old":   {plain(func(q *identity.Request) { q.Time = q.Time.Add(-skew) }), 0},
		"too old":            {plain(func(q *identity.Request) { q.Time = q.Time.Add(-skew - time.Millisecond) }), api.Reason_REASON_CLOCK_SKEW},
		"just not too early": {plain(func(q *identity.Request) { q.Time = q.Time.Add(skew) }), 0},
		"too early":          {plain(func(q *identity.Request) { q.Time = q.Time.Add(skew + time.Millisecond) }), api.Reason_REASON_CLOCK_SKEW},
		"wrong server":       {plain(func(q *identity.Request) { q.Server[0] ^= 1 }), api.Reason_REASON_UNAUTHENTICATED},
		"wrong method":       {plain(func(q *identity.Request) { q.Method = api.Delivery_Connect_FullMethodName }), api.Reason_REASON_UNAUTHENTICATED},
		"another's device":   {plain(func(q *identity.Request) { q.Device = bob.id() }), api.Reason_REASON_UNAUTHENTICATED},
		"unknown device": {func(ctx context.Context) context.Context {
			return stranger.signed(ctx, stranger.request(method))
		}, api.Reason_REASON_UNKNOWN_DEVICE},
		"another nonce than signed": {func(ctx context.Context) context.Context {
			request := alice.request(method)
			signature := request.Sign(alice.key)
			request.Nonce[15] ^= 1
			return withMetadata(ctx, request, signature)
		}, api.Reason_REASON_UNAUTHENTICATED},
		"another time than signed": {func(ctx context.Context) context.Context {
			request := alice.request(method)
			signature := request.Sign(alice.key)
			request.Time = request.Time.Add(time.Millisecond)
			return withMetadata(ctx, request, signature)
		}, api.Reason_REASON_UNAUTHENTICATED},
		"one bit of the signature": {func(ctx context.Context) context.Context {
			request := alice.request(method)
			signature := request.Sign(alice.key)
			signature[3] ^= 1
			return withMetadata(ctx, request, signature)
		}, api.Reason_REASON_UNAUTHENTICATED},
		"short signature": {func(ctx context.Context) context.Context {
			request := alice.request(method)
			return withMetadata(ctx, request, request.Sign(alice.key)[:63])
		}, api.Reason_REASON_UNAUTHENTICATED},
		"no signature": {func(ctx context.Context) context.Context { return ctx }, api.Reason_REASON_UNAUTHENTICATED},
		"two signatures": {func(ctx context.Context) context.Context {
			return alice.signed(alice.signed(ctx, alice.request(method)), alice.request(method))
		}, api.Reason_REASON_UNAUTHENTICATED},
		"a time in other digits": {func(ctx context.Context) context.Context {
			request := alice.request(method)
			return metadata.AppendToOutgoingContext(ctx,
				api.MetadataDevice, request.Device.String(),
				api.MetadataTime, fmt.Sprintf("+%d", request.Time.UnixMilli()),
				api.MetadataNonce, string(request.Nonce[:]),
				api.MetadataSignature, string(request.Sign(alice.key)))
		}, api.Reason_REASON_UNAUTHENTICATED},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := api.NewDirectoryClient(alice.conn).Lookup(test.sign(t.Context()), &api.LookupRequest{Username: "bob"})
			if test.want == api.Reason_REASON_UNSPECIFIED {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantReason(t, err, test.want)
		})
	}
}

func TestReplayedRequestIsRefused(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice := r.registered("alice")
	request := alice.request(api.Directory_Lookup_FullMethodName)
	request.Time = request.Time.Add(relay.DefaultLimits().ClockSkew) // as long as it can be replayed
	call := func() error {
		_, err := api.NewDirectoryClient(alice.conn).Lookup(alice.signed(t.Context(), request), &api.LookupRequest{Username: "alice"})
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	wantReason(t, call(), api.Reason_REASON_UNAUTHENTICATED)
	r.clock.move(relay.DefaultLimits().ClockSkew)
	if _, err := alice.lookup("alice"); err != nil {
		t.Fatal(err)
	}
	wantReason(t, call(), api.Reason_REASON_UNAUTHENTICATED)
	r.clock.move(relay.DefaultLimits().ClockSkew)
	wantReason(t, call(), api.Reason_REASON_UNAUTHENTICATED) // still within its time
	r.clock.move(time.Millisecond)
	wantReason(t, call(), api.Reason_REASON_CLOCK_SKEW)
}

// TestReplayAfterARestart: within its time a request cannot be made again, though
// the relay that it was made to is gone.
func TestReplayAfterARestart(t *testing.T) {
	dir := t.TempDir()
	r := startRelay(t, dir, nil)
	alice := r.registered("alice")
	skew := relay.DefaultLimits().ClockSkew
	request := alice.request(api.Directory_Lookup_FullMethodName)
	request.Time = request.Time.Add(skew)
	call := func() error {
		_, err := api.NewDirectoryClient(alice.conn).Lookup(alice.signed(t.Context(), request), &api.LookupRequest{Username: "alice"})
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{0, 2 * skew, 2*skew + time.Millisecond} {
		r.stop()
		r = startRelay(t, dir, func(c *relay.Config) {
			c.Clock = func() time.Time { return newClock().Now().Add(later) }
		})
		r.Sweep(t.Context())
		alice.dial(r)
		want := api.Reason_REASON_UNAUTHENTICATED
		if later > 2*skew {
			want = api.Reason_REASON_CLOCK_SKEW
		}
		wantReason(t, call(), want)
	}
}

func TestMemoryOfNoncesIsBounded(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.Nonces, c.Limits.NoncesPerDevice = 8, 3 })
	alice, bob := r.registered("alice"), r.registered("bob") // one request each
	for range 2 {
		if _, err := alice.lookup("bob"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := alice.lookup("bob")
	wantReason(t, err, api.Reason_REASON_UNAUTHENTICATED)
	if _, err := bob.lookup("bob"); err != nil {
		t.Fatalf("one device filled the memory of another: %v", err)
	}
	r.clock.move(4 * relay.DefaultLimits().ClockSkew)
	if _, err := alice.lookup("bob"); err != nil {
		t.Fatalf("the memory stays full: %v", err)
	}
}

func TestEveryMethodIsAuthenticated(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	d := r.registered("alice")
	_, err := api.NewDirectoryClient(d.conn).Lookup(t.Context(), &api.LookupRequest{Username: "alice"})
	wantReason(t, err, api.Reason_REASON_UNAUTHENTICATED)
	_, err = api.NewDirectoryClient(d.conn).Register(t.Context(), &api.RegisterRequest{DeviceRecord: d.record})
	wantReason(t, err, api.Reason_REASON_UNAUTHENTICATED)
	stream, err := api.Connect(t.Context(), d.conn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantReason(t, err, api.Reason_REASON_UNAUTHENTICATED)
}

// A few devices must not be able to shut out all others for as long as requests
// are remembered.
func TestFullMemoryOfNoncesLeavesRoomForOthers(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.Nonces = 100 })
	alice, bob := r.registered("alice"), r.registered("bob")
	var err error
	for n := 0; err == nil && n < 200; n++ {
		_, err = alice.lookup("bob")
	}
	wantReason(t, err, api.Reason_REASON_UNAUTHENTICATED)
	if _, err := bob.lookup("bob"); err != nil {
		t.Fatalf("one device filled the memory of another: %v", err)
	}
	wantReason(t, r.unregistered("carol").register(), api.Reason_REASON_UNAUTHENTICATED) // anybody can make keys without end
}

// TestBodiesOfStrangersAreNotRead: who has no right to a call is told so before
// its body is looked at, whatever is in it.
func TestBodiesOfStrangersAreNotRead(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, stranger := r.registered("alice"), r.unregistered("stranger")
	const method = api.Directory_Lookup_FullMethodName
	for _, test := range []struct {
		who  *device
		want codes.Code
	}{{stranger, codes.Unauthenticated}, {alice, codes.Internal}} {
		ctx := test.who.signed(t.Context(), test.who.request(method))
		_, err := api.NewDirectoryClient(test.who.conn).Lookup(ctx, &api.LookupRequest{Username: strings.Repeat("a", 32<<10)})
		if status.Code(err) != test.want {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
}
