package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/internal/malice"
	"sealpost/messenger"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// patience bounds each wait for something that takes milliseconds.
const patience = 30 * time.Second

// A stage is a relay with two clients, and a tap on what passes between.
type stage struct {
	dir     string
	log     *slog.Logger // of all three; nil: none
	enemy   malice.Relay
	tap     tap
	server  *relay.Server
	store   *sqlite.Store
	address string
	served  chan error
	alice   *player
	bob     *player
	others  []*player
}

func (s *stage) relayDir() string { return filepath.Join(s.dir, "relay") }

// openRelay starts the relay on a free port of the loopback address.
func (s *stage) openRelay() error {
	certificate, err := relay.LoadOrCreateCertificate(s.relayDir())
	if err != nil {
		return err
	}
	if s.store, err = sqlite.Open(s.relayDir()); err != nil {
		return err
	}
	s.server, err = relay.New(relay.Config{
		Store:            s.store,
		Certificate:      certificate,
		Limits:           relay.DefaultLimits(),
		Logger:           s.log,
		OpenRegistration: true,
		ServerOptions:    append(s.enemy.ServerOptions(), s.tap.serverOptions()...),
	})
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	s.address = listener.Addr().String()
	s.served = make(chan error, 1)
	go func() { s.served <- s.server.Serve(listener) }()
	return nil
}

// close ends everything that was started and removes the folders.
func (s *stage) close() error {
	var errs []error
	for _, p := range append([]*player{s.alice, s.bob}, s.others...) {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	if s.served != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		errs = append(errs, s.server.Shutdown(ctx), <-s.served, s.store.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// A player is a person at a real client.
type player struct {
	party  Party
	dir    string
	client *messenger.Client
	events <-chan messenger.Event
	line   *recorder
	cancel context.CancelFunc
	done   chan error
}

// enter makes a new account; the client is not on line yet.
func (s *stage) enter(ctx context.Context, party Party, username identity.Username) (*player, error) {
	p := &player{party: party, dir: filepath.Join(s.dir, string(username)), line: &recorder{}}
	client, err := messenger.Create(ctx, messenger.Options{
		Dir:    p.dir,
		Unlock: messenger.KeyFile(),
		Dial:   p.line.dial,
		Logger: s.log,
	}, messenger.NewProfile{Username: username, Server: s.address, Fingerprint: s.server.ID()})
	if err != nil {
		return nil, fmt.Errorf("making %s's account: %w", party, err)
	}
	p.client = client
	return p, nil
}

// goOnline connects the client to the relay until the stage closes.
func (p *player) goOnline(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.events = p.client.Subscribe(ctx)
	p.done = make(chan error, 1)
	go func() { p.done <- p.client.Run(ctx) }()
}

func (p *player) close() error {
	var err error
	if p.cancel != nil {
		p.cancel()
		err = <-p.done
	}
	return errors.Join(err, p.client.Close())
}

// send writes to somebody and waits until the relay has accepted it.
func (p *player) send(ctx context.Context, to identity.Username, text string) error {
	conversation, err := p.client.Direct(ctx, to)
	if err != nil {
		return fmt.Errorf("beginning a conversation as %s: %w", p.party, err)
	}
	return p.say(ctx, conversation.ID, text)
}

// say writes in a conversation and waits until the relay has accepted it.
func (p *player) say(ctx context.Context, in messenger.ConversationID, text string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err := p.client.Send(ctx, in, text)
	if err != nil {
		return fmt.Errorf("sending as %s: %w", p.party, err)
	}
	if err := p.client.Wait(ctx, id, messenger.Accepted); err != nil {
		return fmt.Errorf("waiting for the relay as %s: %w", p.party, err)
	}
	return nil
}

func (p *player) device() string { return p.client.Self().DeviceID.String() }

// await returns the first event that is of type E and that want accepts.
func await[E messenger.Event](p *player, want func(E) bool) (E, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case event, open := <-p.events:
			if !open {
				return *new(E), fmt.Errorf("%s's client has closed", p.party)
			}
			if e, ok := event.(E); ok && want(e) {
				return e, nil
			}
		case <-timeout.C:
			return *new(E), fmt.Errorf("nothing came to %s within %v", p.party, patience)
		}
	}
}

// A recorder keeps the last letter's bytes as they leave a client's machine.
type recorder struct {
	mu     sync.Mutex
	letter []byte
}

func (r *recorder) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &recordedConn{Conn: conn, recorder: r}, nil
}

// last returns the latest write that can hold a letter.
func (r *recorder) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.letter
}

type recordedConn struct {
	net.Conn
	recorder *recorder
}

func (c *recordedConn) Write(b []byte) (int, error) {
	const smallest = 200 // a letter, and not what HTTP/2 says about itself
	if len(b) >= smallest {
		c.recorder.mu.Lock()
		c.recorder.letter = bytes.Clone(b)
		c.recorder.mu.Unlock()
	}
	return c.Conn.Write(b)
}

// A tap sees what the relay sees.
type tap struct {
	mu        sync.Mutex
	submits   []*api.Submit
	published map[string]*api.PublishKeyPackagesRequest // the first of each device, by its id
	claim     *api.ClaimKeyPackagesResponse             // the last
	version   uint16                                    // of TLS on the last line
	curve     tls.CurveID                               // its key exchange
}

func (t *tap) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(t.unary), grpc.ChainStreamInterceptor(t.stream)}
}

func (t *tap) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	if err != nil {
		return response, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r := request.(type) {
	case *api.PublishKeyPackagesRequest:
		md, _ := metadata.FromIncomingContext(ctx)
		if t.published == nil {
			t.published = make(map[string]*api.PublishKeyPackagesRequest)
		}
		for _, device := range md.Get(api.MetadataDevice) {
			if t.published[device] == nil {
				t.published[device] = r
			}
		}
	case *api.ClaimKeyPackagesRequest:
		t.claim = response.(*api.ClaimKeyPackagesResponse)
	}
	return response, nil
}

func (t *tap) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if p, ok := peer.FromContext(stream.Context()); ok {
		if info, ok := p.AuthInfo.(interface {
			Negotiated() (uint16, tls.CurveID)
		}); ok {
			t.mu.Lock()
			t.version, t.curve = info.Negotiated()
			t.mu.Unlock()
		}
	}
	return handler(server, &tappedStream{ServerStream: stream, tap: t})
}

type tappedStream struct {
	grpc.ServerStream
	tap *tap
}

func (s *tappedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if frame, ok := m.(*api.ClientFrame); ok && frame.GetSubmit() != nil {
		s.tap.mu.Lock()
		s.tap.submits = append(s.tap.submits, frame.GetSubmit())
		s.tap.mu.Unlock()
	}
	return nil
}

// lastSubmit returns the last that want accepts, nil if there is none.
func (t *tap) lastSubmit(want func(*api.Submit) bool) *api.Submit {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, submit := range slices.Backward(t.submits) {
		if want(submit) {
			return submit
		}
	}
	return nil
}

func (t *tap) publishedBy(device identity.DeviceID) *api.PublishKeyPackagesRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.published[device.String()]
}

func (t *tap) lastClaim() *api.ClaimKeyPackagesResponse {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.claim
}

func (t *tap) negotiated() (uint16, tls.CurveID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version, t.curve
}
