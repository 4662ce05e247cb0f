package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

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
	client, _, err := f.openWith(env, console)
	return client, err
}

// openWith returns what opened the profile as well.
func (f profileFlags) openWith(env *environment, console *terminal.Console) (*messenger.Client, messenger.Options, error) {
	var options messenger.Options
	dir, err := messenger.ProfileDir(f.Profile)
	if err != nil {
		return nil, options, err
	}
	protection, err := messenger.Protection(dir)
	if err != nil {
		return nil, options, f.unopened(err)
	}
	for try := 1; ; try++ {
		unlock, err := f.unlocker(env, console, protection)
		if err != nil {
			return nil, options, err
		}
		options = messenger.Options{Dir: dir, Unlock: unlock}
		client, err := messenger.Open(env.ctx, options)
		if errors.Is(err, messenger.ErrWrongPassphrase) && env.stdinIsTerminal() && try < passphraseTries {
			fmt.Fprintln(env.stderr, "That is not the passphrase.")
			continue
		}
		if err != nil {
			return nil, options, fmt.Errorf("opening profile %s: %w", f.Profile, err)
		}
		return client, options, nil
	}
}

// unopened says why the profile cannot be opened, and which ones there are where it
// is not one of them.
func (f profileFlags) unopened(err error) error {
	err = fmt.Errorf("opening profile %s: %w", f.Profile, err)
	if !errors.Is(err, messenger.ErrNoProfile) {
		return err
	}
	told := &userError{status: exitFailure, code: "NO_PROFILE", err: err, hint: fmt.Sprintf("sealpost client --profile %s makes it", f.Profile)}
	if there := messenger.Profiles(); len(there) > 0 {
		told.hint = fmt.Sprintf("name one with --profile (%s), or make it: sealpost client --profile %s", someNames(there), f.Profile)
	}
	return told
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
		return nil, noAnswer("reading the passphrase of profile "+f.Profile, err)
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
	if errors.Is(err, io.EOF) {
		err = errors.New("standard input ended without an answer")
	}
	return &userError{status: exitFailure, code: "NO_ANSWER", err: fmt.Errorf("%s: %w", doing, err),
		hint: "answer at the terminal, or give the answers on standard input, one a line"}
}

// A session is an open profile with its line to the server.
type session struct {
	*messenger.Client
	// ctx ends with the command, or when the line is lost for good; its cause
	// says why.
	ctx    context.Context
	stop   context.CancelCauseFunc
	done   chan struct{} // closed when Run has returned
	events <-chan messenger.Event
}

// start lets the client talk to its server.
func start(ctx context.Context, client *messenger.Client) *session {
	ctx, stop := context.WithCancelCause(ctx)
	s := &session{Client: client, ctx: ctx, stop: stop, done: make(chan struct{})}
	s.events = client.Subscribe(ctx) // before the first of them
	go func() {
		defer close(s.done)
		if err := client.Run(ctx); err != nil {
			stop(err)
		}
	}()
	return s
}

// connected opens the profile, does something with the line to its server, and
// closes it.
func (f profileFlags) connected(env *environment, do func(*session) error) (err error) {
	client, err := f.open(env, terminal.NewConsole(env.stdin, env.stderr))
	if err != nil {
		return err
	}
	s := start(env.ctx, client)
	defer func() { err = errors.Join(err, s.close()) }()
	return s.cause(do(s))
}

// local opens the profile, does something that needs no server, and closes it.
func (f profileFlags) local(env *environment, do func(*messenger.Client) error) (err error) {
	client, err := f.open(env, terminal.NewConsole(env.stdin, env.stderr))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return do(client)
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

// unreachable says where the server is that gave no answer in time.
func (s *session) unreachable() error {
	return fmt.Errorf("%w at %s", messenger.ErrServerUnavailable, s.Self().Server)
}

// silent says why the server did not take in time what waits here.
func (s *session) silent() error {
	err := fmt.Errorf("the server %s did not take it in time", s.Self().Server)
	for len(s.events) > 0 {
		if event, ok := (<-s.events).(messenger.ConnectionChanged); ok && event.Err != nil {
			err = s.unreachable()
		}
	}
	return err
}

// keptHint says what becomes of what the server did not take.
const keptHint = "stays queued on this device: it goes out once the server is back, while sealpost client, send or inbox runs"

// catchUp waits until what the server holds is here. It takes events fast, so that
// none is left out.
func (s *session) catchUp() error {
	silence := time.NewTimer(networkTimeout)
	defer silence.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-silence.C:
			return fmt.Errorf("asking for new messages: %w", s.unreachable())
		case event := <-s.events:
			silence.Reset(networkTimeout)
			switch event := event.(type) {
			case messenger.CaughtUp:
				return nil
			case messenger.ConnectionChanged:
				if event.Err != nil {
					return fmt.Errorf("asking for new messages: %w", event.Err)
				}
			case nil: // the client was closed
				<-s.done
				return context.Cause(s.ctx)
			}
		}
	}
}

// receiptTime is how long a command waits at its end until what others are told of
// what was read is out. The next one sends what is left.
const receiptTime = 3 * time.Second

// flush waits until all that can go out is out, or for so long.
func (s *session) flush(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	err := s.Flush(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return s.cause(err)
}
