package messenger

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/identity"
)

const testTimeout = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// person is a client with what a test needs around it.
type person struct {
	*Client
	t       testing.TB
	options Options
	events  <-chan Event
	halt    context.CancelFunc
	ran     chan error
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func newPerson(t testing.TB, relay *fakeRelay, name identity.Username, trust TrustPolicy) *person {
	t.Helper()
	p := &person{t: t, options: Options{Dir: t.TempDir(), Unlock: KeyFile(), Dial: relay.dial}}
	client, err := Create(testContext(t), p.options, NewProfile{Username: name, Server: "relay.test:7443", Fingerprint: relay.id, Trust: trust})
	if err != nil {
		t.Fatalf("creating %s: %v", name, err)
	}
	p.attach(client)
	t.Cleanup(p.stop)
	return p
}

func (p *person) attach(client *Client) {
	p.Client = client
	p.events = client.Subscribe(context.Background())
}

// online runs the client until offline or stop.
func (p *person) online() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.halt, p.ran = cancel, make(chan error, 1)
	go func(ran chan<- error, c *Client) { ran <- c.Run(ctx) }(p.ran, p.Client)
}

func (p *person) offline() {
	p.t.Helper()
	if p.halt == nil {
		return
	}
	p.halt()
	if err := <-p.ran; err != nil {
		p.t.Errorf("running: %v", err)
	}
	p.halt = nil
}

func (p *person) stop() {
	p.t.Helper()
	p.offline()
	if err := p.Close(); err != nil {
		p.t.Errorf("closing: %v", err)
	}
}

// restart closes the profile and opens it again from its files.
func (p *person) restart() {
	p.t.Helper()
	p.stop()
	client, err := Open(testContext(p.t), p.options)
	if err != nil {
		p.t.Fatalf("opening again: %v", err)
	}
	p.attach(client)
}

func (p *person) send(to *person, text string) MessageID {
	p.t.Helper()
	id, err := p.Send(testContext(p.t), to.Self().Username, text)
	if err != nil {
		p.t.Fatalf("sending: %v", err)
	}
	return id
}

func (p *person) await(id MessageID, state State) {
	p.t.Helper()
	if err := p.Wait(testContext(p.t), id, state); err != nil {
		p.t.Fatalf("waiting until %v: %v", state, err)
	}
}

// awaitEvent returns the next event of a type.
func awaitEvent[E Event](p *person) E {
	p.t.Helper()
	timeout := time.NewTimer(testTimeout)
	defer timeout.Stop()
	for {
		select {
		case e, open := <-p.events:
			if wanted, ok := e.(E); ok {
				return wanted
			}
			if !open {
				p.t.Fatal("the events ended")
			}
		case <-timeout.C:
			var none E
			p.t.Fatalf("no %T in time", none)
		}
	}
}

// rows returns a conversation in short: texts, and notices in brackets.
func (p *person) rows(with *person) []string {
	p.t.Helper()
	all, err := p.Messages(testContext(p.t), with.Self().Username, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	var short []string
	for _, m := range all {
		switch m.Kind {
		case KindText:
			short = append(short, m.Text)
		case KindGap:
			short = append(short, "[gap "+string(rune('0'+m.Missing))+"]")
		default:
			short = append(short, "["+m.Kind.String()+"]")
		}
	}
	return short
}

func (p *person) quarantine() []Quarantined {
	p.t.Helper()
	all, err := p.Quarantine(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func (p *person) contact(other *person) Contact {
	p.t.Helper()
	all, err := p.Contacts(testContext(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, k := range all {
		if k.Username == other.Self().Username {
			return k
		}
	}
	p.t.Fatalf("%s is no contact", other.Self().Username)
	return Contact{}
}

// seals returns a sealer that writes as this person, for forging what only a
// person with these keys could.
func (p *person) seals() *hpkeSealer { return p.sealer.(*hpkeSealer) }

func (p *person) record() identity.DeviceRecord { return p.self.record }

func wantError[E error](t testing.TB, err error) E {
	t.Helper()
	var target E
	if !errors.As(err, &target) {
		t.Fatalf("got %v, want a %T", err, target)
	}
	return target
}

// secondDevice adds another device to the account, as linking will.
func (p *person) secondDevice(relay *fakeRelay) party {
	p.t.Helper()
	var seed []byte
	if err := p.store.reader.QueryRow("SELECT account_seed FROM profile").Scan(&seed); err != nil {
		p.t.Fatal(err)
	}
	account, err := identity.AccountKeyFromSeed(seed)
	if err != nil {
		p.t.Fatal(err)
	}
	s := newParty(p.t, p.Self().Username)
	certificate := identity.IssueCertificate(account, p.Self().Username, s.deviceKey.Public(), identity.NewDeviceID(), testTime)
	record, err := identity.SignDeviceRecord(s.deviceKey, certificate, s.record.MessageKey, "age1pq1test")
	if err != nil {
		p.t.Fatal(err)
	}
	s.certificate, s.record, s.account = certificate, record, account
	relay.set(func() { relay.add(record) })
	return s
}
