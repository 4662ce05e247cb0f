package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"sealpost/api"
	"sealpost/identity"
)

// Config is what a Server is made of.
type Config struct {
	// Store keeps the data. Whoever opened it closes it, after Shutdown.
	Store Store
	// Certificate is presented to clients, who know the server by its key; see
	// [LoadOrCreateCertificate]. Leaf must be set.
	Certificate tls.Certificate
	// Domain, where it is set, is the DNS name that clients know the server by
	// instead, from certificates that authorities issue.
	Domain string
	// GetCertificate, where it is set, is asked at every handshake, and Certificate
	// is not presented. Without Domain it must keep to the key of Certificate.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Limits         Limits
	Clock          func() time.Time // nil: time.Now
	Logger         *slog.Logger     // nil: nothing is logged
	Metrics        *Metrics         // nil: nobody sees them
	// OpenRegistration lets everybody register. Without it only who connects over
	// a loopback address may, while the server listens on no other, and who has an
	// invite code.
	OpenRegistration bool
	// ServerOptions are added to the server's own. Interceptors among them run
	// before a stream is authenticated, and after a single call is.
	ServerOptions []grpc.ServerOption
}

// A Server is a relay. Its methods may be called from several goroutines.
type Server struct {
	store            Store
	id               identity.ServerID
	limits           Limits
	clock            func() time.Time
	log              *slog.Logger
	metrics          *Metrics
	openRegistration bool

	grpc   *grpc.Server
	health *health.Server
	nonces *nonces
	rates  clientRates
	claims *claims
	conns  connections
	storm  storm
	writer *writer
	lines  lines
	// tasks send for lines, and may outlive their handlers.
	tasks sync.WaitGroup
	// loopbackOnly is true as long as every listener has a loopback address.
	loopbackOnly atomic.Bool

	// background is what runs from New until stopBackground at the end.
	background     sync.WaitGroup
	stopBackground context.CancelFunc
}

// sweepInterval is how often expired envelopes are looked for.
const sweepInterval = time.Hour

// New returns a server that writes from now on and listens from Serve on. It
// ends with Shutdown.
func New(config Config) (*Server, error) {
	id, err := config.id()
	if err != nil {
		return nil, err
	}
	if err := config.Limits.check(); err != nil {
		return nil, err
	}
	s := &Server{
		store:            config.Store,
		id:               id,
		limits:           config.Limits,
		clock:            config.Clock,
		log:              config.Logger,
		metrics:          config.Metrics,
		openRegistration: config.OpenRegistration,
		health:           health.NewServer(),
		nonces:           newNonces(config.Limits),
		rates:            newClientRates(config.Limits),
		claims:           newClaims(config.Limits),
		lines:            lines{lines: make(map[identity.DeviceID]*line)},
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = NewMetrics()
	}
	s.conns = newConnections(s)
	s.loopbackOnly.Store(true)
	s.writer = newWriter(s)
	s.grpc = s.newGRPC(config)
	if err := s.nonces.load(context.Background(), s.store, s.clock()); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stopBackground = stop
	go s.writer.run()
	s.background.Go(func() { s.sweepForever(ctx) })
	s.background.Go(func() { s.storm.watch(ctx, s.conns.len) })
	s.background.Go(func() { s.nonces.saveForever(ctx, s.store, func(err error) { s.logInternal(err) }) })
	return s, nil
}

// id is what clients know the server by.
func (c *Config) id() (identity.ServerID, error) {
	switch {
	case c.Domain != "" && c.GetCertificate != nil:
		return identity.ServerIDOfDomain(c.Domain), nil
	case c.Domain != "":
		return identity.ServerID{}, errors.New("a domain needs certificates that change")
	case c.Certificate.Leaf == nil:
		return identity.ServerID{}, errors.New("the certificate has no leaf")
	}
	return identity.ServerIDOf(c.Certificate.Leaf.RawSubjectPublicKeyInfo), nil
}

func (c *Config) tls() *tls.Config {
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // clients keep no sessions
	}
	if c.GetCertificate == nil {
		config.Certificates = []tls.Certificate{c.Certificate}
		return config
	}
	config.GetCertificate = c.GetCertificate
	if c.Domain != "" {
		// An ACME authority looks for its challenge under this name (RFC 8737).
		config.NextProtos = []string{"h2", "acme-tls/1"}
	}
	return config
}

func (s *Server) newGRPC(config Config) *grpc.Server {
	options := append(transportOptions(config.tls(), s.limits), config.ServerOptions...)
	options = append(options,
		grpc.InTapHandle(s.admit),
		grpc.ChainUnaryInterceptor(s.answerUnary),
		grpc.ChainStreamInterceptor(s.authenticateStream),
	)
	g := grpc.NewServer(options...)
	api.RegisterDirectoryServer(g, directory{Server: s})
	api.RegisterDeliveryServer(g, delivery{Server: s})
	for _, service := range []string{api.Directory_ServiceDesc.ServiceName, api.Delivery_ServiceDesc.ServiceName} {
		s.health.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// transportOptions set TLS and what a connection costs. An idle one has no read
// buffer, shares its write buffer (grpc's default), keeps no headers and has fixed windows
// of 64 KiB, which bound what a client can make the server hold.
func transportOptions(config *tls.Config, limits Limits) []grpc.ServerOption {
	const window = 64 << 10
	return []grpc.ServerOption{
		grpc.Creds(noticing{credentials.NewTLS(config)}),
		grpc.MaxRecvMsgSize(limits.maxFrame()),
		grpc.ForceServerCodecV2(limits.codec()),
		grpc.MaxHeaderListSize(uint32(min(limits.HeaderBytes, math.MaxUint32))),
		grpc.HeaderTableSize(0), // headers of few calls, most of them random: not worth keeping
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(min(limits.StrangerTime, 10*time.Second)),
		grpc.ReadBufferSize(0),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionIdle: limits.IdleTime,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 15 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
}

// Ready returns why the server cannot serve now, or nil.
func (s *Server) Ready(ctx context.Context) error {
	if s.lines.isDraining() {
		return errShutdown
	}
	if _, err := s.store.Device(ctx, identity.DeviceID{}); err != nil && !errors.Is(err, ErrUnknownDevice) {
		return fmt.Errorf("reading the store: %w", err)
	}
	return nil
}

// ID returns the name of the server in request signatures and what clients pin.
func (s *Server) ID() identity.ServerID { return s.id }

// Serve answers on a listener until Shutdown, and closes it. It returns nil
// after Shutdown.
func (s *Server) Serve(listener net.Listener) error {
	if !isLoopback(listener.Addr()) {
		s.loopbackOnly.Store(false)
	}
	if err := s.grpc.Serve(s.conns.listen(listener)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// Shutdown ends the server: what it took is written and answered, then streams
// end with SHUTDOWN. When ctx ends first, connections are cut, and what was
// accepted is written all the same; the error is that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.lines.drain()
	s.conns.cut(false)
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	var err error
	select {
	case <-stopped:
	case <-ctx.Done():
		err = ctx.Err()
		s.conns.cut(true)
		s.grpc.Stop()
		<-stopped
	}
	s.writer.close()
	s.tasks.Wait() // no line is left to begin another
	s.stopBackground()
	s.background.Wait()
	return err
}

func (s *Server) sweepForever(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes what is older than the retention, or has come to its end.
func (s *Server) sweep(ctx context.Context) {
	now := s.clock()
	gone, err := s.store.Expire(ctx, Due{
		Before: now.Add(-s.limits.Retention), Nonces: now.Add(-s.nonces.lifetime), At: now, Groups: now.Add(-s.limits.GroupRetention),
	})
	if err != nil && ctx.Err() == nil {
		s.logInternal(err)
	}
	s.metrics.expire(gone)
	if gone.Envelopes > 0 {
		s.log.Info("envelopes expired", "count", gone.Envelopes)
	}
}

// aside calls f on a goroutine of its own, for a handler that lasts: a stack that
// grew once stays so, and what verifies signatures and reads the store needs more
// than what waits.
func aside(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// delivery serves api.Delivery.
type delivery struct {
	api.UnimplementedDeliveryServer
	*Server
}

// Connect implements api.DeliveryServer.
func (d delivery) Connect(stream api.Delivery_ConnectServer) error {
	l := newLine(d.Server, callingDevice(stream.Context()), stream)
	var err error
	aside(func() { err = l.greet() })
	if err != nil {
		return err
	}
	if err := d.lines.add(l); err != nil {
		return err
	}
	defer d.lines.remove(l)
	d.storm.devices.Add(1)
	d.metrics.devicesConnected.Inc()
	defer d.metrics.devicesConnected.Dec()
	return l.serve()
}
