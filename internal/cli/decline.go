package cli

import "fmt"

type declineCommand struct{ answerCommand }

// Help is shown by decline --help.
func (*declineCommand) Help() string {
	return "What they said is deleted unread, and they are not told. What they write later is a new request: sealpost block ends that."
}

// Run declines a request.
func (c *declineCommand) Run(env *environment) error {
	t, err := parseTarget(c.To)
	if err != nil {
		return err
	}
	return c.connected(env, func(s *session) error {
		v, err := t.request(s)
		if err == nil {
			err = s.Decline(s.ctx, v.ID)
		}
		if err != nil {
			return fmt.Errorf("declining %s: %w", c.To, err)
		}
		if err := printLines(env.stdout, fmt.Sprintf("The request of %s is gone.", title(v)), 0); err != nil {
			return err
		}
		return s.flush(receiptTime) // a group has to hear that we are not in it
	})
}
