package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"sealpost/identity"
	"sealpost/internal/terminal"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// shutdownTime is how long a stopping server waits for its clients.
const shutdownTime = 5 * time.Second

// serverCommand is sealpost server.
type serverCommand struct {
	Config      string `type:"path" placeholder:"FILE" help:"Read settings from a TOML file: listen = \"...\" is --listen. The environment has them as SEALPOST_LISTEN."`
	PrintConfig bool   `help:"Print the settings in effect and where each comes from, and end."`

	dataFlag
	Listen           string `default:"127.0.0.1:7443" help:"Address and port to listen on."`
	OpenRegistration bool   `help:"Let everybody register. Without it, who is on this machine can, while the server listens on a loopback address, and who has an invite code."`

	Limits relay.Limits `embed:"" prefix:"limit-" group:"Limits (--print-config shows the defaults):"`

	settings *settings // where they came from
}

// Help is shown by server --help.
func (*serverCommand) Help() string {
	return "Every setting is a flag, a variable in the environment (SEALPOST_ and the name in capitals, dashes as _), " +
		"and a line in the file of --config, and counts in that order."
}

// Run serves until a signal ends it.
func (c *serverCommand) Run(env *environment, parsed *kong.Context) error {
	if c.PrintConfig {
		c.Data = c.dir()
		return c.settings.print(env.stdout, parsed.Selected().Flags)
	}
	store, err := sqlite.Open(c.dir())
	if err != nil {
		return explainData(c.dir(), err)
	}
	return errors.Join(c.serve(env, store), store.Close())
}

func (c *serverCommand) serve(env *environment, store relay.Store) error {
	certificate, err := relay.LoadOrCreateCertificate(c.dir())
	if err != nil {
		return explainData(c.dir(), err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return c.explainListen(err)
	}
	server, err := relay.New(relay.Config{
		Store: store, Certificate: certificate, Limits: c.Limits,
		Logger: newLogger(env), OpenRegistration: c.OpenRegistration,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("starting the server: %w", err), listener.Close())
	}
	c.greet(env, listener.Addr(), server.ID())
	return serveUntilDone(env, server, listener)
}

// serveUntilDone serves until env ends or serving fails. A second signal ends the
// process at once: the first gave its handler up.
func serveUntilDone(env *environment, server *relay.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case <-env.ctx.Done():
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		fmt.Fprintln(env.stderr, "sealpost: stopping")
	case err = <-served:
		served <- nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if shutdown := server.Shutdown(ctx); shutdown != nil && !errors.Is(shutdown, context.DeadlineExceeded) {
		err = errors.Join(err, shutdown)
	}
	return errors.Join(err, <-served)
}

// greet prints what a person needs to connect.
func (c *serverCommand) greet(env *environment, address net.Addr, id identity.ServerID) {
	fmt.Fprintf(env.stdout, "address      %s\nfingerprint  %s\n", address, id)
	fmt.Fprintf(env.stdout, "connect      sealpost client   (server: %s; compare the fingerprint)\n", address)
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !c.OpenRegistration {
		c.greetByInvite(env)
	}
}

// newLogger logs as text for a person and as JSON for a program.
func newLogger(env *environment) *slog.Logger {
	if f, ok := env.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(env.stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(terminal.JSONWriter(env.stderr), nil))
}

func (c *serverCommand) explainListen(err error) error {
	explained := &userError{status: exitFailure, err: fmt.Errorf("listening on %s: %w", c.Listen, err)}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		explained.err = fmt.Errorf("listening on %s: the port is in use", c.Listen)
		explained.code, explained.hint = "PORT_IN_USE", "stop what listens there, or choose another port with --listen"
	case errors.Is(err, fs.ErrPermission):
		explained.code, explained.hint = "PORT_NOT_ALLOWED", "ports below 1024 need rights; choose another with --listen"
	default:
		explained.code, explained.hint = "LISTEN", "--listen takes HOST:PORT, such as 127.0.0.1:7443 or :7443"
	}
	return explained
}
