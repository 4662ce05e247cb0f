package relay_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

var tortureRounds = flag.Int("torture.rounds", 20, "how often each test kills the relay; with -short at most 5 times")

func killRounds() int {
	if testing.Short() {
		return min(*tortureRounds, 5)
	}
	return *tortureRounds
}

// killDelay is how long a relay lives, from before it has answered to well under
// load.
func killDelay() time.Duration { return time.Duration(5+rand.IntN(150)) * time.Millisecond }

// tortureDir names the environment variable that makes the test binary a relay.
const tortureDir = "SEALPOST_TEST_RELAY_DIR"

// tortureChild serves on a directory until it is killed, and prints its address.
func tortureChild(dir string) {
	fatal := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	store, err := sqlite.Open(dir)
	if err != nil {
		fatal(err)
	}
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		fatal(err)
	}
	limits := relay.DefaultLimits()
	limits.MailboxRows = 1 << 20
	server, err := relay.New(relay.Config{Store: store, Certificate: certificate, Limits: limits, Clock: newClock().Now})
	if err != nil {
		fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fatal(err)
	}
	fmt.Println(listener.Addr())
	fatal(server.Serve(listener))
}

// startChild starts the test binary as a relay.
func startChild(t *testing.T, dir string) (address string, kill func()) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), tortureDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		child.Process.Kill() // SIGKILL
		child.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		kill()
		t.Fatalf("the child did not start: %v", err)
	}
	return strings.TrimSpace(line), kill
}

// TestKilledRelayLosesAndRepeatsNothing kills the relay at random moments under
// load. What it accepted must be delivered once; the sender repeats the rest, with
// the same ids, and all of it must be delivered once too.
func TestKilledRelayLosesAndRepeatsNothing(t *testing.T) {
	dir, rounds := t.TempDir(), killRounds()
	r := startRelay(t, dir, nil) // registers, and tells the server id
	senders := []*device{r.registered("alice"), r.registered("bob"), r.registered("carol")}
	receiver := r.registered("dave")
	r.stop()
	load := make([]*tortureLoad, len(senders))
	for i, d := range senders {
		load[i] = &tortureLoad{device: d, to: receiver, name: fmt.Sprint("sender ", i)}
	}
	inbox := &tortureInbox{device: receiver, got: make(map[string]uint64)}
	for round := range rounds {
		address, kill := startChild(t, dir)
		r.address = address
		receiver.dial(r)
		inbox.last = 0
		var group errgroup.Group
		for _, l := range load {
			l.device.dial(r)
			group.Go(l.run)
		}
		group.Go(inbox.run)
		timer := time.AfterFunc(killDelay(), kill)
		if err := group.Wait(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		timer.Stop()
		kill()
		checkIntegrity(t, dir)
		if t.Failed() {
			return
		}
	}
	r = startRelay(t, dir, func(c *relay.Config) { c.Limits.MailboxRows = 1 << 20 })
	inbox.last = 0
	accepted := 0
	for _, l := range load {
		l.device.dial(r)
		line := l.device.connect()
		for _, s := range l.unanswered {
			line.accepted(s)
			l.accepted = append(l.accepted, string(s.Payload))
		}
		accepted += len(l.accepted)
	}
	receiver.dial(r)
	receiver.mailbox(senders[0], func(e *api.Envelope) {
		if err := inbox.take(e); err != nil {
			t.Fatal(err)
		}
	})
	if len(inbox.got) != accepted {
		t.Fatalf("%d messages arrived, %d were accepted", len(inbox.got), accepted)
	}
	for _, l := range load {
		for _, payload := range l.accepted {
			if inbox.got[payload] == 0 {
				t.Fatalf("%q was accepted and is gone", payload)
			}
		}
	}
	t.Logf("%d messages accepted and delivered over %d kills", accepted, rounds)
}

// A tortureLoad submits until the relay dies, and keeps what was not answered.
type tortureLoad struct {
	device     *device
	to         *device
	name       string
	sent       int
	accepted   []string
	unanswered []*api.Submit // in the order of the first submit
}

func (l *tortureLoad) run() error {
	const window = 50
	line, err := l.device.tryConnect()
	if err != nil {
		return whenKilled(err)
	}
	for _, s := range l.unanswered {
		if err := line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}); err != nil {
			return whenKilled(err)
		}
	}
	for {
		for len(l.unanswered) < window {
			s := submit(fmt.Sprint(l.name, " message ", l.sent), l.to)
			l.sent++
			l.unanswered = append(l.unanswered, s)
			if err := line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Submit{Submit: s}}); err != nil {
				return whenKilled(err)
			}
		}
		frame, err := line.Recv()
		if err != nil {
			return whenKilled(err)
		}
		if !bytes.Equal(frame.GetAccepted().GetId(), l.unanswered[0].Id) {
			return fmt.Errorf("%s got %v out of turn", l.name, frame)
		}
		l.accepted = append(l.accepted, string(l.unanswered[0].Payload))
		l.unanswered = l.unanswered[1:]
	}
}

// A tortureInbox receives and acknowledges until the relay dies. A client knows
// an envelope again by its sequence number, since an acknowledgement can be lost;
// the same payload under two numbers is a repeat that no client could know.
type tortureInbox struct {
	device *device
	got    map[string]uint64 // payload to sequence
	last   uint64
	check  func(*api.Envelope) error // nil: nothing more
}

func (i *tortureInbox) run() error {
	line, err := i.device.tryConnect()
	if err != nil {
		return whenKilled(err)
	}
	for n := 0; ; n++ {
		frame, err := line.Recv()
		if err != nil {
			return whenKilled(err)
		}
		if err := i.take(frame.GetEnvelope()); err != nil {
			return err
		}
		if n%20 == 0 {
			err := line.Send(&api.ClientFrame{Frame: &api.ClientFrame_Ack{Ack: &api.Ack{Sequence: frame.GetEnvelope().GetSequence()}}})
			if err != nil {
				return whenKilled(err)
			}
		}
	}
}

func (i *tortureInbox) take(e *api.Envelope) error {
	payload, sequence := string(e.GetPayload()), e.GetSequence()
	if i.check != nil {
		if err := i.check(e); err != nil {
			return err
		}
	}
	if sequence <= i.last {
		return fmt.Errorf("sequence %d after %d", sequence, i.last)
	}
	i.last = sequence
	if before := i.got[payload]; before != 0 && before != sequence {
		return fmt.Errorf("%q stands at %d and at %d", payload, before, sequence)
	}
	i.got[payload] = sequence
	return nil
}

// whenKilled accepts the errors that a killed relay leaves behind.
func whenKilled(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unknown: // Unknown: io.EOF of Send
		return nil
	default:
		return err
	}
}

func checkIntegrity(t *testing.T, dir string) {
	t.Helper()
	c, err := sqlite3.Open("file:" + dir + "/" + sqlite.FileName)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, check := range []struct{ query, want string }{
		{`PRAGMA integrity_check`, "ok"}, {`SELECT count(*) FROM pragma_foreign_key_check`, "0"},
	} {
		stmt, _, err := c.Prepare(check.query)
		if err != nil {
			t.Fatal(err)
		}
		if !stmt.Step() || stmt.ColumnText(0) != check.want {
			t.Errorf("%s: %s, %v", check.query, stmt.ColumnText(0), stmt.Err())
		}
		stmt.Close()
	}
}
