package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type requestsCommand struct {
	profileFlags
	JSON bool `name:"json" help:"Print each as a line of JSON, like inbox."`
}

// Help is shown by requests --help.
func (*requestsCommand) Help() string {
	return "Lists who wants to write to you and is no contact yet, with the safety number to compare. " +
		"Nothing that they said is shown, and they learn nothing, before you accept, decline or block them."
}

// Run lists those who wait.
func (c *requestsCommand) Run(env *environment) error {
	return c.connected(env, func(s *session) error {
		unreached := s.catchUp()
		all, err := pendingRequests(s.ctx, s.Client)
		if err != nil {
			return err
		}
		for _, r := range all {
			if err := r.print(env.stdout, c.JSON); err != nil {
				return err
			}
		}
		return unreached
	})
}

// A request is a conversation that waits for an answer, with what helps to decide.
type request struct {
	messenger.Conversation
	from   identity.Username
	number string // the safety number of the one who asks; empty if it is not known
	others []identity.Username
}

func pendingRequests(ctx context.Context, client *messenger.Client) ([]request, error) {
	all, err := client.Conversations(ctx)
	if err != nil {
		return nil, err
	}
	var pending []request
	for _, v := range all {
		if v.State != messenger.Request {
			continue
		}
		r, err := requestOf(ctx, client, v)
		if err != nil {
			return nil, err
		}
		pending = append(pending, r)
	}
	return pending, nil
}

func requestOf(ctx context.Context, client *messenger.Client, v messenger.Conversation) (request, error) {
	r := request{Conversation: v, from: v.Inviter}
	if r.from == "" {
		r.from = v.With
	}
	contacts, err := client.Contacts(ctx)
	if err != nil {
		return r, err
	}
	for _, contact := range contacts {
		if contact.Username == r.from {
			r.number = client.SafetyNumberOf(contact.AccountKey)
		}
	}
	members, err := client.Members(ctx, v.ID)
	if err != nil {
		return r, err
	}
	for _, m := range members {
		if !m.Self && m.Username != r.from {
			r.others = append(r.others, m.Username)
		}
	}
	return r, nil
}

// lines shows a request to a person, who answers with commands that begin so, about
// what is typed as what.
func (r request) lines(command, what string) string {
	var b strings.Builder
	switch {
	case r.Kind == messenger.Direct:
		fmt.Fprintf(&b, "?? %s wants to write to you", r.from)
		if r.Unread > 0 {
			fmt.Fprintf(&b, " (%d %s)", r.Unread, plural(r.Unread, "message waits", "messages wait"))
		}
	case len(r.others) == 0:
		fmt.Fprintf(&b, "?? %s wants you in the group %s", r.from, title(r.Conversation))
	default:
		fmt.Fprintf(&b, "?? %s wants you in the group %s, with %s", r.from, title(r.Conversation), someNames(r.others))
	}
	fmt.Fprintf(&b, ".%s%saccept %s, or %sdecline %s, or %sblock %s", remark, command, what, command, what, command, r.from)
	if r.number != "" {
		fmt.Fprintf(&b, "%sThe safety number of you and %s:\n%s", remark, r.from, safetyLines(r.number))
	}
	return b.String()
}

const maxNames = 5

// someNames lists names, but not hundreds.
func someNames[T ~string](names []T) string {
	var words []string
	for _, name := range names[:min(len(names), maxNames)] {
		words = append(words, string(name))
	}
	if more := len(names) - maxNames; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func (r request) print(out io.Writer, asJSON bool) error {
	if asJSON {
		line := newInboxLine(row{Message: messenger.Message{Sender: r.from, Stored: r.Created}, in: r.Conversation})
		line.Kind, line.SafetyNumber, line.Waiting = "request", r.number, r.Unread
		return printJSON(out, line)
	}
	return printLines(out, r.lines("sealpost ", argument(r.Conversation)), messageIndent)
}

// printLines writes harmless lines, wrapped where a person sees them.
func printLines(out io.Writer, text string, indent int) error {
	if columns := terminal.Columns(out); columns > 0 {
		text = terminal.Wrap(text, columns, indent)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
