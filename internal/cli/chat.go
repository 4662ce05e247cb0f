package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

const (
	settleScript = 10 * time.Second // how long the end of a script's input waits for the server
	settlePerson = 2 * time.Second
)

// A chat is a conversation line by line. One goroutine owns it: run.
type chat struct {
	*session
	lines   *terminal.Lines
	events  <-chan messenger.Event
	options []messenger.SendOption

	to      identity.Username // whom lines go to; empty before /to
	offline bool
	failure error                                     // the first one, for a script's exit status
	last    map[identity.Username]sent                // for the mark in the prompt
	open    map[messenger.MessageID]sent              // not yet delivered
	offered map[identity.Username]identity.AccountKey // changed keys that /accept showed
}

// sent is what the chat remembers of a message that it sent.
type sent struct {
	id     messenger.MessageID
	to     identity.Username
	text   string
	state  messenger.State
	reason string
}

func newChat(s *session, lines *terminal.Lines, events <-chan messenger.Event, options []messenger.SendOption) *chat {
	return &chat{
		session: s, lines: lines, events: events, options: options,
		last:    map[identity.Username]sent{},
		open:    map[messenger.MessageID]sent{},
		offered: map[identity.Username]identity.AccountKey{},
	}
}

// errQuit ends the loop at the person's wish.
var errQuit = errors.New("quit")

func (c *chat) run() error {
	self := c.Self()
	err := c.print("You are %s on %s. /help says what to type.", self.Username, self.Server)
	if err == nil {
		err = c.showUnread()
	}
	for err == nil {
		if err = c.lines.SetPrompt(c.prompt()); err != nil {
			break
		}
		select {
		case <-c.ctx.Done():
			err = c.ctx.Err()
		case event := <-c.events:
			err = c.handle(event)
		case in := <-c.lines.Inputs():
			err = c.input(in)
		}
	}
	return c.finish(err)
}

// finish says what did not go out, and what went wrong.
func (c *chat) finish(err error) error {
	if cause := c.cause(err); !errors.Is(cause, errQuit) && !errors.Is(cause, context.Canceled) {
		return cause
	}
	timeout := settleScript
	if c.lines.Interactive() {
		timeout = settlePerson
	}
	if err := c.settle(timeout); err != nil {
		return c.cause(err)
	}
	waiting := c.waiting()
	err = fmt.Errorf("%d %s not with the server yet", waiting, plural(waiting, "message is", "messages are"))
	switch {
	case c.lines.Interactive() && waiting > 0:
		return c.print("%v: kept here, and sent when sealpost runs again.", err)
	case c.lines.Interactive(): // the person saw what went wrong
		return nil
	case waiting == 0 || c.failure != nil:
		return c.failure
	}
	return &userError{status: exitUnavailable, code: "QUEUED", err: err, hint: "kept on this device, and sent the next time that sealpost runs"}
}

// settle waits until the server has everything, or for so long.
func (c *chat) settle(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	for c.waiting() > 0 {
		select {
		case <-ctx.Done():
			return nil
		case event := <-c.events:
			if err := c.handle(event); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *chat) waiting() int {
	n := 0
	for _, message := range c.open {
		if message.state == messenger.Queued {
			n++
		}
	}
	return n
}

// prompt names whom one writes to, and how far the last message to them came.
func (c *chat) prompt() string {
	if c.to == "" {
		return "> "
	}
	if last, ok := c.last[c.to]; ok {
		return string(c.to) + " " + mark(last.state) + "> "
	}
	return string(c.to) + "> "
}

// print shows a line of the program's own, of harmless words.
func (c *chat) print(format string, args ...any) error {
	return c.lines.Print(terminal.PrintableText(fmt.Sprintf(format, args...)), 2)
}

// complain shows an error and keeps the first for the exit status.
func (c *chat) complain(err error) error {
	if err = c.cause(err); c.ctx.Err() != nil {
		return err
	}
	told := explain(err)
	if c.failure == nil {
		c.failure = told
	}
	text := "! " + terminal.Printable(told.Error())
	if told.hint != "" {
		text += "\n  " + told.hint
	}
	return c.print("%s", text)
}

// input does what a line says.
func (c *chat) input(in terminal.Input) error {
	switch {
	case errors.Is(in.Err, io.EOF), errors.Is(in.Err, terminal.ErrInterrupted):
		return errQuit
	case errors.Is(in.Err, terminal.ErrLineTooLong):
		return c.complain(in.Err)
	case in.Err != nil:
		return fmt.Errorf("reading a line: %w", in.Err)
	}
	text := strings.TrimRight(in.Text, "\r\n")
	switch {
	case strings.TrimSpace(text) == "":
		return nil
	case strings.HasPrefix(text, "//"):
		return c.send(text[1:])
	case strings.HasPrefix(text, "/"):
		name, argument, _ := strings.Cut(text[1:], " ")
		return c.command(name, strings.TrimSpace(argument))
	}
	return c.send(text)
}

func (c *chat) send(text string) error {
	if c.to == "" {
		return c.complain(&userError{status: exitUsage, code: "NO_RECIPIENT", err: errors.New("not sent: nobody is chosen"), hint: "/to NAME says whom to write to"})
	}
	ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
	defer cancel()
	id, err := c.Send(ctx, c.to, text, c.options...)
	if err != nil {
		return c.complain(fmt.Errorf("not sent to %s: %w", c.to, err))
	}
	message := sent{id: id, to: c.to, text: text, state: messenger.Queued}
	c.last[c.to], c.open[id] = message, message
	if !c.lines.Interactive() {
		return nil
	}
	return c.show(messenger.Message{Kind: messenger.KindText, Outgoing: true, With: c.to, Text: text, Time: time.Now()})
}

// show prints a row.
func (c *chat) show(m messenger.Message) error {
	return c.lines.Print(messageLines(m, time.Now()), messageIndent)
}

// handle shows what happened.
func (c *chat) handle(event messenger.Event) error {
	switch event := event.(type) {
	case messenger.MessageReceived, messenger.KeyChanged:
		return c.showUnread()
	case messenger.StateChanged:
		return c.stateChanged(event)
	case messenger.ConnectionChanged:
		return c.connectionChanged(event)
	case messenger.EnvelopeQuarantined:
		return c.print("-- something arrived that is not shown: %s --", terminal.Printable(event.Quarantined.Reason))
	case messenger.Lagged:
		return c.catchUp()
	case nil: // the client was closed
		<-c.done
		return c.cause(context.Canceled)
	}
	return nil
}

func (c *chat) showUnread() error {
	return showUnread(c.ctx, c.Client, c.show)
}

func (c *chat) stateChanged(event messenger.StateChanged) error {
	message, ok := c.open[event.ID]
	if !ok || (message.state == event.State && message.reason == event.Reason) {
		return nil
	}
	message.state, message.reason = event.State, event.Reason
	c.open[event.ID] = message
	if event.State == messenger.Delivered || event.State == messenger.Failed {
		delete(c.open, event.ID)
	}
	if last := c.last[message.to]; last.id == message.id {
		c.last[message.to] = message
	}
	return c.showState(message)
}

// showState tells what the mark in the prompt does not.
func (c *chat) showState(message sent) error {
	beginning := terminal.Truncate(terminal.Printable(message.text), 40)
	switch {
	case message.state == messenger.Failed:
		return c.complain(fmt.Errorf("not sent to %s (%s): %w", message.to, beginning,
			&messenger.FailedError{ID: message.id, Reason: message.reason}))
	case message.reason != "":
		return c.print("-- waiting to be sent to %s: %s --", message.to, terminal.Printable(message.reason))
	case !c.lines.Interactive():
		return c.lines.Print(fmt.Sprintf("%s %s: %s", mark(message.state), message.to, beginning), 0)
	}
	return nil
}

func (c *chat) connectionChanged(event messenger.ConnectionChanged) error {
	if event.Online != c.offline {
		return nil
	}
	c.offline = !event.Online
	if event.Online {
		return c.print("-- online again --")
	}
	return c.print("-- offline: %s. What you write is kept, and sent as soon as the server is back. --", terminal.Printable(fmt.Sprint(event.Err)))
}

// catchUp reads what the events that were left out would have told.
func (c *chat) catchUp() error {
	for _, message := range c.open {
		rows, err := c.Messages(c.ctx, message.to, 0)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Kind == messenger.KindText && row.ID == message.id && row.State != message.state {
				if err := c.stateChanged(messenger.StateChanged{ID: row.ID, With: row.With, State: row.State, Reason: row.Reason}); err != nil {
					return err
				}
			}
		}
	}
	return c.showUnread()
}

// showUnread shows what came in and was not shown, and marks it as read once
// show has succeeded for all of it.
func showUnread(ctx context.Context, client *messenger.Client, show func(messenger.Message) error) error {
	messages, err := client.Unread(ctx)
	if err != nil {
		return fmt.Errorf("reading new messages: %w", err)
	}
	rows := make([]messenger.RowID, 0, len(messages))
	for _, message := range messages {
		if err := show(message); err != nil {
			return fmt.Errorf("showing a message: %w", err)
		}
		rows = append(rows, message.Row)
	}
	if len(rows) == 0 {
		return nil
	}
	if err := client.MarkRead(ctx, rows...); err != nil {
		return fmt.Errorf("marking messages as read: %w", err)
	}
	return nil
}
