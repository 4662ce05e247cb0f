package cli

import (
	"context"
	"errors"
	"fmt"

	"sealpost/internal/terminal"
	"sealpost/messenger"
)

const passphraseTries = 3 // at a terminal

// profileFlags belong to every command that acts as somebody.
type profileFlags struct {
	Profile string `default:"default" placeholder:"NAME" help:"Whose keys and messages to use: a name for a profile on this computer (default: ${default})."`
}

// open opens the profile, asking for its passphrase where it has one.
func (f profileFlags) open(env *environment, console *terminal.Console) (*messenger.Client, error) {
	dir, err := messenger.ProfileDir(f.Profile)
	if err != nil {
		return nil, err
	}
	protection, err := messenger.Protection(dir)
	if err != nil {
		return nil, fmt.Errorf("opening profile %s: %w", f.Profile, err)
	}
	for try := 1; ; try++ {
		unlock, err := f.unlocker(env, console, protection)
		if err != nil {
			return nil, err
		}
		client, err := messenger.Open(env.ctx, messenger.Options{Dir: dir, Unlock: unlock})
		if errors.Is(err, messenger.ErrWrongPassphrase) && env.stdinIsTerminal() && try < passphraseTries {
			fmt.Fprintln(env.stderr, "That is not the passphrase.")
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("opening profile %s: %w", f.Profile, err)
		}
		return client, nil
	}
}

func (f profileFlags) unlocker(env *environment, console *terminal.Console, protection messenger.ProtectionKind) (messenger.Unlocker, error) {
	switch protection {
	case messenger.ProtectionKeyring:
		return messenger.Keyring(), nil
	case messenger.ProtectionKeyFile:
		return messenger.KeyFile(), nil
	}
	passphrase, err := console.AskSecret(env.ctx, fmt.Sprintf("Passphrase of profile %s: ", f.Profile))
	if err != nil {
		return nil, noAnswer("reading the passphrase", err)
	}
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("opening profile %s: %w", f.Profile, messenger.ErrWrongPassphrase)
	}
	return messenger.Passphrase(passphrase), nil
}

// noAnswer says what to do about a question that nobody answered.
func noAnswer(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &userError{status: exitFailure, code: "NO_ANSWER", err: fmt.Errorf("%s: %w", doing, err),
		hint: "answer at the terminal, or give the answers on standard input, one a line"}
}

// A session is an open profile with its line to the server.
type session struct {
	*messenger.Client
	// ctx ends with the command, or when the line is lost for good; its cause
	// says why.
	ctx  context.Context
	stop context.CancelCauseFunc
	done chan struct{} // closed when Run has returned
}

// start lets the client talk to its server.
func start(ctx context.Context, client *messenger.Client) *session {
	ctx, stop := context.WithCancelCause(ctx)
	s := &session{Client: client, ctx: ctx, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if err := client.Run(ctx); err != nil {
			stop(err)
		}
	}()
	return s
}

// close ends the line and closes the profile.
func (s *session) close() error {
	s.stop(nil)
	<-s.done
	return s.Close()
}

// cause replaces the error of a cancelled call by what ended the session.
func (s *session) cause(err error) error {
	if errors.Is(err, context.Canceled) && s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}
