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
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/term"

	"sealpost/identity"
	"sealpost/internal/ops"
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

	tlsFlags
	Metrics string `placeholder:"HOST:PORT" help:"Serve metrics and health over HTTP there, such as on 127.0.0.1:9090 (default: nowhere)."`

	Limits relay.Limits `embed:"" prefix:"limit-" group:"Limits (--print-config shows the defaults):"`

	settings *settings // where they came from
	fresh    bool      // there was no store: this is a new server, or its disk is not there
}

// Help is shown by server --help.
func (*serverCommand) Help() string {
	return "Every setting is a flag, a variable in the environment (SEALPOST_ and the name in capitals, dashes as _), " +
		"and a line in the file of --config, and counts in that order."
}

// Run serves until a signal ends it.
func (c *serverCommand) Run(env *environment, parsed *kong.Context) error {
	if err := c.settings.check(parsed.Selected().Flags); err != nil {
		return err
	}
	if c.PrintConfig {
		c.Data = c.dir()
		return c.settings.print(env.stdout, parsed.Selected().Flags)
	}
	log := newLogger(env)
	c.fresh = c.isFresh()
	store, err := sqlite.Open(c.dir())
	if err != nil {
		return explainData(c.dir(), fmt.Errorf("opening %s: %w", c.dir(), err))
	}
	err = c.serve(env, store, log)
	if closed := store.Close(); closed != nil {
		err = errors.Join(err, explainData(c.dir(), fmt.Errorf("closing %s: %w", c.dir(), closed)))
	}
	return err
}

func (c *serverCommand) serve(env *environment, store *sqlite.Store, log *slog.Logger) error {
	if err := c.boundConnections(log); err != nil {
		return err
	}
	source, err := c.certificates(c.dir(), log)
	if err != nil {
		return err
	}
	listeners, err := c.listen()
	if err != nil {
		return err
	}
	traces, err := ops.NewTraces(env.ctx, log)
	if err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	metrics := relay.NewMetrics()
	server, err := relay.New(relay.Config{
		Store: store, Limits: c.Limits, Logger: log, Metrics: metrics, OpenRegistration: c.OpenRegistration,
		Certificate: source.pinned, GetCertificate: source.get, Domain: c.Domain, ServerOptions: traces.ServerOptions(),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("starting the server: %w", err), closeAll(listeners))
	}
	watch, err := c.watch(ops.Watched{
		Metrics: []prometheus.Collector{metrics, store}, Ready: server.Ready, Expires: source.expires,
	})
	if err != nil {
		return errors.Join(err, server.Shutdown(env.ctx), closeAll(listeners))
	}
	c.greet(env, listeners[0].Addr(), server.ID())
	keeping, cancel := context.WithCancel(context.Background())
	stop, err := source.keep(keeping, listeners[0].Addr())
	if err != nil {
		err = fmt.Errorf("keeping the certificate: %w", err)
	}
	err = errors.Join(err, c.serveUntilDone(env, server, listeners, log))
	cancel()
	stop()
	ending, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	traces.Close(ending)
	return errors.Join(err, watch())
}

// boundConnections takes no more connections than files can be open: those beyond
// would wait unanswered, and the store would find none for itself.
func (c *serverCommand) boundConnections(log *slog.Logger) error {
	possible, err := ops.Connections()
	if err != nil {
		return err
	}
	if possible < c.Limits.Connections {
		if c.settings.places["limit-connections"] != "" {
			log.Warn("fewer connections than --limit-connections allows: the system lets too few files be open; raise ulimit -n, or LimitNOFILE of the service",
				"limit", c.Limits.Connections, "connections", possible)
		}
		c.Limits.Connections = possible
	}
	return nil
}

// listen returns the sockets that the service manager opened, or opens one.
func (c *serverCommand) listen() ([]net.Listener, error) {
	listeners, err := ops.Inherited()
	if err != nil || len(listeners) > 0 {
		return listeners, err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, explainListen("--listen", c.Listen, "127.0.0.1:7443 or :7443", err)
	}
	return []net.Listener{listener}, nil
}

func closeAll(listeners []net.Listener) (err error) {
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// watch serves metrics and health if somebody wants them, and returns what ends
// that.
func (c *serverCommand) watch(watched ops.Watched) (stop func() error, err error) {
	if c.Metrics == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", c.Metrics)
	if err != nil {
		return nil, explainListen("--metrics", c.Metrics, "127.0.0.1:9090", err)
	}
	return ops.NewWatch(listener, watched).Close, nil
}

// serveUntilDone serves until env ends or serving fails. A second signal ends the
// process at once: the first gave its handler up.
func (c *serverCommand) serveUntilDone(env *environment, server *relay.Server, listeners []net.Listener, log *slog.Logger) error {
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- server.Serve(l) }()
	}
	log.Info("serving", "version", version(), "connections", c.Limits.Connections, "data", c.dir(), "new", c.fresh)
	ops.Notify(ops.Serving)
	var err error
	ended := 0
	select {
	case <-env.ctx.Done():
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		log.Info("stopping; a second signal ends the server at once")
	case err = <-served:
		ended = 1
	}
	ops.Notify(ops.Stopping)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	switch shutdown := server.Shutdown(ctx); {
	case errors.Is(shutdown, context.DeadlineExceeded):
		log.Warn("clients that did not hang up in time were cut; what was accepted is on disk", "after", shutdownTime.String())
	case shutdown != nil:
		err = errors.Join(err, shutdown)
	}
	for ; ended < len(listeners); ended++ {
		err = errors.Join(err, <-served)
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// greet prints what a person needs to connect. It serves whether or not somebody
// reads that.
func (c *serverCommand) greet(env *environment, address net.Addr, id identity.ServerID) {
	signal.Ignore(syscall.SIGPIPE)
	say := func(format string, args ...any) { _ = printLines(env.stdout, fmt.Sprintf(format, args...), 2) }
	say("address      %s", address)
	if c.Domain != "" {
		say("domain       %s\nconnect      sealpost client --server %s", c.Domain, withHost(c.Domain, address))
	} else {
		say("fingerprint  %s\nconnect      sealpost client --server %s", id, reachable(address))
	}
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !c.OpenRegistration {
		c.greetByInvite(env, say)
	}
}

// reachable is an address as clients can type it. Which name or address of this
// machine they reach, where it listens on all, the operator knows.
func reachable(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return withHost("HOST", address) + "   (HOST: a name or address of this machine)"
	}
	return address.String()
}

// withHost is an address with another host.
func withHost(host string, address net.Addr) string {
	_, port, _ := net.SplitHostPort(address.String())
	return net.JoinHostPort(host, port)
}

// newLogger logs as text for a person and as JSON for a program.
func newLogger(env *environment) *slog.Logger {
	if f, ok := env.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(env.stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(terminal.JSONWriter(env.stderr), nil))
}

// explainListen says what is wrong with the address of a flag.
func explainListen(flag, address, example string, err error) error {
	explained := &userError{status: exitFailure, code: "LISTEN"}
	var unknown *net.DNSError
	reason := errors.Unwrap(err) // without the address and the call, which a person knows or need not know
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		reason = errors.New("the port is in use")
		explained.code, explained.hint = "PORT_IN_USE", "stop what listens there, or choose another port with "+flag
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = errors.New("this machine does not have that address")
		explained.hint = flag + " takes an address of this machine, or none: :PORT is all of them"
	case errors.As(err, &unknown):
		explained.hint = flag + " takes an address of this machine, such as " + example
	case errors.Is(err, fs.ErrPermission):
		explained.code, explained.hint = "PORT_NOT_ALLOWED", "ports below 1024 need rights; choose another with "+flag
	default:
		explained.hint = flag + " takes HOST:PORT, such as " + example
	}
	explained.err = fmt.Errorf("listening on %s: %w", address, reason)
	return explained
}
