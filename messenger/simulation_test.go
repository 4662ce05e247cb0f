package messenger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"sealpost/identity"
	"sealpost/mls"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

var (
	simulationSchedules = flag.Int("simulation.schedules", 25, "how many schedules TestSimulation runs; SIMULATION_SCHEDULES in the environment goes before it")
	simulationSeed      = flag.Uint64("simulation.seed", 0, "run only the schedule of this seed, and log it")
)

// TestSimulation runs whole systems, of real relays and devices over a network that
// delays and cuts, with crashes at any write, partitions and restored backups, on a
// fake clock. A schedule follows from its seed, but for the order in which Go runs
// what happens at the same time.
func TestSimulation(t *testing.T) {
	if raceDetector && *simulationSeed == 0 {
		t.Skip("a step of its own runs it without the race detector, which makes it ten times slower")
	}
	if *simulationSeed != 0 {
		simulate(t, *simulationSeed, true)
		return
	}
	n := *simulationSchedules
	if text := os.Getenv("SIMULATION_SCHEDULES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		n = 5
	}
	base := rand.Uint64() >> 16 << 16 // fresh ones each time
	var next sync.Mutex
	done := 0
	for worker := range 2 {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			for {
				next.Lock()
				seed := base + uint64(done)
				done++
				stop := done > n || t.Failed()
				next.Unlock()
				if stop {
					return
				}
				simulate(t, seed, false)
			}
		})
	}
}

// A world is one schedule: a relay, its devices, and what goes wrong.
type world struct {
	t       *testing.T
	seed    uint64
	verbose bool
	rng     *rand.Rand
	dir     string
	tuning  tuning

	listener *bufconn.Listener
	server   *relay.Server
	store    *sqlite.Store
	served   chan error
	faulty   *faultyStore
	devices  []*device
	all      []ConversationID
	last     bool // everybody has spoken after the trouble
	blocks   bool // people block each other

	mu       sync.Mutex // guards what follows
	sent     []*sentMessage
	rosters  map[MessageID][][]identity.Username // of each seal
	stranger map[MessageID]map[identity.Username]bool
}

type sentMessage struct {
	id       MessageID
	by       *device
	in       ConversationID
	number   int
	expiring bool
	accepted bool // of one that is expiring, as last seen
}

var errCrash = errors.New("the process crashed here")

// countdown fails once it has come to its end, and from then on until it is set again.
type countdown struct {
	mu     sync.Mutex
	left   int // 0: off
	failed bool
}

func (c *countdown) set(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.failed = n, false
}

func (c *countdown) tick() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed {
		return errCrash
	}
	if c.left > 0 {
		if c.left--; c.left == 0 {
			c.failed = true
			return errCrash
		}
	}
	return nil
}

// dead says whether it has failed.
func (c *countdown) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// faultyStore is the relay's store, whose process crashes before or after a write.
type faultyStore struct {
	*sqlite.Store
	crash countdown
}

func (s *faultyStore) Write(ctx context.Context, batch *relay.Batch) error {
	if err := s.crash.tick(); err != nil {
		return err
	}
	if err := s.Store.Write(ctx, batch); err != nil {
		return err
	}
	return s.crash.tick()
}

// device is one client with its profile.
type device struct {
	w        *world
	name     identity.Username
	dir      string
	backup   string
	client   *Client // nil while it is off
	halt     context.CancelFunc
	ran      chan error
	crash    countdown
	restored bool
	left     map[ConversationID]bool

	shown       map[MessageID]int // how often a person saw a message
	maybeShown  map[MessageID]bool
	blocked     map[identity.Username][]MessageID // whom it blocked, and what was there of them then
	everBlocked bool

	mu    sync.Mutex // guards what follows
	cut   bool
	lines []net.Conn
}

func simulate(t *testing.T, seed uint64, verbose bool) {
	t.Helper()
	ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		dir := quickDir(t) // what a crash loses is decided by the schedule, not by the disk
		synctest.Test(t, func(t *testing.T) {
			w := &world{
				t: t, seed: seed, verbose: verbose, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)),
				rosters: make(map[MessageID][][]identity.Username), stranger: make(map[MessageID]map[identity.Username]bool),
			}
			w.run()
		})
	})
	if !ok {
		t.Logf("run it again: go test ./messenger -run Simulation -simulation.seed %d -v", seed)
	}
}

// quickDir returns a directory that is gone after the test, in memory where there is one.
func quickDir(t *testing.T) string {
	t.Helper()
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "sealpost-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (w *world) log(format string, args ...any) {
	if w.verbose {
		w.t.Logf("%s "+format, append([]any{time.Now().Format("15:04:05.000")}, args...)...)
	}
}

func (w *world) run() {
	w.tuning = defaultTuning
	w.tuning.suite, w.tuning.stockSize, w.tuning.lowStock = mls.MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, 12, 6
	if w.rng.IntN(20) == 0 {
		w.tuning.suite = mls.DefaultCipherSuite
	}
	w.tuning.sealed = w.noteRoster
	w.blocks = w.rng.IntN(3) == 0
	w.startRelay()
	defer func() {
		for _, d := range w.devices {
			d.stop()
		}
		w.stopRelay(true)
		synctest.Wait()
	}()
	n := 2 + w.rng.IntN(4)
	if w.rng.IntN(25) == 0 {
		n = 6 + w.rng.IntN(15)
	}
	for i := range n {
		w.create(identity.Username(fmt.Sprintf("device%d", i)))
	}
	w.meet()
	for range 20 + w.rng.IntN(40) {
		w.step()
		time.Sleep(time.Duration(w.rng.Int64N(int64(5 * time.Second))))
	}
	w.heal()
	w.check()
	w.checkShown()
	w.checkGone()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.seed, err)
	}
}

func (w *world) noteRoster(id MessageID, members []memberDevice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var roster []identity.Username
	if w.stranger[id] == nil {
		w.stranger[id] = make(map[identity.Username]bool)
	}
	for _, m := range members {
		roster = append(roster, m.username)
		w.stranger[id][m.username] = true
	}
	w.rosters[id] = append(w.rosters[id], roster)
}

func (w *world) startRelay() {
	dir := filepath.Join(w.dir, "relay")
	store, err := sqlite.Open(dir)
	w.must(err)
	certificate, err := relay.LoadOrCreateCertificate(dir)
	w.must(err)
	w.faulty = &faultyStore{Store: store}
	limits := relay.DefaultLimits()
	limits.Claims, limits.ClaimsOfOne = 100_000, 100_000
	server, err := relay.New(relay.Config{Store: w.faulty, Certificate: certificate, Limits: limits, OpenRegistration: true})
	w.must(err)
	w.server, w.store, w.listener, w.served = server, store, bufconn.Listen(256<<10), make(chan error, 1)
	go func(server *relay.Server, listener net.Listener, served chan<- error) {
		served <- server.Serve(listener)
	}(server, w.listener, w.served)
}

func (w *world) stopRelay(gently bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !gently {
		cancel()
	}
	for _, d := range w.devices {
		d.cutLines()
	}
	_ = w.server.Shutdown(ctx)
	<-w.served
	_ = w.listener.Close()
	w.must(w.store.Close())
}

// dial opens a line with delays, unless the device is cut off.
func (d *device) dial(ctx context.Context, _ string) (net.Conn, error) {
	d.mu.Lock()
	cut := d.cut
	d.mu.Unlock()
	if cut {
		return nil, errors.New("no route")
	}
	conn, err := d.w.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	slow := &slowConn{Conn: conn, rng: rand.New(rand.NewPCG(d.w.seed, uint64(time.Now().UnixNano())))}
	d.mu.Lock()
	d.lines = append(d.lines, slow)
	d.mu.Unlock()
	return slow, nil
}

// slowConn delays every write by up to 100 ms.
type slowConn struct {
	net.Conn
	mu  sync.Mutex
	rng *rand.Rand
}

func (c *slowConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	pause := time.Duration(c.rng.Int64N(int64(100 * time.Millisecond)))
	c.mu.Unlock()
	time.Sleep(pause)
	return c.Conn.Write(b)
}

func (d *device) cutLines() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.lines {
		_ = line.Close()
	}
	d.lines = nil
}

func (d *device) setCut(cut bool) {
	d.mu.Lock()
	d.cut = cut
	d.mu.Unlock()
	if cut {
		d.cutLines()
	}
}

func (d *device) options() Options {
	o := Options{Dir: d.dir, Unlock: KeyFile(), Dial: d.dial, tuning: &d.w.tuning}
	if d.w.verbose {
		o.Logger = slog.New(slog.NewTextHandler(d.w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("device", d.name)
	}
	return o
}

func (w *world) create(name identity.Username) {
	d := &device{w: w, name: name, dir: filepath.Join(w.dir, string(name)), left: make(map[ConversationID]bool),
		shown: make(map[MessageID]int), maybeShown: make(map[MessageID]bool), blocked: make(map[identity.Username][]MessageID)}
	client, err := Create(context.Background(), d.options(), NewProfile{Username: name, Server: "relay.test:7443", Fingerprint: w.server.ID()})
	w.must(err)
	d.run(client)
	w.devices = append(w.devices, d)
}

func (d *device) run(client *Client) {
	d.crash.set(0)
	client.store.fault = d.crash.tick
	ctx, cancel := context.WithCancel(context.Background())
	d.client, d.halt, d.ran = client, cancel, make(chan error, 1)
	go func(ran chan<- error) { ran <- client.Run(ctx) }(d.ran)
}

func (d *device) start() {
	if d.client != nil {
		return
	}
	client, err := Open(context.Background(), d.options())
	d.w.must(err)
	d.run(client)
}

// stop ends the process. After a crash nothing more reaches the disk.
func (d *device) stop() {
	if d.client == nil {
		return
	}
	d.halt()
	<-d.ran
	d.w.must(d.client.Close())
	d.client = nil
}

// meet has everybody accept everybody, and makes the conversations.
func (w *world) meet() {
	ctx := context.Background()
	for _, d := range w.devices {
		for _, other := range w.devices {
			if other != d {
				_, err := d.client.Direct(ctx, other.name)
				w.must(err)
			}
		}
	}
	w.all = append(w.all, w.devices[0].client.DirectID(w.devices[1].name))
	for i := range 1 + w.rng.IntN(2) {
		creator := w.pick()
		var with []identity.Username
		for _, d := range w.devices {
			if d != creator && w.rng.IntN(3) > 0 {
				with = append(with, d.name)
			}
		}
		v, err := creator.client.CreateGroup(ctx, fmt.Sprintf("group %d", i), with)
		w.must(err)
		w.all = append(w.all, v.ID)
	}
}

func (w *world) pick() *device { return w.devices[w.rng.IntN(len(w.devices))] }

// step does one random thing.
func (w *world) step() {
	d := w.pick()
	if w.blocks && w.rng.IntN(12) == 0 {
		w.block(d)
		w.sweep()
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 45:
		w.send(d, w.all[w.rng.IntN(len(w.all))])
	case n < 55:
		w.read(d)
	case n < 63:
		w.log("%s: its line is cut", d.name)
		d.cutLines()
	case n < 70:
		w.log("%s: partitioned: %v", d.name, !d.cut)
		d.setCut(!d.cut)
	case n < 78:
		n := 1 + w.rng.IntN(12)
		w.log("%s: crashes at write %d", d.name, n)
		if !d.crash.dead() { // nothing revives it but a start
			d.crash.set(n)
		}
	case n < 82:
		n := 1 + w.rng.IntN(12)
		w.log("relay: crashes at write %d", n)
		w.faulty.crash.set(n)
	case n < 84:
		w.log("relay: restarts")
		w.stopRelay(w.rng.IntN(2) == 0)
		w.startRelay()
	case n < 94:
		w.govern(d)
	case n < 97:
		w.log("%s: backed up", d.name)
		d.backUp()
	default:
		w.log("%s: restored: %v", d.name, d.backup != "")
		d.restore()
	}
	w.sweep()
}

// sweep starts again what crashed.
func (w *world) sweep() {
	if w.faulty.crash.tick() != nil {
		w.log("relay: crashed")
		w.stopRelay(false)
		w.startRelay()
	}
	for _, d := range w.devices {
		if d.client == nil {
			d.start()
			continue
		}
		if d.crash.dead() { // whatever it was that wrote
			w.log("%s: crashed", d.name)
			d.stop()
			if w.rng.IntN(2) == 0 {
				d.start()
			}
			continue
		}
		select {
		case err := <-d.ran:
			w.log("%s: crashed: %v", d.name, err)
			d.ran <- err
			if !errors.Is(err, ErrStore) && !errors.Is(err, ErrReplaced) {
				w.t.Errorf("seed %d: %s ended with %v", w.seed, d.name, err)
			}
			d.stop()
			if w.rng.IntN(2) == 0 {
				d.start()
			}
		default:
		}
	}
	w.observe()
}

func (w *world) send(d *device, in ConversationID) {
	if d.client == nil {
		return
	}
	w.mu.Lock()
	number := len(w.sent)
	w.mu.Unlock()
	text := fmt.Sprintf("message %d", number)
	id, err := d.client.Send(context.Background(), in, text)
	w.log("%s: sends %q: %v %v", d.name, text, id, err)
	if err != nil {
		return
	}
	m := &sentMessage{id: id, by: d, in: in, number: number}
	own, err := d.client.Message(context.Background(), id)
	m.expiring = err == nil && own.Expiry > 0
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, m)
}

// govern changes a group, as far as the device may.
func (w *world) govern(d *device) {
	if d.client == nil || len(w.all) < 2 {
		return
	}
	in := w.all[1+w.rng.IntN(len(w.all)-1)]
	ctx, other := context.Background(), w.pick()
	var err error
	what := ""
	switch w.rng.IntN(8) {
	case 6, 7:
		in = w.all[w.rng.IntN(len(w.all))]
		expiry := simulatedExpiries[w.rng.IntN(len(simulatedExpiries))]
		what, err = fmt.Sprintf("lets messages disappear after %v, not", expiry), d.client.SetExpiry(ctx, in, expiry)
	case 0, 1:
		what, err = "adds", d.client.AddMembers(ctx, in, []identity.Username{other.name})
	case 2:
		what, err = "removes", d.client.RemoveMembers(ctx, in, []identity.Username{other.name})
	case 3:
		what, err = "names", d.client.Rename(ctx, in, fmt.Sprintf("name %d", w.rng.IntN(100)))
	case 4:
		what, err = "makes an administrator of", d.client.SetAdmin(ctx, in, other.name, true)
	case 5:
		if w.rng.IntN(3) == 0 {
			what, err = "leaves, not", d.client.Leave(ctx, in)
			d.left[in] = true
		}
	}
	w.log("%s: %s %s in %v: %v", d.name, what, other.name, in, err)
}

func (d *device) backUp() {
	if d.client == nil {
		return
	}
	d.stop()
	d.backup = filepath.Join(d.w.dir, fmt.Sprintf("%s-backup-%d", d.name, d.w.rng.Uint32()))
	d.w.must(os.CopyFS(d.backup, os.DirFS(d.dir)))
	d.start()
}

func (d *device) restore() {
	if d.backup == "" {
		return
	}
	d.stop()
	d.w.must(os.RemoveAll(d.dir))
	d.w.must(os.CopyFS(d.dir, os.DirFS(d.backup)))
	d.w.must(os.Chmod(filepath.Join(d.dir, keyFileName), 0o600))
	d.restored = true
	d.start()
}

// heal ends all trouble and waits until everything has settled.
func (w *world) heal() {
	w.log("all trouble ends")
	w.faulty.crash.set(0)
	for _, d := range w.devices {
		d.setCut(false)
		if d.crash.dead() {
			d.stop()
		}
		d.crash.set(0)
		d.start()
	}
	w.unblockAll()
	w.settle("after the trouble")
	for _, in := range w.all {
		for _, d := range w.devices {
			if v, err := d.client.Conversation(context.Background(), in); err == nil && v.State == Active {
				w.send(d, in)
			}
		}
	}
	w.last = true
	w.settle("after a last round")
	for _, d := range w.devices {
		w.read(d)
	}
}

const settling = 12 * time.Hour

func (w *world) settle(when string) {
	deadline := time.Now().Add(settling)
	var stuck []string
	for calm := 0; calm < 3; {
		time.Sleep(20 * time.Second)
		w.sweep()
		if stuck = w.stuck(); len(stuck) == 0 {
			calm++
		} else {
			calm = 0
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("seed %d: %s, devices are stuck: %s", w.seed, when, strings.Join(stuck, "; "))
		}
	}
}

// stuck tells who still has something to do.
func (w *world) stuck() []string {
	var all []string
	for _, d := range w.devices {
		if d.client == nil {
			all = append(all, string(d.name)+" is off")
			continue
		}
		for _, in := range w.all {
			if w.lost(d, in) && w.expected(d, in) {
				all = append(all, string(d.name)+" cannot follow")
			}
			// Who lost all knowledge of a conversation hears of it when somebody speaks. Who
			// blocked the one that would take it in again does not.
			if _, err := d.client.Conversation(context.Background(), in); w.last && errors.Is(err, ErrUnknownConversation) && !d.everBlocked && w.counted(d, in) {
				all = append(all, string(d.name)+" does not know of a conversation")
			}
		}
		for what, query := range map[string]string{
			"has something to send": `SELECT count(*) FROM outbox o WHERE NOT EXISTS (
				SELECT 1 FROM groups g WHERE g.conversation = o.conversation AND g.state = 3)`,
			"waits for a commit": "SELECT count(*) FROM groups WHERE state = 2 AND awaited > epoch",
		} {
			var n int
			w.must(d.client.store.reader.QueryRow(query).Scan(&n))
			if n > 0 {
				all = append(all, fmt.Sprintf("%s %s (%d)", d.name, what, n))
			}
		}
	}
	slices.Sort(all)
	return all
}

// lost says whether a device asks to be taken into a conversation again.
func (w *world) lost(d *device, in ConversationID) bool {
	v, err := d.client.Conversation(context.Background(), in)
	return err == nil && v.State == Active && v.Healing
}

// expected says whether a device that is lost can come back: somebody counts it among
// the members, or nobody follows any more, and one of them may begin a new group. Who was
// removed while it could not hear it asks in vain, and so does whom all others left.
func (w *world) expected(d *device, in ConversationID) bool {
	if w.counted(d, in) {
		return true
	}
	begins := false
	for _, other := range w.devices {
		if other != d && w.follows(other, in) {
			return false
		}
		begins = begins || w.mayBegin(other, d, in)
	}
	return begins
}

// mayBegin says whether a lost device is going to make a new group with another in it.
func (w *world) mayBegin(d, with *device, in ConversationID) bool {
	if d.client == nil || !w.lost(d, in) {
		return false
	}
	ctx, q := context.Background(), d.client.store.reader
	v, err := d.client.findConversation(ctx, q, in)
	w.must(err)
	if v.kind == Direct {
		return true
	}
	g, err := lastGroup(ctx, q, v.id)
	w.must(err)
	if g == nil {
		return false
	}
	members, err := listMembers(ctx, q, g.id)
	w.must(err)
	rights, err := descriptorOf(ctx, q, g.id)
	w.must(err)
	return hasDevice(members, with.client.Self().DeviceID) && rights.isAdmin(d.name, func(name identity.Username) bool { return hasAccount(members, name) })
}

// counted says whether others count a device among the members.
func (w *world) counted(d *device, in ConversationID) bool {
	for _, other := range w.devices {
		if other == d || !w.follows(other, in) {
			continue
		}
		v, err := other.client.findConversation(context.Background(), other.client.store.reader, in)
		w.must(err)
		g, err := currentGroup(context.Background(), other.client.store.reader, v.id)
		w.must(err)
		if g == nil {
			continue
		}
		members, err := listMembers(context.Background(), other.client.store.reader, g.id)
		w.must(err)
		if hasDevice(members, d.client.Self().DeviceID) {
			return true
		}
	}
	return false
}

// follows says whether a device is in a conversation, and able to follow it.
func (w *world) follows(d *device, in ConversationID) bool {
	return d.client != nil && w.stayed(d, in) && !w.lost(d, in)
}

// check holds the invariants against what every device has.
func (w *world) check() {
	type view struct {
		rows   map[MessageID]int
		order  []MessageID
		healed bool
	}
	views := make(map[*device]map[ConversationID]*view)
	for _, d := range w.devices {
		views[d] = make(map[ConversationID]*view)
		for _, in := range w.all {
			v := &view{rows: make(map[MessageID]int), healed: d.restored}
			all, err := d.client.Messages(context.Background(), in, 0)
			w.must(err)
			for _, m := range all {
				switch m.Kind {
				case KindText:
					v.rows[m.ID]++
					v.order = append(v.order, m.ID)
				case KindWarning:
					v.healed = true
				}
			}
			views[d][in] = v
		}
	}
	byID := make(map[MessageID]*sentMessage)
	for _, m := range w.sent {
		byID[m.id] = m
	}
	for _, m := range w.sent {
		own, err := m.by.client.Message(context.Background(), m.id)
		accepted := (m.accepted || (err == nil && own.State >= Accepted && own.State != Failed)) && !w.forgot(m.by, m.in)
		for _, d := range w.devices {
			v := views[d][m.in]
			n := v.rows[m.id]
			switch {
			case n > 1:
				w.t.Errorf("seed %d: %s shows message %d %d times", w.seed, d.name, m.number, n)
			case n == 1 && d != m.by && !w.stranger[m.id][d.name]:
				w.t.Errorf("seed %d: %s reads message %d, which was not for it", w.seed, d.name, m.number)
			case n == 0 && !d.showed(m.id) && accepted && d != m.by && w.owed(m, d) && !v.healed && !d.left[m.in] && !d.everBlocked && w.stayed(d, m.in):
				w.t.Errorf("seed %d: %s lacks message %d of %s in %v", w.seed, d.name, m.number, m.by.name, m.in)
			}
		}
	}
	for _, d := range w.devices {
		for in, v := range views[d] {
			last := make(map[*device]int)
			for _, id := range v.order {
				m := byID[id]
				if m == nil || m.by.restored || v.healed {
					continue
				}
				if m.number < last[m.by] {
					w.t.Errorf("seed %d: %s shows message %d of %s after %d in %v", w.seed, d.name, m.number, m.by.name, last[m.by], in)
				}
				last[m.by] = m.number
			}
		}
	}
	w.checkAgreement()
}

// owed says whether a device was a member as a message was sealed that was accepted:
// the last time, unless the sender was restored, and sealed again what the relay had
// accepted before.
func (w *world) owed(m *sentMessage, d *device) bool {
	seals := w.rosters[m.id]
	if len(seals) > 0 && !m.by.restored {
		seals = seals[len(seals)-1:]
	}
	return len(seals) > 0 && !slices.ContainsFunc(seals, func(roster []identity.Username) bool { return !slices.Contains(roster, d.name) })
}

// forgot says whether a restored device is out of a conversation, and does not know it:
// what it says, and what it makes of it, counts for nobody.
func (w *world) forgot(d *device, in ConversationID) bool {
	return d.restored && !w.counted(d, in) && slices.ContainsFunc(w.devices, func(other *device) bool { return other != d && w.follows(other, in) })
}

// stayed says whether a device is in a conversation at the end: who was removed may
// have been before it could fetch everything.
func (w *world) stayed(d *device, in ConversationID) bool {
	v, err := d.client.Conversation(context.Background(), in)
	return err == nil && v.State == Active
}

// checkAgreement: those who are in a conversation are in the same group and epoch,
// with the same members.
func (w *world) checkAgreement() {
	for _, in := range w.all {
		seen := make(map[string][]string)
		for _, d := range w.devices {
			if !w.stayed(d, in) || w.forgot(d, in) {
				continue
			}
			v, err := d.client.findConversation(context.Background(), d.client.store.reader, in)
			w.must(err)
			g, err := currentGroup(context.Background(), d.client.store.reader, v.id)
			w.must(err)
			if g == nil {
				continue
			}
			members, err := listMembers(context.Background(), d.client.store.reader, g.id)
			w.must(err)
			state := fmt.Sprintf("%x epoch %d of %v", g.groupID[:4], g.epoch, names(members))
			seen[state] = append(seen[state], string(d.name))
		}
		if len(seen) > 1 {
			w.t.Errorf("seed %d: they disagree about %v: %v", w.seed, in, seen)
		}
	}
}
