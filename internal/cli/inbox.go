package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type inboxCommand struct {
	profileFlags
	Follow bool `help:"Go on, and print messages as they come, until Ctrl-C."`
	JSON   bool `name:"json" help:"Print each message as a line of JSON."`
}

// Help is shown by inbox --help.
func (*inboxCommand) Help() string {
	return `Prints, oldest first, what came in and was not shown before, here or in the chat. A message counts as shown once it is written out: where that breaks off, it comes again the next time.

With --json a line holds: kind ("text", "gap", "key-changed", "key-accepted"), from, received, and by kind id, text and time (as the sender says); missing (how many messages have not arrived); key. Times are RFC 3339 in UTC. More fields may come.`
}

// inboxLine is a line of inbox --json.
type inboxLine struct {
	Kind     string               `json:"kind"`
	From     string               `json:"from"`
	ID       *messenger.MessageID `json:"id,omitempty"`
	Text     string               `json:"text,omitempty"`
	Time     *time.Time           `json:"time,omitempty"`
	Received time.Time            `json:"received"`
	Missing  uint64               `json:"missing,omitempty"`
	Key      string               `json:"key,omitempty"`
}

func newInboxLine(m messenger.Message) inboxLine {
	line := inboxLine{Kind: m.Kind.String(), From: string(m.With), Received: m.Stored, Missing: m.Missing}
	switch m.Kind {
	case messenger.KindText:
		line.ID, line.Text, line.Time = &m.ID, m.Text, &m.Time
	case messenger.KindKeyChanged, messenger.KindKeyAccepted:
		line.Key = m.Text
	}
	return line
}

// Run prints what came in.
func (c *inboxCommand) Run(env *environment) (err error) {
	client, err := c.open(env, terminal.NewConsole(env.stdin, env.stderr))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(env.ctx)
	defer cancel()
	events := client.Subscribe(ctx)
	s := start(ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	if err := c.print(s, env.stdout); err != nil {
		return err
	}
	if c.Follow {
		return c.follow(s, events, env.stdout)
	}
	return c.fetch(s, events, env.stdout)
}

// print writes out what is unread.
func (c *inboxCommand) print(s *session, out io.Writer) error {
	return s.cause(showUnread(s.ctx, s.Client, func(message messenger.Message) error { return c.printMessage(out, message) }))
}

func (c *inboxCommand) printMessage(out io.Writer, message messenger.Message) error {
	if c.JSON {
		return printJSON(out, newInboxLine(message))
	}
	text := messageLines(message, time.Now())
	if columns := terminal.Columns(out); columns > 0 {
		text = terminal.Wrap(text, columns, messageIndent)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// follow prints until somebody ends it.
func (c *inboxCommand) follow(s *session, events <-chan messenger.Event, out io.Writer) error {
	for {
		select {
		case <-s.ctx.Done():
			return ended(s)
		case event := <-events:
			if err := c.react(s, event, out); err != nil {
				return err
			}
		}
	}
}

// ended is nil where a person ended it.
func ended(s *session) error {
	if cause := context.Cause(s.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// fetch prints what the server holds and returns. It takes events fast, so that
// none is left out, and prints at the end.
func (c *inboxCommand) fetch(s *session, events <-chan messenger.Event, out io.Writer) error {
	silence := time.NewTimer(networkTimeout)
	defer silence.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return ended(s)
		case <-silence.C:
			return errors.Join(c.print(s, out), fmt.Errorf("asking for new messages: %w", messenger.ErrServerUnavailable))
		case event := <-events:
			silence.Reset(networkTimeout)
			switch event := event.(type) {
			case messenger.CaughtUp:
				return c.print(s, out)
			case messenger.ConnectionChanged:
				if event.Err != nil {
					return c.broken(s, event.Err, out)
				}
			case nil: // the client was closed
				<-s.done
				return ended(s)
			}
		}
	}
}

// broken prints what came in before the line broke.
func (c *inboxCommand) broken(s *session, why error, out io.Writer) error {
	printed := c.print(s, out)
	if printed != nil && errors.Is(why, printed) {
		printed = nil // the session ended for the very reason
	}
	return errors.Join(printed, fmt.Errorf("asking for new messages: %w", why))
}

func (c *inboxCommand) react(s *session, event messenger.Event, out io.Writer) error {
	switch event.(type) {
	case messenger.MessageReceived, messenger.KeyChanged, messenger.Lagged:
		return c.print(s, out)
	case nil:
		<-s.done
		return ended(s)
	}
	return nil
}
