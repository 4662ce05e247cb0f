package cli

import (
	"context"
	"errors"
	"strings"
)

// within gives a command that asks the server a time.
func (c *chat) within(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(c.ctx, networkTimeout)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return c.unreachable()
	}
	return err
}

// groupWords are what follows sealpost group on the command line, and what is typed
// for each in the chat.
var groupWords = map[string]string{
	"create": "/group NAME USER...", "list": "/who", "members": "/members", "add": "/add USER...", "remove": "/remove USER...",
	"rename": "/rename NAME", "expire": "/expire TIME", "leave": "/leave", "admin": "sealpost group admin outside of the chat",
}

// makeGroup makes a group and goes on in it.
func (c *chat) makeGroup(argument string) error {
	words := strings.Fields(argument)
	if len(words) == 0 {
		return chatUsage("/group NAME USER...")
	}
	if words[0] == "create" && len(words) > 1 { // as on the command line
		words = words[1:]
	} else if here, ok := groupWords[words[0]]; ok {
		return &userError{status: exitUsage, code: "NO_COMMAND", err: errors.New("not a command: /group " + words[0]),
			hint: "type " + here + "; /group +" + words[0] + " makes a group of that name"}
	}
	name, err := parseGroupName(strings.TrimPrefix(words[0], "+"))
	if err != nil {
		return err
	}
	users, err := parseUsers(words[1:])
	if err != nil {
		return err
	}
	if err := unusedName(c.ctx, c.Client, name); err != nil {
		return err
	}
	return c.within(func(ctx context.Context) error {
		v, err := c.CreateGroup(ctx, name, users, c.options...)
		if err != nil {
			return err
		}
		c.to, c.numbered = &v, nil
		return c.print("You made the group %s, and write to it.", title(v))
	})
}

func (c *chat) members() error {
	members, err := c.Members(c.ctx, c.to.ID)
	if err != nil {
		return err
	}
	return c.print("%s", strings.Join(memberLines(members), "\n"))
}

func (c *chat) add(argument string) error {
	users, err := parseUsers(strings.Fields(argument))
	if err == nil && len(users) == 0 {
		err = chatUsage("/add USER...")
	}
	if err != nil {
		return err
	}
	return c.within(func(ctx context.Context) error { return c.AddMembers(ctx, c.to.ID, users, c.options...) })
}

func (c *chat) remove(argument string) error {
	users, err := parseUsers(strings.Fields(argument))
	if err == nil && len(users) == 0 {
		err = chatUsage("/remove USER...")
	}
	if err != nil {
		return err
	}
	return removeMembers(c.ctx, c.Client, c.to.ID, users)
}

func (c *chat) rename(argument string) error {
	if argument == "" {
		return chatUsage("/rename NAME")
	}
	name, err := parseGroupName(strings.TrimPrefix(argument, "+"))
	if err != nil {
		return err
	}
	return c.Rename(c.ctx, c.to.ID, name)
}

func (c *chat) expire(argument string) error {
	if argument == "" {
		return chatUsage("/expire TIME, such as 8h or 7d, or off")
	}
	after, err := parseExpiry(argument)
	if err != nil {
		return err
	}
	return c.SetExpiry(c.ctx, c.to.ID, after) // a notice says when it is done
}
