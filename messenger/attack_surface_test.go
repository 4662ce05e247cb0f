package messenger

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sealpost/api"
	"sealpost/content"
	"sealpost/identity"
	"sealpost/mls"
)

// Text that is syntax somewhere: of SQL, of FTS5, of a format.
var hostileTexts = []string{
	`'; DROP TABLE messages; --`, `" OR 1=1 --`, `text" NEAR/2 "x`, `AND`, `NOT`, `"`, `""`, `*`, `a*`, `col:a`, `^a`, `(a`, `a)`, `{a b}:c`, `a+b`, `-a`,
	"nul\x00byte", `%s%d`, `\`, "ü\u202e", strings.Repeat(`"`, 999),
}

func TestAttackF4SearchSyntax(t *testing.T) {
	relay, _ := newEnemy(t)
	alice, bob, in := pair(relay)
	for _, text := range hostileTexts {
		alice.say(in, text)
	}
	alice.await(alice.send(bob, "the needle"), Delivered)
	for _, query := range append(hostileTexts, "") {
		for _, p := range []*person{alice, bob} {
			if _, err := p.Search(testContext(t), query, nil, 10); err != nil {
				t.Errorf("%s searches for %q: %v", p.name(), query, err)
			}
			if _, err := p.Search(testContext(t), query, &in, 10); err != nil {
				t.Errorf("%s searches here for %q: %v", p.name(), query, err)
			}
		}
	}
	found, err := bob.Search(testContext(t), "needle", &in, 10)
	if err != nil || len(found) != 1 || found[0].Text != "the needle" {
		t.Errorf("got %v, %v", found, err)
	}
	if got := len(bob.texts(in)); got != len(hostileTexts)+1 {
		t.Errorf("bob has %d texts, want %d", got, len(hostileTexts)+1)
	}
}

// Content that no client of ours would write stops nobody: what comes after it is
// shown.
func TestAttackF5HostileContent(t *testing.T) {
	relay, _ := newEnemy(t)
	people, in := circle(relay, "alice", "bob", "carol")
	bob := turn(people[1], in)
	for _, data := range [][]byte{
		{}, {0}, {stampVersion}, make([]byte, stampSize), bytes.Repeat([]byte{0xff}, 100),
		stamp(1, 0, nil), stamp(1, 0, []byte{0xa0}), stamp(maxCounter, 0, bytes.Repeat([]byte{0x9f}, 1000)),
	} {
		bob.whisper(data)
	}
	bob.whisper(bob.frame(0, must(content.NewText("the end")), nil))
	for _, p := range []*person{people[0], people[2]} {
		p.awaitTexts(in, "the end")
		p.awaitAside(6, errContent)
		if p.conversation(in).Healing {
			t.Errorf("%s doubts its own state", p.name())
		}
	}
}

// Somebody brings a device into a group that claims to be one of our own.
func TestAttackF10ForgedOwnDevice(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("alice", "mallory")
	alice, mallory := people[0], people[1]
	befriend(alice, mallory)
	insider := recruit(mallory)
	ghost := newImpostor("alice")
	d := &descriptor{Kind: Group, Conversation: randomBytes(16), Name: "trap", Admins: []string{"mallory"}}
	group := must(mallory.groups.client.CreateGroup(mls.DefaultCipherSuite, mallory.self.identity(), mls.GroupOptions{
		GroupID: randomBytes(groupIDSize), Extensions: must(d.extensions()), Leaf: leafOptions(),
	}))
	insider.mls = group
	pending := must(group.Commit(mls.CommitOptions{OmitPath: true, Proposals: []mls.Proposal{
		&mls.Add{KeyPackage: insider.keyPackageOf("alice")}, &mls.Add{KeyPackage: must(mls.ParseKeyPackage(ghost.keyPackage(t).GetKeyPackage()))},
	}}))
	insider.begin(pending, alice)
	alice.awaitAside(1, errWelcome)
	if all, err := alice.Conversations(testContext(t)); err != nil || len(all) != 1 {
		t.Errorf("alice has %v, %v", all, err)
	}
}

// A group that says it was made in ten years would win against every later one.
func TestAttackGroupFromTheFuture(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("alice", "mallory")
	alice, mallory := people[0], people[1]
	befriend(alice, mallory)
	insider := recruit(mallory)
	for n, incarnation := range []time.Time{time.Now().Add(10 * 365 * 24 * time.Hour), time.Now()} {
		d := &descriptor{Kind: Group, Conversation: randomBytes(16), Incarnation: uint32(incarnation.Unix()), Name: "trap", Admins: []string{"mallory"}}
		insider.mls = must(mallory.groups.client.CreateGroup(mls.DefaultCipherSuite, mallory.self.identity(), mls.GroupOptions{
			GroupID: randomBytes(groupIDSize), Extensions: must(d.extensions()), Leaf: leafOptions(),
		}))
		insider.begin(must(insider.mls.Commit(mls.CommitOptions{OmitPath: true, Proposals: []mls.Proposal{&mls.Add{KeyPackage: insider.keyPackageOf("alice")}}})), alice)
		if n == 0 {
			alice.awaitAside(1, errWelcome)
		}
	}
	alice.until("she is in the other", func() bool { return alice.counts("groups") == 1 && alice.counts("conversations WHERE kind = 2") == 1 })
}

// begin has the relay take a group with its first commit and deliver the Welcome.
func (i *insider) begin(pending *mls.PendingCommit, to *person) {
	i.t.Helper()
	members := deviceIDs(joinIDs([]identity.DeviceID{i.Self().DeviceID, to.Self().DeviceID}))
	if bytes.Compare(members[0], members[1]) > 0 {
		members[0], members[1] = members[1], members[0]
	}
	id := to.Self().DeviceID
	if reason := i.submit(&api.Submit{
		Kind: api.Kind_KIND_HANDSHAKE, Payload: pending.Commit, Group: i.epoch(),
		Commit: &api.Commit{Members: members, Welcome: pending.Welcome, Welcomed: [][]byte{id[:]}},
	}); reason != api.Reason_REASON_UNSPECIFIED {
		i.t.Fatalf("the relay refuses: %v", reason)
	}
}

// dialed makes a person whose connections and bytes are watched.
type dialed struct {
	mu        sync.Mutex
	addresses map[string]int
	bytes     []byte
}

func (d *dialed) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses[address]++
	return &watched{Conn: conn, dialed: d}, nil
}

type watched struct {
	net.Conn
	dialed *dialed
}

func (w *watched) Write(b []byte) (int, error) {
	w.dialed.mu.Lock()
	w.dialed.bytes = append(w.dialed.bytes, b...)
	w.dialed.mu.Unlock()
	return w.Conn.Write(b)
}

func (r *realRelay) watched(name identity.Username) (*person, *dialed) {
	r.t.Helper()
	d := &dialed{addresses: make(map[string]int)}
	p := &person{t: r.t, options: Options{Dir: r.t.TempDir(), Unlock: KeyFile(), Dial: d.dial, tuning: &smallStock}}
	client, err := Create(testContext(r.t), p.options, NewProfile{Username: name, Server: r.address, Fingerprint: r.id})
	if err != nil {
		r.t.Fatal(err)
	}
	p.attach(client)
	r.t.Cleanup(p.stop)
	p.online()
	return p, d
}

// What a message names is not fetched: the client talks to its relay and to nobody
// else.
func TestAttackF11NoCallsOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	called := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
			called <- struct{}{}
		}
	}()
	relay, _ := newEnemy(t)
	alice := relay.online("alice")[0]
	bob, dialed := relay.watched("bob")
	befriend(alice, bob)
	in := alice.direct(bob)
	link := "http://" + listener.Addr().String() + "/picture.png"
	id := alice.say(in, link+" ![picture]("+link+`) <img src="`+link+`">`)
	alice.await(id, Delivered)
	unread, err := bob.Unread(testContext(t))
	if err != nil || len(unread) != 1 {
		t.Fatalf("unread: %v, %v", unread, err)
	}
	if err := bob.MarkRead(testContext(t), unread[0].Row); err != nil {
		t.Fatal(err)
	}
	alice.await(id, Read)
	dialed.mu.Lock()
	defer dialed.mu.Unlock()
	if len(dialed.addresses) != 1 || dialed.addresses[relay.address] == 0 {
		t.Errorf("bob's client called %v", dialed.addresses)
	}
	select {
	case <-called:
		t.Error("somebody called the address in the message")
	default:
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// filesWith returns the files below a folder that hold some bytes, and how many were
// searched.
func filesWith(t *testing.T, dir, text string) (hits []string, searched int) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := fs.ReadFile(os.DirFS(dir), path)
		searched++
		if bytes.Contains(b, []byte(text)) {
			hits = append(hits, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hits, searched
}

// A session leaves nothing readable in any file of the relay, in its log at the finest
// level, or on the cable, and nothing but the directory's public entries tells who is
// who.
func TestAttackG2NothingReadableAtTheRelay(t *testing.T) {
	const canary, groupCanary, replyCanary = "canary-7f3a-at-the-lighthouse", "canary-group-name", "canary-edited"
	var log lockedBuffer
	relay, enemy := newEnemy(t, func(r *realRelay) {
		r.logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	alice, cable := relay.watched("alice")
	bob := relay.online("bob")[0]
	befriend(alice, bob)
	v, err := alice.CreateGroup(testContext(t), groupCanary, []identity.Username{"bob"})
	if err != nil {
		t.Fatal(err)
	}
	first := alice.say(v.ID, canary)
	alice.await(first, Delivered)
	if err := alice.Edit(testContext(t), first, replyCanary); err != nil {
		t.Fatal(err)
	}
	if err := bob.React(testContext(t), first, "canary!"); err != nil {
		t.Fatal(err)
	}
	bob.awaitTexts(v.ID, replyCanary)
	bob.offline() // his mailbox stays full
	var last MessageID
	for i := range 5 {
		last = alice.say(v.ID, fmt.Sprintf("%s %s", canary, strings.Repeat("x", 7*i)))
	}
	alice.await(last, Accepted)

	secrets := map[string]string{
		"text": canary, "group name": groupCanary, "edit": replyCanary, "reaction": "canary!",
		"Bob's file identity": bob.FileIdentity(), "Alice's file identity": alice.FileIdentity(),
		"Alice's device key": string(alice.self.deviceKey.Seed()),
	}
	cable.mu.Lock()
	sent := bytes.Clone(cable.bytes)
	cable.mu.Unlock()
	for what, secret := range secrets {
		hits, searched := filesWith(t, relay.dir, secret)
		if searched < 2 || len(hits) > 0 {
			t.Errorf("%s: searched %d files, found in %q", what, searched, hits)
		}
		if bytes.Contains(sent, []byte(secret)) {
			t.Errorf("%s went over the cable readable", what)
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %s", what)
		}
	}
	for what, secret := range map[string]string{
		"a name": "alice", "another name": "bob",
		"an account key": strings.TrimPrefix(alice.Self().AccountKey.String(), "account:"),
		"a device id":    strings.TrimPrefix(alice.device(), "id:"),
	} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %s", what)
		}
	}
	// The search would find what is there: the directory's public entry.
	if hits, _ := filesWith(t, relay.dir, "alice"); len(hits) == 0 {
		t.Error("the search finds nothing at all")
	}
	// Sizes come in steps: texts of different length look alike.
	bob.online()
	bob.until("all came", func() bool { return len(bob.texts(v.ID)) == 6 })
	sizes := make(map[int]bool)
	sealed := enemy.Delivered(bob.device(), api.Kind_KIND_APPLICATION)
	for _, e := range sealed[len(sealed)-5:] {
		sizes[len(e.GetPayload())] = true
	}
	if len(sizes) > 2 {
		t.Errorf("five texts whose lengths differ by 7 bytes have %d sizes", len(sizes))
	}
}

// Strangers cannot fill the disk: neither by requests without end, nor by what waits
// in one.
func TestAttackG3FloodOfWelcomes(t *testing.T) {
	relay, _ := newEnemy(t, func(r *realRelay) { r.limits.ClaimsOfOne = 1000 })
	people := relay.online("bob", "mallory")
	bob, mallory := people[0], people[1]
	insider := recruit(mallory)
	const flood = maxRequests + 20
	for n := range flood {
		d := &descriptor{Kind: Group, Conversation: randomBytes(16), Name: fmt.Sprint("buy this ", n), Admins: []string{"mallory"}}
		insider.mls = must(mallory.groups.client.CreateGroup(mls.DefaultCipherSuite, mallory.self.identity(), mls.GroupOptions{
			GroupID: randomBytes(groupIDSize), Extensions: must(d.extensions()), Leaf: leafOptions(),
		}))
		k := insider.keyPackageOf("bob")
		insider.begin(must(insider.mls.Commit(mls.CommitOptions{OmitPath: true, Proposals: []mls.Proposal{&mls.Add{KeyPackage: k}}})), bob)
	}
	bob.until("all that is kept came", func() bool {
		all, err := bob.Conversations(testContext(t))
		return err == nil && len(all) == maxRequests
	})
	// Who is a contact comes through, and blocking empties it all.
	carol := relay.online("carol")[0]
	befriend(bob, carol)
	carol.await(carol.send(bob, "still there?"), Delivered)
	if err := bob.Block(testContext(t), "mallory"); err != nil {
		t.Fatal(err)
	}
	all, err := bob.Conversations(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.State == Request {
			t.Errorf("a request of %s is left", v.Inviter)
		}
	}
}

func TestAttackG3StrangerWritesWithoutEnd(t *testing.T) {
	relay, _ := newEnemy(t)
	people := relay.online("alice", "bob")
	mallory, bob := people[0], people[1]
	in := mallory.direct(bob)
	var last MessageID
	for n := range maxWaiting + 10 {
		last = mallory.say(in, fmt.Sprint("buy this ", n))
	}
	mallory.await(last, Accepted)
	bob.awaitAside(10, errTooMuch)
	if v := bob.conversation(in); v.State != Request || v.Unread != maxWaiting {
		t.Errorf("%v with %d that wait", v.State, v.Unread)
	}
	if m, err := mallory.Message(testContext(t), last); err != nil || m.State != Accepted {
		t.Errorf("the stranger learns that bob is there: %v, %v", m.State, err)
	}
}

// The relay has no say in what time it is: no frame carries one but for a pause, which
// is bounded, and what disappears does so by the reader's own clock.
func TestAttackG5TimeOfTheRelay(t *testing.T) {
	allowed := map[string]bool{"retry_after_ms": true}
	frames := 0
	var look func(protoreflect.MessageDescriptor)
	look = func(d protoreflect.MessageDescriptor) {
		frames++
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			name := string(f.Name())
			for _, word := range []string{"time", "_at", "_ms", "date", "second"} {
				if strings.Contains(name, word) && !allowed[name] {
					t.Errorf("%s.%s tells a time", d.Name(), name)
				}
			}
			if f.Message() != nil {
				look(f.Message())
			}
		}
	}
	look((&api.ServerFrame{}).ProtoReflect().Descriptor())
	if frames < 5 {
		t.Fatalf("looked at %d frames", frames)
	}

	relay, _ := newEnemy(t)
	alice, bob, in := pair(relay)
	alice.await(alice.send(bob, "one"), Delivered)
	bob.offline()
	id := alice.say(in, "for an hour", Disappearing(time.Hour))
	alice.await(id, Accepted)
	sent, err := alice.Message(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	bob.forward(4 * time.Minute) // the relay held it back so long
	bob.awaitTexts(in, "one", "for an hour")
	unread, err := bob.Unread(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range unread {
		if err := bob.MarkRead(testContext(t), m.Row); err != nil {
			t.Fatal(err)
		}
	}
	m, err := bob.Message(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Time.Equal(sent.Time) {
		t.Errorf("bob sees that it was written at %v, alice at %v", m.Time, sent.Time)
	}
	if left := m.Expires.Sub(bob.clock()); left > time.Hour || left < 59*time.Minute {
		t.Errorf("it stays for %v", left)
	}
}
