package relay_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/relay"
)

// A victim is a relay under attack with two devices that behave well. What an
// attack costs is logged: memory of the process, attackers included, and the
// median time of a message between the two. Memory has an asserted bound, time
// has none: it depends on the machine.
type victim struct {
	*testRelay
	metrics    *relay.Metrics
	alice, bob *line
	to         *device
	memory     uint64
	calm       time.Duration
}

func startVictim(t *testing.T, change func(*relay.Limits)) *victim {
	t.Helper()
	v := &victim{metrics: relay.NewMetrics()}
	v.testRelay = startRelay(t, t.TempDir(), func(c *relay.Config) {
		c.Metrics = v.metrics
		c.Clock = nil
		if change != nil {
			change(&c.Limits)
		}
	})
	v.clock.move(time.Since(v.clock.Now())) // what devices sign is of now
	alice := v.registered("alice")
	v.to = v.registered("bob")
	v.alice, v.bob = alice.connect(), v.to.connect()
	v.calm = v.exchange(200)
	v.memory = memoryInUse()
	return v
}

// exchange sends messages one by one, which must all arrive, and returns the
// median of their times.
func (v *victim) exchange(n int) time.Duration {
	v.t.Helper()
	times := make([]time.Duration, n)
	for i := range times {
		text, begin := strconv.Itoa(i), time.Now()
		v.alice.accepted(submit(text, v.to))
		v.bob.ack(v.bob.envelope(text))
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return times[n/2]
}

func memoryInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one put into pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// survives wants the messages of the well-behaved to arrive while an attack goes
// on, and the attack to take no more than some memory.
func (v *victim) survives(attack string, memory uint64) {
	v.t.Helper()
	took := v.exchange(200)
	grown := int64(memoryInUse()) - int64(v.memory)
	v.t.Logf("%s: %d KiB of memory, a message takes %v instead of %v", attack, grown>>10, took, v.calm)
	if grown > int64(memory) {
		v.t.Errorf("%s takes %d bytes of memory, over %d", attack, grown, memory)
	}
}

// limits wants a limit to have held somebody back n times.
func (v *victim) limits(limit string, n float64) {
	v.t.Helper()
	awaitMetric(v.t, v.metrics, "sealpost_limit_hits_total", n, "limit", limit)
}

func (v *victim) dialTCP() net.Conn {
	v.t.Helper()
	conn, err := net.Dial("tcp", v.address)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.Close() })
	return conn
}

// dialHTTP2 begins a connection as HTTP/2 wants it.
func (v *victim) dialHTTP2() (net.Conn, *http2.Framer) {
	v.t.Helper()
	config := pinned(v.ID())
	config.NextProtos = []string{"h2"}
	conn := tls.Client(v.dialTCP(), config)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		v.t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		v.t.Fatal(err)
	}
	return conn, framer
}

// closed wants the relay to close a connection.
func (v *victim) closed(conn net.Conn) {
	v.t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil && isTimeout(err) {
		v.t.Errorf("the relay does not close a connection: %v", err)
	}
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

func TestAbuseHalfOpen(t *testing.T) {
	const n = 1000
	v := startVictim(t, func(l *relay.Limits) { l.AddressConnections, l.StrangerTime = n+10, 5*time.Second })
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = v.dialTCP()
	}
	v.survives("1,000 connections that say nothing", n*24<<10)
	for _, conn := range conns {
		v.closed(conn)
	}
	awaitMetric(t, v.metrics, "sealpost_connections", 2)
}

func TestAbuseConnectionsOfOneAddress(t *testing.T) {
	v := startVictim(t, func(l *relay.Limits) { l.AddressConnections = 20 })
	for range 30 {
		v.dialTCP()
	}
	v.limits("address_connections", 12)
	awaitMetric(t, v.metrics, "sealpost_connections", 20)
	v.survives("connections over their number", 4<<20)
}

func TestAbuseConnectFlood(t *testing.T) {
	v := startVictim(t, func(l *relay.Limits) { l.AddressConnects = 50 })
	for range 100 {
		v.dialTCP().Close()
	}
	v.survives("connecting over and over", 4<<20)
	if hits := metricValue(t, v.metrics, "sealpost_limit_hits_total", "limit", "address_connects"); hits < 40 {
		t.Errorf("%v connections of 102 were over the rate of 50 a minute", hits)
	}
}

// TestAbuseSlowWriters: strangers who begin a request and do not end it.
func TestAbuseSlowWriters(t *testing.T) {
	const n = 100
	v := startVictim(t, func(l *relay.Limits) { l.StrangerTime = 5 * time.Second })
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, framer := v.dialHTTP2()
		if err := framer.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte{0x82}); err != nil { // no END_HEADERS
			t.Fatal(err)
		}
		conns[i] = conn
	}
	v.survives("100 requests that do not end", n*256<<10)
	for _, conn := range conns {
		v.closed(conn)
	}
}

// TestAbuseSlowReaders: a device that does not read costs its window, and loses
// nothing.
func TestAbuseSlowReaders(t *testing.T) {
	const n, size = 2000, 10_000
	v := startVictim(t, nil)
	slow, sender := v.registered("slow"), v.registered("sender")
	l, s := slow.connect(), sender.connect()
	payload := make([]byte, size)
	for range n {
		s.accepted(submit(string(payload), slow))
	}
	v.survives("20 MB for a device that does not read", 4<<20)
	for range n {
		l.envelope(string(payload))
	}
}

func TestAbuseGarbage(t *testing.T) {
	v := startVictim(t, nil)
	garbage := make([]byte, 64<<10)
	rand.Read(garbage)
	var conns []net.Conn
	for range 50 {
		raw, secure := v.dialTCP(), tls.Client(v.dialTCP(), pinned(v.ID()))
		for _, conn := range []net.Conn{raw, secure} {
			conn.Write(garbage) // the relay may have closed it by then
			conns = append(conns, conn)
		}
	}
	v.survives("garbage", 16<<20)
	for _, conn := range conns {
		v.closed(conn)
	}
}

// TestAbuseStrangerBytes: a registration of megabytes is cut off on its way.
func TestAbuseStrangerBytes(t *testing.T) {
	v := startVictim(t, nil)
	stranger := v.unregistered("stranger")
	stranger.record = make([]byte, 4<<20)
	if err := stranger.register(); err == nil {
		t.Fatal("a record of 4 MiB is registered")
	}
	if metricValue(t, v.metrics, "sealpost_limit_hits_total", "limit", "stranger_bytes") == 0 {
		t.Error("all of it was taken in")
	}
	v.survives("a registration of 4 MiB", 8<<20)
}

func TestAbuseOversizedFrames(t *testing.T) {
	v := startVictim(t, nil)
	mallory := v.registered("mallory")
	for name, s := range map[string]*api.Submit{
		"large":           submit(string(make([]byte, 8<<20)), v.to),
		"many recipients": {Id: make([]byte, api.SubmitIDSize), Recipients: make([][]byte, 2<<20)},
	} {
		l := mallory.connect()
		l.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}) // may fail on its way
		if _, err := l.Recv(); err == nil {
			if _, err = l.Recv(); err == nil {
				t.Errorf("%s: the line goes on", name)
			}
		}
	}
	v.survives("oversized frames", 64<<20) // clients' own
}

// TestAbuseForgedSignatures: each costs the relay a verification, and some end
// the connection.
func TestAbuseForgedSignatures(t *testing.T) {
	v := startVictim(t, nil)
	mallory := v.registered("mallory")
	const method = api.Directory_Lookup_FullMethodName
	passed := 0
	for range 100 {
		request := mallory.request(method)
		signature := request.Sign(mallory.key)
		signature[7] ^= 1
		if _, err := api.NewDirectoryClient(mallory.conn).Lookup(withMetadata(t.Context(), request, signature), &api.LookupRequest{Username: "alice"}); err == nil {
			passed++
		}
	}
	if passed != 0 {
		t.Errorf("%d forged requests passed", passed)
	}
	if hits := metricValue(t, v.metrics, "sealpost_limit_hits_total", "limit", "refused_calls"); hits < 2 {
		t.Errorf("%v connections were closed for 100 forged requests", hits)
	}
	v.survives("forged signatures", 8<<20)
}

func TestAbuseReplays(t *testing.T) {
	v := startVictim(t, nil)
	mallory := v.registered("mallory")
	ctx := mallory.signed(t.Context(), mallory.request(api.Directory_Lookup_FullMethodName))
	passed := 0
	for range 100 {
		if _, err := api.NewDirectoryClient(mallory.conn).Lookup(ctx, &api.LookupRequest{Username: "alice"}); err == nil {
			passed++
		}
	}
	if passed != 1 {
		t.Errorf("a request passed %d times", passed)
	}
	v.survives("replays", 8<<20)
}

func TestAbuseRegistrationFlood(t *testing.T) {
	const allowed, tried = 20, 200
	v := startVictim(t, func(l *relay.Limits) { l.AddressRegistrations = allowed + 2 }) // alice and bob
	var mu sync.Mutex
	registered, limited := 0, 0
	var flood errgroup.Group
	flood.SetLimit(8)
	for i := range tried {
		d := v.unregistered("flood-" + strconv.Itoa(i))
		flood.Go(func() error {
			err := d.register()
			d.conn.Close()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				registered++
			case reasonOf(err) == api.Reason_REASON_RATE_LIMITED.String():
				limited++
			default:
				return err
			}
			return nil
		})
	}
	if err := flood.Wait(); err != nil {
		t.Fatal(err)
	}
	if registered > allowed+1 || limited < tried-allowed-1 { // one more may have become free
		t.Errorf("%d of %d registrations passed, %d were told to wait", registered, tried, limited)
	}
	v.survives("a flood of registrations", 16<<20)
}

// TestAbuseKeyPackageDraining: one account gets a part of a stock, whoever else
// comes gets a fresh key package.
func TestAbuseKeyPackageDraining(t *testing.T) {
	v := startVictim(t, func(l *relay.Limits) { l.ClaimsOfOne = 3 })
	packages := make([][]byte, 10)
	for i := range packages {
		packages[i] = []byte(fmt.Sprint("key package ", i))
	}
	ctx := v.to.signed(t.Context(), v.to.request(api.Directory_PublishKeyPackages_FullMethodName))
	if _, err := api.NewDirectoryClient(v.to.conn).PublishKeyPackages(ctx, &api.PublishKeyPackagesRequest{KeyPackages: packages}); err != nil {
		t.Fatal(err)
	}
	claim := func(d *device) (string, error) {
		ctx := d.signed(t.Context(), d.request(api.Directory_ClaimKeyPackages_FullMethodName))
		response, err := api.NewDirectoryClient(d.conn).ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: "bob"})
		if err != nil {
			return "", err
		}
		return string(response.GetKeyPackages()[0].GetKeyPackage()), nil
	}
	mallory, carol := v.registered("mallory"), v.registered("carol")
	got := 0
	for range 50 {
		if _, err := claim(mallory); err == nil {
			got++
		} else {
			wantReason(t, err, api.Reason_REASON_KEY_PACKAGE_LIMIT)
		}
	}
	if fresh, err := claim(carol); got != 3 || err != nil || fresh != "key package 3" {
		t.Errorf("one account claimed %d; the next gets %q, %v", got, fresh, err)
	}
	v.survives("draining key packages", 8<<20)
}

// TestAbuseMailboxFilledByOne: whoever fills the mailbox of a device that is away
// gets his share of it, and the others have theirs.
func TestAbuseMailboxFilledByOne(t *testing.T) {
	const rows, share = 2000, 500
	v := startVictim(t, func(l *relay.Limits) { l.MailboxRows = rows })
	mallory, away := v.registered("mallory"), v.registered("away")
	m := mallory.connect()
	for range share {
		m.accepted(submit("flood", away))
	}
	for range rows {
		m.rejected(submit("flood", away), api.Reason_REASON_MAILBOX_FULL)
	}
	v.limits("mailbox_share", rows)
	v.alice.accepted(submit("all the same", away))
	l := away.connect()
	for range share {
		l.envelope("flood")
	}
	l.ack(l.envelope("all the same"))
	l.settled()
	m.accepted(submit("again", away))
	v.survives("a mailbox filled by one", 4<<20)
}

// TestAbuseStreams: one connection has a bounded number of calls at a time.
func TestAbuseStreams(t *testing.T) {
	v := startVictim(t, nil)
	conn, err := grpc.NewClient("passthrough:///"+v.address, grpc.WithTransportCredentials(credentials.NewTLS(pinned(v.ID()))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), api.MetadataDevice, "x"), 10*time.Second)
	defer cancel()
	for range 100 {
		stream, err := api.Connect(ctx, conn)
		if err != nil {
			break
		}
		if _, err := stream.Recv(); status.Code(err) == codes.OK {
			t.Error("a stranger has a line")
		}
	}
	v.survives("lines of a stranger", 8<<20)
}
