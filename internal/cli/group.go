package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/messenger"
)

// groupCommand is sealpost group, with a command for each thing that can be done.
type groupCommand struct {
	List    groupListCommand    `cmd:"" help:"List your groups."`
	Create  groupCreateCommand  `cmd:"" help:"Make a group."`
	Members groupMembersCommand `cmd:"" help:"List who is in a group."`
	Add     groupAddCommand     `cmd:"" help:"Add people."`
	Remove  groupRemoveCommand  `cmd:"" help:"Remove people: they cannot read what comes after."`
	Admin   groupAdminCommand   `cmd:"" help:"Let somebody change the group, or not any more."`
	Rename  groupRenameCommand  `cmd:"" help:"Give a group another name."`
	Expire  groupExpireCommand  `cmd:"" help:"Let messages disappear, in a group or with a person."`
	Leave   groupLeaveCommand   `cmd:"" help:"Leave a group."`
}

// groupFlags are what every command about one group takes.
type groupFlags struct {
	profileFlags
	Group string `arg:"" name:"+group" help:"The group: +NAME, or its id."`
}

// changeTime is how long a change of a group may take.
const changeTime = networkTimeout

// change finds the group, has it changed, waits until that is done, and prints what
// became of it.
func (f groupFlags) change(env *environment, doing string, do func(context.Context, *session, messenger.ConversationID) error) error {
	t, err := parseTarget(f.Group)
	if err == nil && t.name != "" {
		err = fmt.Errorf("%s %s: %w", doing, t.name, messenger.ErrNotAGroup)
	}
	if err != nil {
		return err
	}
	return f.changeConversation(env, t, doing, do)
}

// changeConversation is change for what can be done with a person as well.
func (f groupFlags) changeConversation(env *environment, t target, doing string, do func(context.Context, *session, messenger.ConversationID) error) error {
	return f.connected(env, func(s *session) error {
		doing := fmt.Sprintf("%s %s", doing, f.Group)
		v, err := t.find(s.ctx, s.Client, messenger.Active, messenger.Request, messenger.Closed)
		if errors.Is(err, messenger.ErrUnknownConversation) && t.name == "" {
			if caughtUp := s.catchUp(); caughtUp != nil {
				return caughtUp
			}
			v, err = t.find(s.ctx, s.Client, messenger.Active, messenger.Request, messenger.Closed)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		return settleChange(env, s, doing, func(ctx context.Context) (messenger.ConversationID, error) {
			return v.ID, do(ctx, s, v.ID)
		})
	})
}

// settleChange has a group changed, waits until that is done, and prints what became
// of it.
func settleChange(env *environment, s *session, doing string, do func(context.Context) (messenger.ConversationID, error)) error {
	ctx, cancel := context.WithTimeout(s.ctx, changeTime)
	defer cancel()
	events := s.Subscribe(ctx)
	id, err := do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.unreachable()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, s.cause(err))
	}
	flushed := s.cause(s.Flush(ctx))
	notices, warned, err := printNotices(env, s, id, events)
	switch {
	case err != nil:
		return errors.Join(flushed, err)
	case warned:
		return &userError{status: exitFailure, code: "NOT_DONE", err: fmt.Errorf("%s: not all of it was done", doing), hint: "see what is said above"}
	case errors.Is(flushed, context.DeadlineExceeded) && notices > 0:
		return nil // what waits is something else
	case errors.Is(flushed, context.DeadlineExceeded):
		return &userError{status: exitUnavailable, code: "QUEUED", err: fmt.Errorf("%s: %w", doing, s.silent()),
			hint: "the change " + keptHint}
	}
	return flushed
}

// printNotices prints what was said about a conversation in events that came, and
// tells how much that was and whether it holds a warning.
func printNotices(env *environment, s *session, id messenger.ConversationID, events <-chan messenger.Event) (n int, warned bool, err error) {
	var notices []messenger.Message
	for len(events) > 0 {
		event, ok := (<-events).(messenger.MessageReceived)
		if ok && event.Message.Conversation == id && event.Message.Kind != messenger.KindText {
			notices = append(notices, event.Message)
			warned = warned || event.Message.Kind == messenger.KindWarning
		}
	}
	rows, err := rowsOf(s.ctx, s.Client, notices)
	if err != nil {
		return 0, warned, err
	}
	for _, r := range rows {
		if err := printLines(env.stdout, messageLines(r, time.Now()), messageIndent); err != nil {
			return 0, warned, err
		}
		if err := s.MarkRead(s.ctx, r.Row); err != nil {
			return 0, warned, err
		}
	}
	return len(rows), warned, nil
}

func parseUsers(addresses []string) ([]identity.Username, error) {
	users := make([]identity.Username, len(addresses))
	for i, address := range addresses {
		var err error
		if users[i], err = parseUser(address); err != nil {
			return nil, err
		}
	}
	return users, nil
}

type groupListCommand struct {
	profileFlags
	JSON bool `name:"json" help:"Print each as a line of JSON."`
}

// groupLine is a line of group list --json.
type groupLine struct {
	Conversation messenger.ConversationID `json:"conversation"`
	Name         string                   `json:"name"`
	State        string                   `json:"state"`
	Members      []string                 `json:"members"`
	Unread       int                      `json:"unread"`
	ExpiresAfter int64                    `json:"expires_after,omitempty"`
}

// Run lists the groups. It does not need the server.
func (c *groupListCommand) Run(env *environment) error {
	return c.local(env, func(client *messenger.Client) error {
		all, err := client.Conversations(env.ctx)
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.Kind != messenger.Group {
				continue
			}
			members, err := client.Members(env.ctx, v.ID)
			if err != nil {
				return err
			}
			if err := c.print(env, v, members); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *groupListCommand) print(env *environment, v messenger.Conversation, members []messenger.Member) error {
	if c.JSON {
		line := groupLine{Conversation: v.ID, Name: v.Name, State: v.State.String(), Members: []string{}, Unread: v.Unread, ExpiresAfter: int64(v.Expiry / time.Second)}
		for _, m := range members {
			line.Members = append(line.Members, string(m.Username))
		}
		return printJSON(env.stdout, line)
	}
	return printLines(env.stdout, fmt.Sprintf("%s  %s%s%v", title(v), strings.Join(groupFacts(v, len(members)), ", "), remark, v.ID), messageIndent)
}

// groupFacts says in words what is to be known of a group.
func groupFacts(v messenger.Conversation, members int) []string {
	facts := []string{fmt.Sprintf("%d %s", members, plural(members, "member", "members"))}
	switch v.State {
	case messenger.Request:
		facts = append(facts, fmt.Sprintf("%s wants you in it, not accepted", v.Inviter))
	case messenger.Closed:
		facts = []string{"you are not in it any more"}
	}
	if v.Healing {
		facts = append(facts, "being taken in again")
	}
	if v.Unread > 0 && v.State != messenger.Request {
		facts = append(facts, fmt.Sprintf("%d unread", v.Unread))
	}
	if v.Expiry > 0 {
		facts = append(facts, fmt.Sprintf("messages disappear after %s", duration(v.Expiry)))
	}
	return facts
}

type groupCreateCommand struct {
	profileFlags
	trustFlags
	Name  string   `arg:"" help:"What the group is called; everybody in it sees that, the server does not."`
	Users []string `arg:"" optional:"" name:"user" help:"Whom to add."`
}

// Run makes a group.
func (c *groupCreateCommand) Run(env *environment) error {
	name, err := parseGroupName(strings.TrimPrefix(c.Name, "+"))
	if err != nil {
		return err
	}
	users, err := parseUsers(c.Users)
	if err != nil {
		return err
	}
	return c.connected(env, func(s *session) error {
		if err := unusedName(s.ctx, s.Client, name); err != nil {
			return err
		}
		var v messenger.Conversation
		err := settleChange(env, s, "making the group +"+name, func(ctx context.Context) (messenger.ConversationID, error) {
			var err error
			v, err = s.CreateGroup(ctx, name, users, c.options()...)
			return v.ID, err
		})
		if err != nil {
			return err
		}
		return printLines(env.stdout, fmt.Sprintf("Write to it with sealpost send %s, or in the chat after /to %s.", argument(v), title(v)), 0)
	})
}

// unusedName refuses a name that one of our groups has: from then on, neither could be
// named by it.
func unusedName(ctx context.Context, client *messenger.Client, name string) error {
	there, err := target{group: name}.find(ctx, client, messenger.Active)
	if errors.Is(err, messenger.ErrUnknownConversation) {
		return nil
	}
	if err != nil {
		return err
	}
	return &userError{status: exitFailure, code: "GROUP_EXISTS", err: fmt.Errorf("you are in a group %s already", title(there)),
		hint: fmt.Sprintf("choose another name, or add people to it: sealpost group add %s, or /add in the chat", argument(there))}
}

type groupMembersCommand struct{ groupFlags }

// Run lists who is in a group. It does not need the server.
func (c *groupMembersCommand) Run(env *environment) error {
	t, err := parseTarget(c.Group)
	if err != nil {
		return err
	}
	return c.local(env, func(client *messenger.Client) error {
		v, err := t.find(env.ctx, client, messenger.Active, messenger.Request, messenger.Closed)
		if err != nil {
			return fmt.Errorf("listing %s: %w", c.Group, err)
		}
		members, err := client.Members(env.ctx, v.ID)
		if err != nil {
			return fmt.Errorf("listing %s: %w", c.Group, err)
		}
		return printLines(env.stdout, strings.Join(memberLines(members), "\n"), messageIndent)
	})
}

// memberLines shows members to a person.
func memberLines(members []messenger.Member) []string {
	lines := make([]string, len(members))
	for i, m := range members {
		var facts []string
		if m.Self {
			facts = append(facts, "you")
		}
		if m.Admin {
			facts = append(facts, "administrator")
		}
		if m.Verified {
			facts = append(facts, "verified")
		}
		if m.Devices > 1 {
			facts = append(facts, fmt.Sprintf("%d devices", m.Devices))
		}
		lines[i] = string(m.Username)
		if len(facts) > 0 {
			lines[i] += " (" + strings.Join(facts, ", ") + ")"
		}
	}
	return lines
}
