package messenger

import (
	"context"
	"errors"
	"net"
	"testing"

	"sealpost/identity"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// realRelay is the relay itself, on a loopback port, over a data directory that
// outlives it.
type realRelay struct {
	t        testing.TB
	dir      string
	limits   relay.Limits
	id       identity.ServerID
	address  string
	shutdown func()
}

func newRealRelay(t testing.TB) *realRelay {
	t.Helper()
	r := &realRelay{t: t, dir: t.TempDir(), address: "127.0.0.1:0", limits: relay.DefaultLimits()}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *realRelay) start() {
	r.t.Helper()
	store, err := sqlite.Open(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	certificate, err := relay.LoadOrCreateCertificate(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	server, err := relay.New(relay.Config{Store: store, Certificate: certificate, Limits: r.limits})
	if err != nil {
		r.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.id, r.address = server.ID(), listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	r.shutdown = func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served, store.Close()); err != nil {
			r.t.Errorf("stopping the relay: %v", err)
		}
	}
}

func (r *realRelay) stop() {
	if r.shutdown != nil {
		r.shutdown()
		r.shutdown = nil
	}
}

func (r *realRelay) person(name identity.Username) *person {
	r.t.Helper()
	proof, err := IdentifyServer(testContext(r.t), nil, r.address)
	if err != nil || proof.ID != r.id || proof.Domain != "" {
		r.t.Fatalf("the server is %+v, %v", proof, err)
	}
	p := &person{t: r.t, options: Options{Dir: r.t.TempDir(), Unlock: KeyFile()}}
	client, err := Create(testContext(r.t), p.options, NewProfile{Username: name, Server: r.address, Fingerprint: proof.ID})
	if err != nil {
		r.t.Fatal(err)
	}
	p.attach(client)
	r.t.Cleanup(p.stop)
	return p
}

func TestRealRelayRestarts(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	texts := numbered(30)
	alice.online()
	var last MessageID
	for _, text := range texts[:10] {
		last = alice.send(bob, text)
	}
	alice.await(last, Accepted)
	relay.stop()
	for _, text := range texts[10:20] {
		last = alice.send(bob, text)
	}
	relay.start()
	alice.await(last, Accepted)
	relay.stop()

	alice.stop()
	alice.restart()
	relay.start()
	for _, text := range texts[20:] {
		last = alice.send(bob, text)
	}
	bob.online()
	alice.online()
	alice.await(last, Delivered)
	wantRows(t, bob, alice, texts...)
	bob.await(bob.send(alice, "all of them"), Delivered)
	if _, err := alice.Send(testContext(t), "nobody", "hi"); !errors.Is(err, ErrUnknownRecipient) {
		t.Errorf("got %v", err)
	}
}

func TestRealRelayRefuses(t *testing.T) {
	relay := newRealRelay(t)
	relay.stop()
	relay.limits.MailboxRows = 2
	relay.start()
	alice, bob := relay.person("alice"), relay.person("bob")
	_, err := Create(testContext(t), Options{Dir: t.TempDir(), Unlock: KeyFile()},
		NewProfile{Username: "alice", Server: relay.address, Fingerprint: relay.id})
	if !errors.Is(err, ErrNameTaken) {
		t.Errorf("registering a taken name: %v", err)
	}
	alice.online()
	texts := numbered(3)
	alice.await(alice.send(bob, texts[0]), Accepted)
	alice.await(alice.send(bob, texts[1]), Accepted)
	waits := alice.send(bob, texts[2])
	for {
		if e := awaitEvent[StateChanged](alice); e.ID == waits {
			if e.State != Queued || e.Reason == "" {
				t.Errorf("got %+v", e)
			}
			break
		}
	}
	alice.stop()
	bob.online()
	awaitEvent[MessageReceived](bob)
	awaitEvent[MessageReceived](bob)
	wantRows(t, bob, alice, texts[:2]...)
}

func TestRealRelayGetsEverySize(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	alice.online()
	bob.online()
	for _, size := range []int{1, 1000, 10_000, MaxTextLen} {
		text := make([]byte, size)
		for i := range text {
			text[i] = 'a' + byte(i%26)
		}
		alice.await(alice.send(bob, string(text)), Delivered)
	}
}

func BenchmarkSendQueued(b *testing.B) {
	relay := newFakeRelay(b)
	alice, bob := newPerson(b, relay, "alice", TrustTOFU), newPerson(b, relay, "bob", TrustTOFU)
	alice.send(bob, "first contact")
	for b.Loop() {
		if _, err := alice.Send(b.Context(), "bob", "200 bytes of text, more or less, that somebody wrote to somebody else"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	relay := newRealRelay(b)
	alice, bob := relay.person("alice"), relay.person("bob")
	alice.online()
	bob.online()
	for b.Loop() {
		alice.await(alice.send(bob, "there and back"), Delivered)
	}
}
