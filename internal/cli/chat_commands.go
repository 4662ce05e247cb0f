package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sealpost/identity"
	"sealpost/messenger"
)

const (
	historyRows = 20
	chatHelp    = `/to NAME   whom to write to
/who       your contacts
/history   the last messages
/safety    the number to compare
/accept    their changed key
/quit      leave; also Ctrl-D
A line that begins with // goes out with one /.
The mark before > is that of your last message: … waits on this device, ✓ sent to the relay, ✓✓ delivered to their device, ✗ not sent.`
)

func (c *chat) command(name, argument string) error {
	switch name {
	case "help":
		return c.print(chatHelp)
	case "to":
		return c.choose(argument)
	case "who":
		return c.who()
	case "history":
		return c.withRecipient(c.history)
	case "safety":
		return c.withRecipient(c.safety)
	case "accept":
		return c.withRecipient(func() error { return c.accept(argument == "yes") })
	case "quit":
		return errQuit
	}
	return c.complain(&userError{status: exitUsage, code: "NO_COMMAND", err: errors.New("not a command: /" + name), hint: "/help lists them; begin with // to write a line that begins with /"})
}

// withRecipient does what needs to know with whom one speaks. What goes wrong
// is told and does not end the chat.
func (c *chat) withRecipient(do func() error) error {
	err := error(&userError{status: exitUsage, code: "NO_RECIPIENT", err: errors.New("nobody is chosen"), hint: "/to NAME says who"})
	if c.to != "" {
		err = do()
	}
	if err != nil {
		return c.complain(err)
	}
	return nil
}

func (c *chat) identify(name identity.Username) (messenger.Contact, error) {
	ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
	defer cancel()
	return c.Identify(ctx, name)
}

func (c *chat) choose(address string) error {
	name, err := identity.ParseAddress(address)
	var contact messenger.Contact
	if err == nil {
		contact, err = c.identify(name)
	}
	if err != nil {
		return c.complain(err)
	}
	c.to = name
	switch {
	case contact.NewKey != nil:
		return c.print("!! THE KEY OF %s CHANGED: nothing is sent to them until you /accept it.", name)
	case contact.Verified:
		return c.print("You write to %s (verified).", name)
	}
	return c.print("You write to %s. Not verified yet: /safety shows the number to compare.", name)
}

func (c *chat) who() error {
	contacts, err := c.Contacts(c.ctx)
	if err != nil {
		return c.complain(err)
	}
	self, online := c.Self(), "online"
	if c.offline {
		online = "offline"
	}
	lines := []string{fmt.Sprintf("%s (you, %s)", self.Username, online)}
	for _, contact := range contacts {
		lines = append(lines, fmt.Sprintf("%s (%s)", contact.Username, trustOf(contact)))
	}
	if len(contacts) == 0 {
		lines = append(lines, "no contacts yet: /to NAME")
	}
	return c.print("%s", strings.Join(lines, "\n"))
}

// trustOf says in words what is known of a contact's key.
func trustOf(contact messenger.Contact) string {
	switch {
	case contact.NewKey != nil:
		return "KEY CHANGED"
	case contact.Verified:
		return "verified"
	}
	return "not verified"
}

func (c *chat) history() error {
	messages, err := c.Messages(c.ctx, c.to, historyRows)
	if err != nil {
		return err
	}
	if len(messages) == 0 {
		return c.print("Nothing was written yet.")
	}
	for _, message := range messages {
		if err := c.show(message); err != nil {
			return err
		}
	}
	return nil
}

func (c *chat) safety() error {
	contact, err := c.identify(c.to)
	if err != nil {
		return err
	}
	if contact.NewKey != nil {
		return c.print("The key of %s changed. The number of the new one:\n%s\nIf they read out the same, type /accept.", c.to, safetyLines(c.SafetyNumberOf(*contact.NewKey)))
	}
	return c.print("%s (%s):\n%s\nIf %s reads out the same, quit and type: sealpost verify %s",
		c.to, trustOf(contact), safetyLines(c.SafetyNumberOf(contact.AccountKey)), c.to, c.to)
}

// accept shows the changed key first, and accepts only what it showed.
func (c *chat) accept(confirmed bool) error {
	if key, shown := c.offered[c.to]; confirmed && shown {
		delete(c.offered, c.to)
		ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
		defer cancel()
		if err := c.AcceptKey(ctx, c.to, key); err != nil {
			return err
		}
		if err := c.print("The new key of %s is accepted. Write again what was not sent.", c.to); err != nil {
			return err
		}
		return c.showUnread()
	}
	contact, err := c.identify(c.to)
	if err != nil {
		return err
	}
	if contact.NewKey == nil {
		return c.print("The key of %s did not change.", c.to)
	}
	c.offered[c.to] = *contact.NewKey
	return c.print("The number of the new key of %s:\n%s\nAsk them to read theirs out. If it is the same, type /accept yes.", c.to, safetyLines(c.SafetyNumberOf(*contact.NewKey)))
}
