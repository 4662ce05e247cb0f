package messenger

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3/driver"
	"google.golang.org/grpc"

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
	options  []grpc.ServerOption
	logger   *slog.Logger
	id       identity.ServerID
	address  string
	shutdown func()
	*tap
}

func newRealRelay(t testing.TB) *realRelay {
	t.Helper()
	r := &realRelay{t: t, dir: t.TempDir(), address: "127.0.0.1:0", limits: relay.DefaultLimits(), tap: newTap()}
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
	options := r.options
	if r.tap != nil { // an enemy takes its place: both number envelopes
		options = append(options, r.tap.options()...)
	}
	server, err := relay.New(relay.Config{
		Store: store, Certificate: certificate, Limits: r.limits, Logger: r.logger, ServerOptions: options,
	})
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

// smallStock is the tuning of the persons of tests, who meet few: most of the time of a
// registration is key packages.
var smallStock = func() tuning {
	t := defaultTuning
	t.stockSize, t.lowStock = 12, 6
	return t
}()

func (r *realRelay) person(name identity.Username, change ...func(*NewProfile)) *person {
	r.t.Helper()
	p := &person{t: r.t, options: Options{Dir: r.t.TempDir(), Unlock: KeyFile(), Logger: testLogger(r.t, name), tuning: &smallStock}}
	profile := NewProfile{Username: name, Server: r.address, Fingerprint: r.id}
	for _, c := range change {
		c(&profile)
	}
	client, err := Create(testContext(r.t), p.options, profile)
	if err != nil {
		r.t.Fatalf("creating %s: %v", name, err)
	}
	p.attach(client)
	r.t.Cleanup(p.stop)
	return p
}

// rename gives an account another name at the relay, and nobody is told: its old
// name is free for other keys, as when a server lies or a person set up anew.
func (r *realRelay) rename(from, to identity.Username) {
	r.t.Helper()
	r.change("UPDATE account SET username = ? WHERE username = ?", string(to), string(from))
}

// change changes one row of the relay's database.
func (r *realRelay) change(statement string, arguments ...any) {
	r.t.Helper()
	db, err := driver.Open("file:" + filepath.Join(r.dir, sqlite.FileName))
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := db.Exec(statement, arguments...)
	if err := errors.Join(err, db.Close()); err != nil {
		r.t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		r.t.Fatalf("%s: changed %d rows, %v", statement, n, err)
	}
}

// usurp puts another person under a name, whose owner is out of the directory then.
func (r *realRelay) usurp(name identity.Username, change ...func(*NewProfile)) *person {
	r.t.Helper()
	r.rename(name, name+".old")
	return r.person(name, change...)
}

// newPolicy has a profile trust in this way.
func newPolicy(policy TrustPolicy) func(*NewProfile) {
	return func(p *NewProfile) { p.Trust = policy }
}

// online makes people with profiles that run.
func (r *realRelay) online(names ...identity.Username) []*person {
	r.t.Helper()
	var all []*person
	for _, name := range names {
		p := r.person(name)
		p.online()
		all = append(all, p)
	}
	return all
}

func TestRealRelayRestarts(t *testing.T) {
	relay := newRealRelay(t)
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
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
	wantRows(t, bob, bob.direct(alice), texts...)
	bob.await(bob.send(alice, "all of them"), Delivered)
	if _, err := alice.Direct(testContext(t), "nobody"); !errors.Is(err, ErrUnknownRecipient) {
		t.Errorf("got %v", err)
	}
}

func TestRealRelayRefuses(t *testing.T) {
	relay := newRealRelay(t)
	relay.stop()
	relay.limits.MailboxRows, relay.limits.MailboxShare = 3, 100
	relay.start()
	alice, bob := relay.person("alice"), relay.person("bob")
	befriend(alice, bob)
	_, err := Create(testContext(t), Options{Dir: t.TempDir(), Unlock: KeyFile()},
		NewProfile{Username: "alice", Server: relay.address, Fingerprint: relay.id})
	if !errors.Is(err, ErrNameTaken) {
		t.Errorf("registering a taken name: %v", err)
	}
	alice.online()
	texts := numbered(3) // after the Welcome, two fit
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
	if later, err := alice.Message(testContext(t), alice.send(bob, "behind it")); err != nil || later.State != Queued || later.Reason == "" {
		t.Errorf("what waits behind it says no reason: %+v, %v", later, err)
	}
	alice.stop()
	bob.online()
	bob.awaitTexts(bob.direct(alice), texts[:2]...)
}

func TestRealRelayGetsEverySize(t *testing.T) {
	relay := newRealRelay(t)
	people := relay.online("alice", "bob")
	alice, bob := people[0], people[1]
	befriend(alice, bob)
	for _, size := range []int{1, 1000, 10_000, MaxTextLen} {
		text := make([]byte, size)
		for i := range text {
			text[i] = 'a' + byte(i%26)
		}
		alice.await(alice.send(bob, string(text)), Delivered)
	}
}

func BenchmarkSendQueued(b *testing.B) {
	relay := newRealRelay(b)
	alice, bob := relay.person("alice"), relay.person("bob")
	in := alice.direct(bob)
	for b.Loop() {
		if _, err := alice.Send(b.Context(), in, "200 bytes of text, more or less, that somebody wrote to somebody else"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	relay := newRealRelay(b)
	people := relay.online("alice", "bob")
	befriend(people[0], people[1])
	for b.Loop() {
		people[0].await(people[0].send(people[1], "there and back"), Delivered)
	}
}

// defaultLimits are those of a relay, in files that call theirs relay.
func defaultLimits() relay.Limits { return relay.DefaultLimits() }
