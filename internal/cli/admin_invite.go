package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/relay/sqlite"
)

const (
	maxInviteUses  = 1_000_000
	maxNote        = 200 // characters
	firstInviteFor = 7 * 24 * time.Hour
)

// adminInviteCommand is sealpost admin invite.
type adminInviteCommand struct {
	Create inviteCreateCommand `cmd:"" help:"Make an invite code."`
	List   inviteListCommand   `cmd:"" help:"List the invitations."`
	Revoke inviteRevokeCommand `cmd:"" help:"End an invitation."`
}

type inviteCreateCommand struct {
	dataFlag
	Uses    int      `default:"1" help:"How many accounts it is for (default: ${default})."`
	Expires lifetime `default:"7d" placeholder:"TIME" help:"How long it is good, such as 12h, 7d or never (default: ${default})."`
	Note    string   `help:"What you want to remember about it. The server's users do not see it."`
}

// Help is shown by admin invite create --help.
func (*inviteCreateCommand) Help() string {
	return "Prints the code, which is not kept and cannot be printed again. sealpost client asks whoever sets up an account for it."
}

// Run makes a code.
func (c *inviteCreateCommand) Run(env *environment) error {
	if c.Uses < 1 || c.Uses > maxInviteUses {
		return usageError(fmt.Errorf("--uses is 1 to %d", maxInviteUses))
	}
	if !utf8.ValidString(c.Note) || utf8.RuneCountInString(c.Note) > maxNote {
		return usageError(fmt.Errorf("--note has at most %d characters", maxNote))
	}
	now := time.Now()
	invite := sqlite.Invite{Uses: c.Uses, Note: c.Note}
	if c.Expires > 0 {
		invite.Expires = now.Add(time.Duration(c.Expires))
	}
	return c.withStore(env, func(admin *sqlite.Admin) error {
		code, err := admin.AddInvite(invite, now)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.stderr, "For %s, good until %s. Whoever has it can register:\n", count(c.Uses, "account"), expiry(invite.Expires))
		_, err = fmt.Fprintln(env.stdout, code.Reveal())
		return err
	})
}

type inviteListCommand struct {
	dataFlag
	JSON bool `name:"json" help:"Print each invitation as a line of JSON."`
}

// inviteLine is a line of admin invite list --json.
type inviteLine struct {
	ID      string     `json:"id"`
	Uses    int        `json:"uses"`
	Left    int        `json:"left"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
	Note    string     `json:"note"`
}

// Run lists.
func (c *inviteListCommand) Run(env *environment) error {
	return c.withStore(env, func(admin *sqlite.Admin) error {
		if c.JSON {
			return admin.Invites(func(i sqlite.Invite) error {
				line := inviteLine{i.ID, i.Uses, i.Left, i.Created.UTC(), nil, i.Note}
				if expires := i.Expires.UTC(); !i.Expires.IsZero() {
					line.Expires = &expires
				}
				return printJSON(env.stdout, line)
			})
		}
		table := newTable(env.stdout, "ID", "LEFT", "CREATED", "GOOD UNTIL", "NOTE")
		err := admin.Invites(func(i sqlite.Invite) error {
			return table.row(i.ID, fmt.Sprintf("%d of %d", i.Left, i.Uses), i.Created.Format(time.DateTime), expiry(i.Expires), terminal.Printable(i.Note))
		})
		if err != nil {
			return err
		}
		return table.Flush()
	})
}

type inviteRevokeCommand struct {
	dataFlag
	ID string `arg:"" help:"The first four characters of the code, as list shows them."`
}

// Run revokes.
func (c *inviteRevokeCommand) Run(env *environment) error {
	return c.withStore(env, func(admin *sqlite.Admin) error {
		if err := admin.RevokeInvite(strings.ToLower(c.ID)); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.stdout, "revoked %s; who has registered with it stays\n", terminal.Printable(c.ID))
		return err
	})
}

// A lifetime is a time.Duration with days, or 0 for ever.
type lifetime time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *lifetime) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "never" {
		*l = 0
		return nil
	}
	var d time.Duration
	days, inDays := strings.CutSuffix(s, "d")
	n, err := strconv.ParseUint(days, 10, 16)
	if inDays && err == nil {
		d = time.Duration(n) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < time.Second {
		return errors.New("want a time such as 12h, 7d or never")
	}
	*l = lifetime(d)
	return nil
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "it is revoked"
	}
	return t.Format(time.DateTime)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// greetByInvite tells how people get in, and makes the first code for a server
// that nobody has registered at.
func (c *serverCommand) greetByInvite(env *environment, say func(string, ...any)) {
	var code *identity.InviteCode
	err := c.withStore(env, func(admin *sqlite.Admin) (err error) {
		code, err = firstInvite(admin)
		return err
	})
	switch {
	case err != nil:
		report(env.stderr, fmt.Errorf("making the first invite code: %w", err))
	case code != nil:
		say("invite code  %s   (for the first account; good for 7 days)", code.Reveal())
	}
	say("registration by invite code: sealpost admin invite create%s, or start with --open-registration", c.argument())
}

// firstInvite returns nil where there are accounts or invitations.
func firstInvite(admin *sqlite.Admin) (*identity.InviteCode, error) {
	stats, err := admin.Stats()
	if err != nil || stats.Accounts > 0 {
		return nil, err
	}
	invited := false
	now := time.Now()
	err = admin.Invites(func(i sqlite.Invite) error {
		invited = invited || i.Expires.IsZero() || i.Expires.After(now)
		return nil
	})
	if err != nil || invited {
		return nil, err
	}
	code, err := admin.AddInvite(sqlite.Invite{Uses: 1, Note: "first start", Expires: now.Add(firstInviteFor)}, now)
	return &code, err
}
