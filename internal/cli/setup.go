package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/messenger"
)

const (
	defaultServer     = "127.0.0.1:7443"
	defaultServerPort = "7443"
	networkTimeout    = 10 * time.Second // for a single question to a server
	minPassphrase     = 8                // characters
)

// setup asks what a new profile needs, and makes it.
type setup struct {
	env     *environment
	console *terminal.Console
	dir     string
	server  string // "": ask
	trust   messenger.TrustPolicy
}

func (s *setup) run() (*messenger.Client, error) {
	s.say("Welcome to Sealpost. Nothing is set up here yet: a few questions.")
	username, err := ask(s, "Your name: ", identity.ParseUsername)
	if err != nil {
		return nil, err
	}
	server, fingerprint, err := s.askServer()
	if err != nil {
		return nil, err
	}
	unlock, err := s.askProtection()
	if err != nil {
		return nil, err
	}
	return s.register(unlock, messenger.NewProfile{Username: username, Server: server, Fingerprint: fingerprint, Trust: s.trust})
}

// register makes the profile, and asks for what the server wants otherwise.
func (s *setup) register(unlock messenger.Unlocker, profile messenger.NewProfile) (*messenger.Client, error) {
	for {
		client, err := s.create(unlock, profile)
		switch {
		case errors.Is(err, messenger.ErrInviteRequired):
			s.say("This server takes new accounts by invitation: whoever runs it gives you a code.")
			err = s.askInvite(&profile)
		case errors.Is(err, messenger.ErrInviteInvalid) && s.env.stdinIsTerminal():
			s.say("The server does not take this code: it is wrong, used up, revoked or expired.")
			err = s.askInvite(&profile)
		case errors.Is(err, messenger.ErrNameTaken) && s.env.stdinIsTerminal():
			s.say("The name %s is taken on this server.", profile.Username)
			profile.Username, err = ask(s, "Another name: ", identity.ParseUsername)
		default:
			return client, err
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *setup) askInvite(profile *messenger.NewProfile) error {
	code, err := ask(s, "Invite code: ", identity.ParseInviteCode)
	profile.Invite = &code
	return err
}

func (s *setup) create(unlock messenger.Unlocker, profile messenger.NewProfile) (*messenger.Client, error) {
	ctx, cancel := context.WithTimeout(s.env.ctx, networkTimeout)
	defer cancel()
	client, err := messenger.Create(ctx, messenger.Options{Dir: s.dir, Unlock: unlock}, profile)
	if err != nil {
		return nil, fmt.Errorf("registering %s: %w", profile.Username, err)
	}
	return client, nil
}

func (s *setup) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if columns := terminal.Columns(s.env.stderr); columns > 0 {
		text = terminal.Wrap(text, columns, 0)
	}
	fmt.Fprintln(s.env.stderr, text)
}

// ask repeats a question until the answer parses. A script gets one try.
func ask[T any](s *setup, question string, parse func(string) (T, error)) (T, error) {
	for {
		line, err := s.console.Ask(s.env.ctx, question)
		if !s.env.stdinIsTerminal() {
			s.say("") // nobody pressed Enter there
		}
		if err != nil {
			var none T
			return none, noAnswer("reading an answer", err)
		}
		answer, err := parse(strings.TrimSpace(line))
		if err == nil || !s.env.stdinIsTerminal() {
			return answer, err
		}
		s.say("Not so: %s.", terminal.Printable(err.Error()))
	}
}

// askServer asks for the address and, as SSH does, for what the server's key
// should be, unless its certificate proves its name.
func (s *setup) askServer() (string, identity.ServerID, error) {
	for {
		address, err := s.address()
		if err != nil {
			return "", identity.ServerID{}, err
		}
		proof, err := s.identify(address)
		if err == nil && proof.Domain != "" {
			s.say("The server proved with its certificate that it is %s.", terminal.Printable(proof.Domain))
			return address, proof.ID, nil
		}
		if err == nil {
			return address, proof.ID, s.confirm(address, proof.ID)
		}
		if s.server != "" || !s.env.stdinIsTerminal() || !errors.Is(err, messenger.ErrServerUnavailable) {
			return "", identity.ServerID{}, err
		}
		s.say("Not so: %s. Check the address, and that sealpost server runs there.", terminal.Printable(err.Error()))
	}
}

func (s *setup) address() (string, error) {
	if s.server != "" {
		return parseServer(s.server)
	}
	return ask(s, "Server ["+defaultServer+"]: ", parseServer)
}

func (s *setup) identify(address string) (messenger.ServerProof, error) {
	ctx, cancel := context.WithTimeout(s.env.ctx, networkTimeout)
	defer cancel()
	return messenger.IdentifyServer(ctx, nil, address)
}

func (s *setup) confirm(address string, fingerprint identity.ServerID) error {
	s.say("The server %s has the fingerprint\n%s", terminal.Printable(address), fingerprint)
	s.say("Compare it with what sealpost server printed there.")
	yes, err := ask(s, "Is it the same (yes, no, or the fingerprint itself)? ", func(answer string) (bool, error) {
		switch strings.ToLower(answer) {
		case "yes":
			return true, nil
		case "no":
			return false, nil
		}
		expected, err := identity.ParseServerID(answer)
		if err != nil {
			return false, errors.New("the answer is yes, no, or the fingerprint as the server printed it")
		}
		return expected == fingerprint, nil
	})
	if err != nil || yes {
		return err
	}
	return &userError{status: exitFailure, code: "SERVER_NOT_TRUSTED",
		err:  fmt.Errorf("the fingerprint of %s is not what was expected; nothing was set up", address),
		hint: "somebody may stand between you and the server: ask who runs it"}
}

// parseServer reads host:port, or a host alone.
func parseServer(s string) (string, error) {
	if s == "" {
		return defaultServer, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), defaultServerPort
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" || strings.ContainsAny(host, " /@") || terminal.Printable(host) != host {
		return "", &userError{status: exitUsage, code: "BAD_SERVER", err: errors.New("a server is a host and a port, such as " + defaultServer)}
	}
	return net.JoinHostPort(host, port), nil
}

// askProtection asks for a passphrase, and says what protects the profile
// without one.
func (s *setup) askProtection() (messenger.Unlocker, error) {
	without, words := messenger.KeyFile(), "a file that only you can read (mode 0600)"
	if messenger.KeyringAvailable() {
		without, words = messenger.Keyring(), "the keyring of this system"
	}
	s.say("A passphrase protects your keys and messages on this computer.\nWithout one, the key to them is kept in %s.", words)
	for {
		passphrase, again, err := s.askPassphrase()
		switch {
		case err != nil:
			return nil, err
		case passphrase == "":
			s.say("No passphrase: the key is kept in %s.", words)
			return without, nil
		case passphrase == again && len([]rune(passphrase)) >= minPassphrase:
			return messenger.Passphrase([]byte(passphrase)), nil
		case passphrase != again:
			err = errors.New("the two are not the same")
		default:
			err = fmt.Errorf("a passphrase has at least %d characters", minPassphrase)
		}
		if !s.env.stdinIsTerminal() {
			return nil, &userError{status: exitFailure, code: "BAD_PASSPHRASE", err: err, hint: "an empty line means no passphrase"}
		}
		s.say("Not so: %v.", err)
	}
}

func (s *setup) askPassphrase() (passphrase, again string, err error) {
	first, err := s.console.AskSecret(s.env.ctx, "Passphrase (empty: none): ")
	if err != nil {
		return "", "", noAnswer("reading the passphrase", err)
	}
	if len(first) == 0 {
		return "", "", nil
	}
	second, err := s.console.AskSecret(s.env.ctx, "The same again: ")
	if err != nil {
		return "", "", noAnswer("reading the passphrase", err)
	}
	return string(first), string(second), nil
}
