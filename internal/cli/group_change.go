package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/messenger"
)

type groupAddCommand struct {
	groupFlags
	trustFlags
	Users []string `arg:"" name:"user" help:"Whom to add."`
}

// Run adds people.
func (c *groupAddCommand) Run(env *environment) error {
	users, err := parseUsers(c.Users)
	if err != nil {
		return err
	}
	return c.change(env, "adding to", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return s.AddMembers(ctx, id, users, c.options()...)
	})
}

type groupRemoveCommand struct {
	groupFlags
	Users []string `arg:"" name:"user" help:"Whom to remove."`
}

// Run removes people.
func (c *groupRemoveCommand) Run(env *environment) error {
	users, err := parseUsers(c.Users)
	if err != nil {
		return err
	}
	return c.change(env, "removing from", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return removeMembers(ctx, s.Client, id, users)
	})
}

// removeMembers says who is not there, rather than do nothing.
func removeMembers(ctx context.Context, client *messenger.Client, id messenger.ConversationID, users []identity.Username) error {
	members, err := client.Members(ctx, id)
	if err != nil {
		return err
	}
	for _, name := range users {
		if name == client.Self().Username {
			return &userError{status: exitUsage, code: "SELF", err: messenger.ErrSelf, hint: "leave the group instead: sealpost group leave, or /leave in the chat"}
		}
		if !isMember(members, name) {
			return &userError{status: exitFailure, code: "NOT_A_MEMBER", err: fmt.Errorf("%s is not in the group", name), hint: "sealpost group members lists who is"}
		}
	}
	return client.RemoveMembers(ctx, id, users)
}

func isMember(members []messenger.Member, name identity.Username) bool {
	for _, m := range members {
		if m.Username == name {
			return true
		}
	}
	return false
}

type groupAdminCommand struct {
	groupFlags
	Off  bool   `help:"Not any more."`
	User string `arg:"" name:"user" help:"Who."`
}

// Run says who may change the group.
func (c *groupAdminCommand) Run(env *environment) error {
	name, err := parseUser(c.User)
	if err != nil {
		return err
	}
	return c.change(env, "changing", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return s.SetAdmin(ctx, id, name, !c.Off)
	})
}

type groupRenameCommand struct {
	groupFlags
	Name string `arg:"" help:"The new name."`
}

// Run renames the group.
func (c *groupRenameCommand) Run(env *environment) error {
	name, err := parseGroupName(strings.TrimPrefix(c.Name, "+"))
	if err != nil {
		return err
	}
	return c.change(env, "renaming", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return s.Rename(ctx, id, name)
	})
}

type groupExpireCommand struct {
	groupFlags
	After string `arg:"" name:"time" help:"How long after they were read: 30s, 10m, 8h, 7d, 4w, or off."`
}

// Help is shown by group expire --help.
func (*groupExpireCommand) Help() string {
	return "Messages written from now on disappear everywhere that long after they were read there. It asks the others' programs to forget: it does not keep anybody from writing them down. For a person instead of a group, type NAME."
}

// Run says when messages disappear.
func (c *groupExpireCommand) Run(env *environment) error {
	t, err := parseTarget(c.Group)
	if err != nil {
		return err
	}
	after, err := parseExpiry(c.After)
	if err != nil {
		return err
	}
	return c.changeConversation(env, t, "changing", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return s.SetExpiry(ctx, id, after)
	})
}

// parseExpiry reads a time in days and weeks as well.
func parseExpiry(s string) (time.Duration, error) {
	if s == "off" {
		return 0, nil
	}
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseUint(digits, 10, 16)
			if err != nil || n == 0 {
				return 0, fmt.Errorf("%q: %w", s, messenger.ErrExpiry)
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d%time.Second != 0 {
		return 0, fmt.Errorf("%q: %w", s, messenger.ErrExpiry)
	}
	return d, nil
}

type groupLeaveCommand struct{ groupFlags }

// Run leaves the group.
func (c *groupLeaveCommand) Run(env *environment) error {
	return c.change(env, "leaving", func(ctx context.Context, s *session, id messenger.ConversationID) error {
		return s.Leave(ctx, id)
	})
}
