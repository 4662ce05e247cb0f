package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

// A target is a conversation as a person types it: NAME for one person, +GROUP for
// a group, or the id of either.
type target struct {
	name  identity.Username // of a person
	group string            // a group's name
	id    messenger.ConversationID
}

// parseTarget takes nothing but these three forms.
func parseTarget(s string) (t target, err error) {
	if strings.HasPrefix(s, "conversation:") {
		if t.id, err = messenger.ParseConversationID(s); err != nil {
			return t, &userError{status: exitUsage, code: "BAD_CONVERSATION", err: err, hint: "sealpost group list shows the ids of groups"}
		}
		return t, nil
	}
	if name, ok := strings.CutPrefix(s, "+"); ok {
		t.group, err = parseGroupName(name)
		return t, err
	}
	t.name, err = parseUser(s)
	return t, err
}

// parseUser reads the name of a person, and says which one is malformed.
func parseUser(s string) (identity.Username, error) {
	name, err := identity.ParseAddress(s)
	if strings.HasPrefix(s, "+") {
		return "", &userError{status: exitUsage, code: "BAD_NAME", err: fmt.Errorf("%q is a group, and here goes a person", s), hint: "names of people look like bob or anna-k"}
	}
	if errors.Is(err, identity.ErrUsername) {
		err = fmt.Errorf("%q: %w", s, err)
	}
	return name, err
}

// parseGroupName reads the name of a group, which somebody else may have chosen.
func parseGroupName(s string) (string, error) {
	if s == "" || len(s) > messenger.MaxNameLen || !utf8.ValidString(s) || strings.TrimSpace(s) != s || terminal.Printable(s) != s {
		return "", &userError{status: exitUsage, code: "BAD_GROUP_NAME",
			err:  fmt.Errorf("a group's name has 1 to %d bytes, without control characters and without spaces around it", messenger.MaxNameLen),
			hint: "name it like +family; a name with spaces goes into quotes: '+long walks'"}
	}
	return s, nil
}

// find returns the conversation that there is, of those in one of the states, the
// first state first.
func (t target) find(ctx context.Context, client *messenger.Client, states ...messenger.ConversationState) (messenger.Conversation, error) {
	switch {
	case t.name != "":
		return client.Conversation(ctx, client.DirectID(t.name))
	case t.group == "":
		return client.Conversation(ctx, t.id)
	}
	all, err := client.Conversations(ctx)
	if err != nil {
		return messenger.Conversation{}, err
	}
	for _, state := range states {
		var found []messenger.Conversation
		for _, v := range all {
			if v.Kind == messenger.Group && v.State == state && strings.EqualFold(v.Name, t.group) {
				found = append(found, v)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return messenger.Conversation{}, ambiguous(t.group, found)
		}
	}
	return messenger.Conversation{}, messenger.ErrUnknownConversation
}

// ambiguous says which groups bear a name.
func ambiguous(name string, found []messenger.Conversation) error {
	ids := make([]string, len(found))
	for i, v := range found {
		ids[i] = v.ID.String()
	}
	return &userError{status: exitUsage, code: "AMBIGUOUS",
		err:  fmt.Errorf("%d groups are called +%s", len(found), name),
		hint: "say which by its id, see sealpost group list: " + strings.Join(ids, " or ")}
}

// open returns the conversation to write to, and begins that with a person if need
// be.
func (t target) open(ctx context.Context, client *messenger.Client, options ...messenger.ContactOption) (messenger.Conversation, error) {
	if t.name == "" {
		return t.find(ctx, client, messenger.Active, messenger.Request, messenger.Closed)
	}
	contacts, err := client.Contacts(ctx)
	if err != nil {
		return messenger.Conversation{}, err
	}
	if slices.ContainsFunc(contacts, func(c messenger.Contact) bool { return c.Username == t.name && c.Blocked }) {
		// Direct would take the block back, which nobody said here.
		return messenger.Conversation{}, &userError{status: exitFailure, code: "BLOCKED", err: fmt.Errorf("you blocked %s", t.name),
			hint: fmt.Sprintf("sealpost unblock %s takes that back", t.name)}
	}
	return client.Direct(ctx, t.name, options...)
}

// request returns the request that somebody made. What is still at the server is
// fetched first.
func (t target) request(s *session) (messenger.Conversation, error) {
	v, err := t.find(s.ctx, s.Client, messenger.Request)
	if err == nil && v.State == messenger.Request {
		return v, nil
	}
	if err := s.catchUp(); err != nil {
		return messenger.Conversation{}, err
	}
	v, err = t.find(s.ctx, s.Client, messenger.Request)
	switch {
	case errors.Is(err, messenger.ErrUnknownConversation), err == nil && v.State != messenger.Request:
		return v, errNoRequest
	}
	return v, err
}

// errNoRequest says that nobody waits for an answer.
var errNoRequest = &userError{status: exitFailure, code: "NO_REQUEST", err: errors.New("there is no such request"),
	hint: "sealpost requests lists those who wait for an answer"}

// title is what a conversation is called on the screen: the person, or + and the
// name of the group. A name that could pass for other words of a line is in quotes.
func title(v messenger.Conversation) string {
	if v.Kind == messenger.Direct {
		return terminal.Printable(string(v.With))
	}
	name := terminal.Printable(v.Name)
	if strings.ContainsAny(name, "\":[]()") || strings.Contains(name, "--") {
		name = `"` + strings.ReplaceAll(name, `"`, `\"`) + `"`
	}
	return "+" + name
}

// argument is what to type for a conversation on a command line: its title where
// every shell takes that for one plain word, in quotes if need be, and its id otherwise.
func argument(v messenger.Conversation) string {
	word := chatArgument(v)
	if strings.Trim(strings.TrimPrefix(word, "+"), plainLetters) != "" && !strings.HasPrefix(word, "conversation:") {
		word = "'" + word + "'"
	}
	return word
}

const plainLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// chatArgument is what to type for a conversation in the chat: its title where that
// is made of words, and its id otherwise.
func chatArgument(v messenger.Conversation) string {
	if v.Kind == messenger.Direct {
		return string(v.With)
	}
	_, err := parseGroupName(v.Name)
	if err != nil || strings.ContainsFunc(v.Name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" -_.", r)
	}) {
		return v.ID.String()
	}
	return "+" + v.Name
}
