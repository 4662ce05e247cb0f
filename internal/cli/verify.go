package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"rsc.io/qr"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type verifyCommand struct {
	profileFlags
	Yes  bool   `help:"Mark as verified without a question. A changed key is asked about all the same."`
	Name string `arg:"" help:"Whose key to check."`
}

// Help is shown by verify --help.
func (*verifyCommand) Help() string {
	return "Shows the safety number of you and somebody else, 60 digits and a QR code of them. Both of you see the same one, unless somebody stands in between: " +
		"compare it face to face or by phone, not through the server. Says whether a key changed, and accepts the new one if you say so."
}

// Run shows the number and asks.
func (c *verifyCommand) Run(env *environment) (err error) {
	name, err := parseUser(c.Name)
	if err != nil {
		return err
	}
	console := terminal.NewConsole(env.stdin, env.stderr)
	client, err := c.open(env, console)
	if err != nil {
		return err
	}
	s := start(env.ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithTimeout(s.ctx, networkTimeout)
	defer cancel()
	contact, err := s.Identify(ctx, name)
	if err != nil {
		return fmt.Errorf("asking who %s is: %w", name, s.cause(err))
	}
	key, changed := contact.AccountKey, contact.NewKey != nil
	if changed {
		key = *contact.NewKey
		fmt.Fprintf(env.stdout, "!! THE KEY OF %s CHANGED. They set up anew, or somebody stands in between.\nbefore: %v\nnow:    %v\n\n", name, contact.AccountKey, key)
	}
	if err := showSafetyNumber(env.stdout, name, s.SafetyNumberOf(key)); err != nil {
		return err
	}
	if contact.Verified && !changed {
		fmt.Fprintf(env.stdout, "You have verified %s before.\n", name)
		return nil
	}
	return c.confirm(env, s, console, contact, key)
}

func (c *verifyCommand) confirm(env *environment, s *session, console *terminal.Console, contact messenger.Contact, key identity.AccountKey) error {
	if !c.Yes || contact.NewKey != nil {
		answer, err := console.Ask(s.ctx, fmt.Sprintf("Does %s have the same number? Type yes once you compared it: ", contact.Username))
		if err != nil {
			return noAnswer("asking whether the numbers are the same", s.cause(err))
		}
		if strings.TrimSpace(answer) != "yes" {
			return notVerified(contact)
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, networkTimeout)
	defer cancel()
	if err := s.Verify(ctx, contact.Username, key); err != nil {
		return fmt.Errorf("marking %s as verified: %w", contact.Username, s.cause(err))
	}
	_, err := fmt.Fprintf(env.stdout, "%s is verified.\n", contact.Username)
	return err
}

func notVerified(contact messenger.Contact) error {
	err := &userError{status: exitFailure, code: "NOT_VERIFIED", err: fmt.Errorf("%s is not marked as verified", contact.Username),
		hint: "if the numbers differ, somebody stands in between: do not write to them"}
	if contact.NewKey != nil {
		err.status, err.code = exitKeyChanged, "KEY_CHANGED"
	}
	return err
}

// showSafetyNumber prints the digits, and the QR code where it fits.
func showSafetyNumber(w io.Writer, name identity.Username, number string) error {
	columns := terminal.Columns(w)
	if columns == 0 {
		columns = 80
	}
	fmt.Fprintf(w, "%s\n\n%s\n", terminal.Wrap(fmt.Sprintf("The safety number of you and %s:", name), columns, 0), safetyLines(number))
	code, err := qr.Encode(strings.ReplaceAll(number, " ", ""), qr.L)
	if err != nil {
		return fmt.Errorf("drawing the QR code: %w", err)
	}
	if code.Size+2*qrMargin > columns {
		_, err = fmt.Fprintln(w, terminal.Wrap("\n(Widen the window for a QR code.)", columns, 0))
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s\n", drawQR(code))
	return err
}

// safetyLines breaks a safety number into lines that fit into 20 columns.
func safetyLines(number string) string {
	var lines []string
	for groups := range slices.Chunk(strings.Fields(number), 3) {
		lines = append(lines, "  "+strings.Join(groups, " "))
	}
	return strings.Join(lines, "\n")
}

const qrMargin = 4 // light modules around a code (ISO/IEC 18004)

// drawQR draws two rows of modules a line, light ones filled, for terminals
// with light text on dark. Scanners read the reverse as well.
func drawQR(code *qr.Code) string {
	light := func(x, y int) bool { return !code.Black(x, y) } // outside it is light
	var b strings.Builder
	for y := -qrMargin; y < code.Size+qrMargin; y += 2 {
		for x := -qrMargin; x < code.Size+qrMargin; x++ {
			upper, lower := light(x, y), y+1 < code.Size+qrMargin && light(x, y+1)
			switch {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
