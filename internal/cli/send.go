package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

type sendCommand struct {
	profileFlags
	trustFlags
	JSON    bool          `name:"json" help:"Print the outcome as a line of JSON, errors too."`
	Timeout time.Duration `default:"10s" help:"How long to wait for the server (default: ${default})."`
	To      string        `arg:"" name:"target" help:"Whom to write to: NAME for a person, +NAME for a group, or the id of a conversation."`
	Text    string        `arg:"" help:"What to write; - reads it from standard input."`
}

// Help is shown by send --help.
func (*sendCommand) Help() string {
	return `Ends with status 0 once the server has the message, 3 where a key is not to be trusted, 4 where the server cannot be reached: the message is kept and goes out the next time, except to somebody new. Write -- before a text that begins with a dash. Of standard input, one line end at its end is left out.

With --json the line holds: ok (true or false), to, state ("accepted" or "queued") and id where there is a message, and after an error code, error and hint. The codes are stable: KEY_CHANGED, NOT_VERIFIED, UNKNOWN_RECIPIENT, UNKNOWN_CONVERSATION, AMBIGUOUS, NOT_ACCEPTED, CONVERSATION_CLOSED, SERVER_UNAVAILABLE, SERVER_CHANGED, TOO_LARGE, WRONG_PASSPHRASE, PROFILE_IN_USE and others.`
}

// sendOutcome is the line of send --json.
type sendOutcome struct {
	OK    bool                 `json:"ok"`
	To    string               `json:"to"`
	ID    *messenger.MessageID `json:"id,omitempty"`
	State string               `json:"state,omitempty"`
	Code  string               `json:"code,omitempty"`
	Error string               `json:"error,omitempty"`
	Hint  string               `json:"hint,omitempty"`
}

// Run sends one message.
func (c *sendCommand) Run(env *environment) error {
	outcome := sendOutcome{To: c.To}
	err := c.send(env, &outcome)
	if !c.JSON {
		return err
	}
	outcome.OK = err == nil
	if err != nil {
		told := explain(err)
		outcome.Code, outcome.Error, outcome.Hint = told.code, told.Error(), told.hint
	}
	return errors.Join(err, printJSON(env.stdout, outcome))
}

// printJSON writes a value as one line, harmless for a terminal.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(terminal.JSONWriter(w))
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

func (c *sendCommand) send(env *environment, outcome *sendOutcome) (err error) {
	if c.Timeout <= 0 {
		return errTimeout()
	}
	to, err := parseTarget(c.To)
	if err != nil {
		return err
	}
	console := c.console(env)
	client, err := c.open(env, console)
	if err != nil {
		return err
	}
	s := start(env.ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	text, err := c.text(env, console)
	if err != nil {
		return err
	}
	return c.deliver(s, to, text, outcome)
}

func errTimeout() error {
	return &userError{status: exitUsage, code: "USAGE", err: errors.New("--timeout has to be longer than 0"), hint: "say for how long, such as --timeout 10s"}
}

// console asks for the passphrase: a person at the keyboard, where the standard
// input is the text.
func (c *sendCommand) console(env *environment) *terminal.Console {
	if c.Text == "-" && !env.stdinIsTerminal() {
		if keyboard, err := os.Open("/dev/tty"); err == nil {
			return terminal.NewConsole(keyboard, env.stderr)
		}
	}
	return terminal.NewConsole(env.stdin, env.stderr)
}

// text reads what to send. Standard input is read where the console left off.
func (c *sendCommand) text(env *environment, console *terminal.Console) (string, error) {
	if c.Text != "-" {
		return c.Text, nil
	}
	in := io.Reader(env.stdin)
	if console.Reads(env.stdin) {
		in = console.Reader()
	}
	text, err := io.ReadAll(io.LimitReader(in, messenger.MaxTextLen+2))
	if err != nil {
		return "", fmt.Errorf("reading the text: %w", err)
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > messenger.MaxTextLen {
		return "", &userError{status: exitFailure, code: "TOO_LARGE",
			err:  fmt.Errorf("the text is longer than a message can be (%d bytes)", messenger.MaxTextLen),
			hint: "nothing was sent: sealpost encrypt seals a file of any size"}
	}
	return string(text), nil
}

func (c *sendCommand) deliver(s *session, to target, text string, outcome *sendOutcome) error {
	ctx, cancel := context.WithTimeout(s.ctx, c.Timeout)
	defer cancel()
	doing := "sending to " + c.To
	v, err := to.open(ctx, s.Client, c.options()...)
	var id messenger.MessageID
	if err == nil {
		id, err = s.Send(ctx, v.ID, text)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.unreachable()
	}
	err = wrap(doing, s.cause(err))
	if errors.Is(err, messenger.ErrServerUnavailable) && !errors.Is(err, messenger.ErrTooOften) {
		return &userError{status: exitUnavailable, code: "SERVER_UNAVAILABLE", err: err,
			hint: "the message is not kept: see that sealpost server runs there, and send it again"}
	}
	if err != nil {
		return err
	}
	outcome.ID, outcome.State = &id, messenger.Queued.String()
	if err := waitAccepted(ctx, s, id, doing); err != nil {
		return err
	}
	outcome.State = messenger.Accepted.String()
	return nil
}

// waitAccepted waits until the server has a message, and says why it has not.
func waitAccepted(ctx context.Context, s *session, id messenger.MessageID, doing string) error {
	err := s.cause(s.Wait(ctx, id, messenger.Accepted))
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return wrap(doing, err)
	}
	told := &userError{status: exitUnavailable, code: "SERVER_UNAVAILABLE",
		err: fmt.Errorf("%s: %w", doing, s.silent()), hint: "the message " + keptHint}
	message, err := s.Message(s.ctx, id)
	if err != nil {
		return errors.Join(told, err)
	}
	if message.Reason != "" {
		told.code, told.err = "QUEUED", fmt.Errorf("%s: %s", doing, message.Reason)
	}
	return told
}

// wrap is nil for nil.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
