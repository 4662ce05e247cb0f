package cli

import (
	"context"
	"errors"

	"sealpost/identity"
	"sealpost/messenger"
)

// safety shows the number to compare, of the person spoken with or another one.
func (c *chat) safety(argument string) error {
	var name identity.Username
	switch {
	case argument != "":
		var err error
		if name, err = parseUser(argument); err != nil {
			return err
		}
	case c.to == nil:
		return errNobody
	case c.to.Kind == messenger.Group:
		return chatUsage("/safety NAME: a group has a number with each member")
	default:
		name = c.to.With
	}
	contact, err := c.identify(name)
	if err != nil {
		return err
	}
	if contact.NewKey != nil {
		return c.print("The key of %s changed. The number of the new one:\n%s\nIf they read out the same, type /accept.", name, safetyLines(c.SafetyNumberOf(*contact.NewKey)))
	}
	return c.print("%s (%s):\n%s\nIf %s reads out the same, quit and type: sealpost verify %s",
		name, trustOf(contact), safetyLines(c.SafetyNumberOf(contact.AccountKey)), name, name)
}

// accept accepts a request, or the changed key of who is spoken with.
func (c *chat) accept(argument string) error {
	if argument == "" || argument == "yes" {
		if c.to == nil {
			return errNobody
		}
		return c.acceptKey(argument == "yes")
	}
	t, err := parseTarget(argument)
	if err != nil {
		return err
	}
	said, err := accept(c.session, t, c.options)
	if err != nil {
		return err
	}
	if c.to != nil { // what is being typed must not go to somebody else
		return c.print("%s /to %s writes to them.", said, argument)
	}
	if err := c.print("%s", said); err != nil {
		return err
	}
	return c.choose(argument)
}

// acceptKey shows the changed key first, and accepts only what it showed.
func (c *chat) acceptKey(confirmed bool) error {
	contact, err := c.changedHere()
	if err != nil {
		return err
	}
	name := contact.Username
	if key, shown := c.offered[name]; confirmed && shown {
		delete(c.offered, name)
		ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
		defer cancel()
		if err := c.AcceptKey(ctx, name, key); err != nil {
			return err
		}
		if err := c.print("The new key of %s is accepted. Write again what was not sent.", name); err != nil {
			return err
		}
		return c.showUnread()
	}
	if contact.NewKey == nil {
		return c.print("The key of %s did not change. /accept NAME accepts a request.", title(*c.to))
	}
	c.offered[name] = *contact.NewKey
	return c.print("The number of the new key of %s:\n%s\nAsk them to read theirs out. If it is the same, type /accept yes.", name, safetyLines(c.SafetyNumberOf(*contact.NewKey)))
}

// changedHere returns who, of those spoken with, has another key.
func (c *chat) changedHere() (messenger.Contact, error) {
	if c.to.Kind == messenger.Direct {
		return c.identify(c.to.With)
	}
	members, err := c.Members(c.ctx, c.to.ID)
	if err != nil {
		return messenger.Contact{}, err
	}
	for _, m := range members {
		contact, err := c.contact(m.Username)
		if err == nil && contact.NewKey != nil {
			return contact, nil
		}
		if err != nil && !errors.Is(err, messenger.ErrUnknownContact) {
			return contact, err
		}
	}
	return messenger.Contact{}, nil
}

func (c *chat) decline(argument string) error {
	if argument == "" {
		return chatUsage("/decline NAME, or /decline +NAME for a group")
	}
	t, err := parseTarget(argument)
	if err != nil {
		return err
	}
	v, err := t.find(c.ctx, c.Client, messenger.Request)
	if err == nil && v.State != messenger.Request || errors.Is(err, messenger.ErrUnknownConversation) {
		return errNoRequest
	}
	if err == nil {
		err = c.Decline(c.ctx, v.ID)
	}
	if err != nil {
		return err
	}
	return c.print("The request of %s is gone.", title(v))
}

func (c *chat) block(argument string) error {
	if argument == "" {
		return chatUsage("/block NAME")
	}
	name, err := parseUser(argument)
	if err != nil {
		return err
	}
	if err := c.Block(c.ctx, name); err != nil {
		return err
	}
	if c.to != nil && c.to.With == name {
		c.to = nil
	}
	return c.print("%s is blocked: what they send is dropped, and they are not told. Writing to them with /to takes that back.", name)
}
