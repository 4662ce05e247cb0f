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
	// receiptsPerson is how long a person who quits waits for receipts to go out.
	receiptsPerson = 500 * time.Millisecond
)

// A chat is conversations line by line, one of which lines go to. One goroutine
// owns it: run.
type chat struct {
	*session
	lines   *terminal.Lines
	options []messenger.ContactOption

	to       *messenger.Conversation // where lines go to; nil before /to
	offline  bool
	failure  error                                     // the first one, for a script's exit status
	last     map[messenger.ConversationID]sent         // for the mark in the prompt
	open     map[messenger.MessageID]sent              // what others have not read yet
	offered  map[identity.Username]identity.AccountKey // changed keys that /accept showed
	numbered []messenger.MessageID                     // what the numbers of the last /history stand for
	seen     shownMessages                             // what is on the screen
}

// sent is what the chat remembers of a message that it sent.
type sent struct {
	id     messenger.MessageID
	to     messenger.ConversationID
	text   string
	state  messenger.State
	reason string
}

func newChat(s *session, lines *terminal.Lines, options []messenger.ContactOption) *chat {
	return &chat{
		session: s, lines: lines, options: options,
		last:    map[messenger.ConversationID]sent{},
		open:    map[messenger.MessageID]sent{},
		offered: map[identity.Username]identity.AccountKey{},
		seen:    shownMessages{},
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
	if err == nil {
		err = c.showRequests("")
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
	timeout, receipts := settleScript, receiptTime
	if c.lines.Interactive() {
		timeout, receipts = settlePerson, receiptsPerson
	}
	if err := c.settle(timeout, receipts); err != nil {
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
func (c *chat) settle(timeout, receipts time.Duration) error {
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
	if c.offline || c.ctx.Err() != nil {
		return nil
	}
	return c.flush(receipts)
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

// prompt names where lines go to, and how far the last message there came.
func (c *chat) prompt() string {
	if c.to == nil {
		return "> "
	}
	if c.to.State == messenger.Closed {
		return title(*c.to) + " (closed)> "
	}
	if last, ok := c.last[c.to.ID]; ok {
		return title(*c.to) + " " + mark(last.state) + "> "
	}
	return title(*c.to) + "> "
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
	text, hint := "! "+terminal.Printable(told.Error()), told.hint
	if here, ok := chatHints[told.code]; ok {
		hint = here
	}
	if hint != "" {
		text += "\n  " + hint
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

// send writes to the conversation that is chosen.
func (c *chat) send(text string, options ...messenger.SendOption) error {
	if c.to == nil {
		return c.complain(&userError{status: exitUsage, code: "NO_RECIPIENT", err: errors.New("not sent: nobody is chosen"), hint: "/to NAME says whom to write to"})
	}
	if err := c.begin(); err != nil {
		return c.complain(fmt.Errorf("not sent to %s: %w", title(*c.to), err))
	}
	id, err := c.Send(c.ctx, c.to.ID, text, options...)
	if err != nil {
		return c.complain(fmt.Errorf("not sent to %s: %w", title(*c.to), err))
	}
	message := sent{id: id, to: c.to.ID, text: text, state: messenger.Queued}
	c.last[c.to.ID], c.open[id] = message, message
	row, err := c.Message(c.ctx, id)
	if err != nil {
		return c.complain(err)
	}
	rows, err := rowsOf(c.ctx, c.Client, []messenger.Message{row})
	if err != nil {
		return c.complain(err)
	}
	c.seen.remember(row)
	if !c.lines.Interactive() {
		return nil
	}
	rows[0].State = 0 // the prompt shows it
	return c.lines.Print(messageLines(rows[0], time.Now()), messageIndent)
}

// begin makes the conversation with a person whose changed key kept it from being
// made when they were chosen.
func (c *chat) begin() error {
	if c.to.State != 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
	defer cancel()
	v, err := c.Direct(ctx, c.to.With, c.options...)
	if err == nil {
		c.to = &v
	}
	return err
}

// handle shows what happened.
func (c *chat) handle(event messenger.Event) error {
	switch event := event.(type) {
	case messenger.MessageReceived, messenger.KeyChanged:
		return c.showUnread()
	case messenger.MessageChanged:
		return c.showChange(event)
	case messenger.RequestReceived:
		return c.showRequest(event.Conversation)
	case messenger.ConversationChanged:
		if c.to != nil && event.Conversation.ID == c.to.ID {
			c.to = &event.Conversation
		}
	case messenger.StateChanged:
		return c.stateChanged(event)
	case messenger.ConnectionChanged:
		return c.connectionChanged(event)
	case messenger.EnvelopeQuarantined:
		return c.print("-- something arrived that is not shown: %s --", terminal.Printable(event.Quarantined.Reason))
	case messenger.Lagged:
		return c.catchUpEvents()
	case nil: // the client was closed
		<-c.done
		return c.cause(context.Canceled)
	}
	return nil
}

func (c *chat) stateChanged(event messenger.StateChanged) error {
	message, ok := c.open[event.ID]
	if !ok && event.State == messenger.Failed { // of an earlier run
		m, err := c.Message(c.ctx, event.ID)
		if errors.Is(err, messenger.ErrUnknownMessage) {
			return nil // it disappeared meanwhile
		}
		if err != nil {
			return err
		}
		message, ok = sent{id: m.ID, to: m.Conversation, text: m.Text, state: messenger.Queued}, true
	}
	if !ok || (message.state == event.State && message.reason == event.Reason) {
		return nil
	}
	message.state, message.reason = event.State, event.Reason
	c.open[event.ID] = message
	if event.State == messenger.Read || event.State == messenger.Failed {
		delete(c.open, event.ID)
	}
	if last := c.last[message.to]; last.id == message.id {
		c.last[message.to] = message
	}
	return c.showState(message)
}

// showState tells what the mark in the prompt does not.
func (c *chat) showState(message sent) error {
	v, err := c.Conversation(c.ctx, message.to)
	if err != nil {
		return err
	}
	beginning := terminal.Truncate(terminal.Printable(message.text), quoteColumns)
	switch {
	case message.state == messenger.Failed:
		return c.complain(fmt.Errorf("not sent to %s (%s): %w", title(v), beginning,
			&messenger.FailedError{ID: message.id, Reason: message.reason}))
	case message.reason != "":
		return c.print("-- waiting to be sent to %s: %s --", title(v), terminal.Printable(message.reason))
	case !c.lines.Interactive():
		return c.lines.Print(fmt.Sprintf("%s %s: %s", mark(message.state), title(v), beginning), 0)
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

// catchUpEvents reads what the events that were left out would have told.
func (c *chat) catchUpEvents() error {
	for id := range c.open {
		message, err := c.Message(c.ctx, id)
		if errors.Is(err, messenger.ErrUnknownMessage) {
			delete(c.open, id) // it disappeared
			continue
		}
		if err != nil {
			return err
		}
		if err := c.stateChanged(messenger.StateChanged{ID: id, Conversation: message.Conversation, State: message.State, Reason: message.Reason}); err != nil {
			return err
		}
	}
	if c.to != nil && c.to.State != 0 {
		v, err := c.Conversation(c.ctx, c.to.ID)
		if err != nil {
			return err
		}
		c.to = &v
	}
	if err := c.showUnread(); err != nil {
		return err
	}
	return c.showRequests("")
}
