package messenger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sealpost/identity"
)

const testTimeout = time.Minute

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

func (p *person) attach(client *Client) {
	client.tuning.receiptDelay, client.tuning.coverDelay, client.tuning.helpDelay = 0, 0, 0
	p.Client = client
	p.events = client.Subscribe(context.Background())
}

func (p *person) name() identity.Username { return p.Self().Username }

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

// testLogger logs into the test's output.
func testLogger(t testing.TB, name identity.Username) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("person", name)
}

// direct returns the conversation with somebody, begun if need be.
func (p *person) direct(with *person) ConversationID {
	p.t.Helper()
	v, err := p.Direct(testContext(p.t), with.name())
	if err != nil {
		p.t.Fatalf("%s meets %s: %v", p.name(), with.name(), err)
	}
	return v.ID
}

// befriend lets two accept each other before anybody writes.
func befriend(a, b *person) {
	a.t.Helper()
	a.direct(b)
	b.direct(a)
}

func (p *person) send(to *person, text string) MessageID {
	p.t.Helper()
	return p.say(p.direct(to), text)
}

func (p *person) say(in ConversationID, text string, options ...SendOption) MessageID {
	p.t.Helper()
	id, err := p.Send(testContext(p.t), in, text, options...)
	if err != nil {
		p.t.Fatalf("%s sends: %v", p.name(), err)
	}
	return id
}

func (p *person) await(id MessageID, state State) {
	p.t.Helper()
	if err := p.Wait(testContext(p.t), id, state); err != nil {
		all, _ := p.readMessages(context.Background(), "WHERE m.message_id = ?", id[:])
		p.t.Fatalf("%s waits until %v: %v; it is %+v", p.name(), state, err, all)
	}
}

// until asks again after everything that is written.
func (p *person) until(what string, done func() bool) {
	p.t.Helper()
	if err := p.Client.await(testContext(p.t), func() (bool, error) { return done(), nil }); err != nil {
		p.t.Fatalf("%s waits until %s: %v", p.name(), what, err)
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
func (p *person) rows(in ConversationID) []string {
	p.t.Helper()
	all, err := p.Messages(testContext(p.t), in, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	var short []string
	for _, m := range all {
		switch m.Kind {
		case KindText:
			short = append(short, m.Text)
		case KindGap:
			short = append(short, fmt.Sprintf("[gap %d]", m.Missing))
		case KindMembers:
			short = append(short, fmt.Sprintf("[%s %s]", m.Sender, m.Text))
		default:
			short = append(short, "["+m.Kind.String()+"]")
		}
	}
	return short
}

// texts returns the texts of a conversation.
func (p *person) texts(in ConversationID) []string {
	p.t.Helper()
	return slices.DeleteFunc(p.rows(in), func(row string) bool { return strings.HasPrefix(row, "[") })
}

// awaitTexts waits until a conversation holds just these texts.
func (p *person) awaitTexts(in ConversationID, want ...string) {
	p.t.Helper()
	p.until(fmt.Sprintf("it has %q", want), func() bool { return slices.Equal(p.texts(in), want) })
}

func wantRows(t testing.TB, p *person, in ConversationID, want ...string) {
	t.Helper()
	if got := p.rows(in); !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", p.name(), got, want)
	}
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
		if k.Username == other.name() {
			return k
		}
	}
	p.t.Fatalf("%s is no contact", other.name())
	return Contact{}
}

func (p *person) conversation(id ConversationID) Conversation {
	p.t.Helper()
	v, err := p.Conversation(testContext(p.t), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *person) members(in ConversationID) string {
	p.t.Helper()
	all, err := p.Members(testContext(p.t), in)
	if err != nil {
		p.t.Fatal(err)
	}
	var names []string
	for _, m := range all {
		name := string(m.Username)
		if m.Admin {
			name += "*"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func wantError[E error](t testing.TB, err error) E {
	t.Helper()
	var target E
	if !errors.As(err, &target) {
		t.Fatalf("got %v, want a %T", err, target)
	}
	return target
}

func numbered(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("text %d", i)
	}
	return texts
}
