package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/messenger"
)

const (
	historyRows = 20
	searchRows  = 20
	// chatHelp fits on a small screen: 39 of 40 columns and 23 rows, the last for the prompt.
	chatHelp = `/to NAME       write to; +NAME: a group
/who           contacts and groups
/requests      who asks for an answer
/accept [NAME] a request; a changed key
/decline NAME  delete a request
/block NAME    drop all that they send
/safety [NAME] the number to compare
/history       the last, numbered N
/search WORDS  here; before /to, in all
/reply N TEXT  answer; N may be last
/react N EMOJI without EMOJI: take back
/edit N TEXT   change one of yours
/unsend N      take one of yours back
/retry         send what failed again
/expire TIME   messages go: 8h, 7d, off
/group NAME USER...  make a group
/members, /add USER, /remove USER,
/rename NAME, /leave: in a group
/quit          leave; also Ctrl-D
//TEXT         sends a line with one /
Your last message: … waits, ✓ sent,
✓✓ delivered, ✓✓ read, ✗ not sent`
)

// chatHints say what to type in the chat where the command line has a command for it.
var chatHints = map[string]string{
	"KEY_CHANGED":          "nothing was sent: ask them whether they set up anew, by another way; /accept shows the number of the new key",
	"NOT_SENT":             "/retry sends it again",
	"UNKNOWN_CONVERSATION": "/who lists your groups; +NAME is a group, NAME a person",
	"NOT_ACCEPTED":         "/who lists the requests; /accept or /decline answers one",
	"NO_REQUEST":           "/who lists those who wait for an answer",
	"NOT_A_GROUP":          "/group NAME USER... makes a group",
	"NOT_ADMIN":            "/members says who is an administrator",
	"NOT_A_MEMBER":         "/members says who is",
	"UNKNOWN_CONTACT":      "/who lists those that you have",
	"UNKNOWN_MESSAGE":      "it may have disappeared; /history shows those that are there",
}

// chatCommands are what can be typed after a /. What goes wrong in one is told and
// does not end the chat.
var chatCommands map[string]func(*chat, string) error

func init() { // the commands mention the table
	chatCommands = map[string]func(*chat, string) error{
		"help":     func(c *chat, _ string) error { return c.print(chatHelp) },
		"quit":     func(*chat, string) error { return errQuit },
		"to":       (*chat).choose,
		"requests": func(c *chat, _ string) error { return c.showRequests("Nobody waits for an answer.") },
		"who":      func(c *chat, _ string) error { return c.who() },
		"history":  inConversation(func(c *chat, _ string) error { return c.history() }),
		"search":   (*chat).search,
		"reply":    inConversation((*chat).reply),
		"react":    inConversation((*chat).react),
		"edit":     inConversation((*chat).edit),
		"unsend":   inConversation((*chat).unsend),
		"retry":    inConversation(func(c *chat, _ string) error { return c.retry() }),
		"safety":   (*chat).safety,
		"accept":   (*chat).accept,
		"decline":  (*chat).decline,
		"block":    (*chat).block,
		"group":    (*chat).makeGroup,
		"members":  inConversation(func(c *chat, _ string) error { return c.members() }),
		"add":      inConversation((*chat).add),
		"remove":   inConversation((*chat).remove),
		"rename":   inConversation((*chat).rename),
		"leave":    inConversation(func(c *chat, _ string) error { return c.Leave(c.ctx, c.to.ID) }),
		"expire":   inConversation((*chat).expire),
	}
}

func (c *chat) command(name, argument string) error {
	do, ok := chatCommands[strings.ToLower(name)]
	if !ok {
		return c.complain(noChatCommand(name))
	}
	if err := do(c, argument); err != nil && !errors.Is(err, errQuit) {
		return c.complain(err)
	} else if err != nil {
		return errQuit
	}
	return nil
}

var errNobody = &userError{status: exitUsage, code: "NO_RECIPIENT", err: errors.New("nobody is chosen"), hint: "/to NAME says who, /to +NAME which group"}

// inConversation does what needs to know with whom one speaks.
func inConversation(do func(*chat, string) error) func(*chat, string) error {
	return func(c *chat, argument string) error {
		if c.to == nil {
			return errNobody
		}
		return do(c, argument)
	}
}

// chatUsage says how a command is typed.
func chatUsage(usage string) error {
	return &userError{status: exitUsage, code: "USAGE", err: errors.New("something is missing"), hint: "type " + usage}
}

func (c *chat) identify(name identity.Username) (messenger.Contact, error) {
	ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
	defer cancel()
	return c.Identify(ctx, name)
}

// choose says where the next lines go to.
func (c *chat) choose(argument string) error {
	if argument == "" {
		return chatUsage("/to NAME, or /to +NAME for a group")
	}
	t, err := parseTarget(argument)
	if name, _, more := strings.Cut(argument, " "); more && err != nil && !strings.HasPrefix(argument, "+") {
		return &userError{status: exitUsage, code: "USAGE", err: errors.New("/to takes one name, and no text"), hint: "type /to " + name + ", and the text on the next line"}
	}
	if err != nil {
		return err
	}
	v, err := t.find(c.ctx, c.Client, messenger.Active, messenger.Request, messenger.Closed)
	if err == nil && v.State == messenger.Request {
		return c.showRequest(v)
	}
	var changed *messenger.KeyChangedError
	if t.name != "" {
		ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
		defer cancel()
		known, known2 := v, err
		v, err = c.Direct(ctx, t.name, c.options...)
		switch {
		case errors.As(err, &changed) && known2 == nil:
			v, err = known, nil
		case errors.As(err, &changed):
			v, err = messenger.Conversation{ID: c.DirectID(t.name), Kind: messenger.Direct, With: t.name}, nil
		case errors.Is(err, context.DeadlineExceeded):
			err = c.unreachable()
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", argument, err)
	}
	c.to, c.numbered = &v, nil
	if changed != nil {
		return c.print("!! THE KEY OF %s CHANGED: nothing is sent to them until you /accept it.", t.name)
	}
	return c.chosen()
}

// chosen says what is to be known of the conversation that lines go to now.
func (c *chat) chosen() error {
	if c.to.Kind == messenger.Group {
		members, err := c.Members(c.ctx, c.to.ID)
		if err != nil {
			return err
		}
		return c.print("You write to %s: %s.", title(*c.to), strings.Join(groupFacts(*c.to, len(members)), ", "))
	}
	contact, err := c.contact(c.to.With)
	if err != nil {
		return err
	}
	disappear := ""
	if c.to.Expiry > 0 {
		disappear = fmt.Sprintf(" Messages disappear %s after they are read.", duration(c.to.Expiry))
	}
	if contact.Verified {
		return c.print("You write to %s (verified).%s", c.to.With, disappear)
	}
	return c.print("You write to %s. Not verified yet: /safety shows the number to compare.%s", c.to.With, disappear)
}

// contact returns what is known of somebody here.
func (c *chat) contact(name identity.Username) (messenger.Contact, error) {
	contacts, err := c.Contacts(c.ctx)
	if err != nil {
		return messenger.Contact{}, err
	}
	i := slices.IndexFunc(contacts, func(k messenger.Contact) bool { return k.Username == name })
	if i < 0 {
		return messenger.Contact{}, messenger.ErrUnknownContact
	}
	return contacts[i], nil
}

func (c *chat) who() error {
	contacts, err := c.Contacts(c.ctx)
	if err != nil {
		return err
	}
	conversations, err := c.Conversations(c.ctx)
	if err != nil {
		return err
	}
	self, online := c.Self(), "online"
	if c.offline {
		online = "offline"
	}
	lines := []string{fmt.Sprintf("%s (you, %s)", self.Username, online)}
	for _, contact := range contacts {
		if contact.Accepted || contact.Blocked || contact.NewKey != nil {
			lines = append(lines, fmt.Sprintf("%s (%s)", contact.Username, trustOf(contact)))
		}
	}
	for _, v := range conversations {
		switch {
		case v.State == messenger.Request:
			lines = append(lines, fmt.Sprintf("?? %s wants to talk to you: /accept %s or /decline %s", title(v), chatArgument(v), chatArgument(v)))
		case v.Kind == messenger.Group && v.State == messenger.Active:
			members, err := c.Members(c.ctx, v.ID)
			if err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%s (%s)", title(v), strings.Join(groupFacts(v, len(members)), ", ")))
		}
	}
	if len(lines) == 1 {
		lines = append(lines, "no contacts yet: /to NAME")
	}
	return c.print("%s", strings.Join(lines, "\n"))
}

// trustOf says in words what is known of a contact's key.
func trustOf(contact messenger.Contact) string {
	switch {
	case contact.Blocked:
		return "blocked"
	case contact.NewKey != nil:
		return "KEY CHANGED"
	case contact.Verified:
		return "verified"
	}
	return "not verified"
}

// history shows the last messages with numbers.
func (c *chat) history() error {
	messages, err := c.Messages(c.ctx, c.to.ID, historyRows)
	if err != nil {
		return err
	}
	if len(messages) == 0 {
		return c.print("Nothing was written yet.")
	}
	rows, err := rowsOf(c.ctx, c.Client, messages)
	if err != nil {
		return err
	}
	c.numbered = nil
	return c.showNumbered(rows)
}

// showNumbered shows rows, and gives a number to each that can be answered.
func (c *chat) showNumbered(rows []row) error {
	for _, r := range rows {
		c.seen.remember(r.Message)
		text := messageLines(r, time.Now())
		if r.Kind == messenger.KindText {
			c.numbered = append(c.numbered, r.ID)
			text = fmt.Sprintf("[%d] %s", len(c.numbered), text)
		}
		if err := c.lines.Print(text, messageIndent); err != nil {
			return err
		}
	}
	return nil
}

func (c *chat) search(words string) error {
	if words == "" {
		return chatUsage("/search WORDS")
	}
	var in *messenger.ConversationID
	if c.to != nil {
		in = &c.to.ID
	}
	found, err := c.Search(c.ctx, words, in, searchRows)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return c.print("No message has that in it.")
	}
	slices.Reverse(found)
	rows, err := rowsOf(c.ctx, c.Client, found)
	if err != nil {
		return err
	}
	if c.to != nil {
		c.numbered = nil
		return c.showNumbered(rows)
	}
	for _, r := range rows {
		if err := c.show(r); err != nil {
			return err
		}
	}
	return nil
}
