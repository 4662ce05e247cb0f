package bench

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"sealpost/api"
	"sealpost/relay"
	"sealpost/relay/sqlite"
)

// A localRelay is a relay in this process, on a loopback address.
type localRelay struct {
	Target
	stop func() error
}

// roomyMailbox lets receivers fall behind, which is measured rather than refused.
const roomyMailbox = 10_000_000

// unlimited is a rate that no load reaches.
const unlimited = 1 << 30

func startRelay(dir string) (*localRelay, error) {
	var cleanup func() error
	if dir == "" {
		made, err := os.MkdirTemp("", "sealpost-bench-")
		if err != nil {
			return nil, err
		}
		dir, cleanup = made, func() error { return os.RemoveAll(made) }
	} else {
		cleanup = func() error { return nil }
	}
	r, err := serve(dir)
	if err != nil {
		return nil, errors.Join(err, cleanup())
	}
	stop := r.stop
	r.stop = func() error { return errors.Join(stop(), cleanup()) }
	return r, nil
}

func serve(dir string) (*localRelay, error) {
	store, err := sqlite.Open(dir)
	if err != nil {
		return nil, err
	}
	server, listener, err := listen(dir, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return &localRelay{Target: Target{Address: listener.Addr().String(), ID: server.ID()}, stop: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(server.Shutdown(ctx), <-served, store.Close())
	}}, nil
}

func listen(dir string, store relay.Store) (*relay.Server, net.Listener, error) {
	certificate, err := relay.LoadOrCreateCertificate(dir)
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	limits := relay.DefaultLimits()
	limits.MailboxRows, limits.MailboxBytes = roomyMailbox, roomyMailbox*api.DefaultMaxMessage
	limits.MailboxShare = 100
	limits.DeviceSubmits, limits.AccountSubmits, limits.DeviceBytes = unlimited, unlimited, unlimited
	limits.DeviceCalls, limits.AddressRegistrations = unlimited, unlimited
	limits.Connections, limits.AddressConnections, limits.AddressConnects = unlimited, unlimited, unlimited
	server, err := relay.New(relay.Config{Store: store, Certificate: certificate, Limits: limits})
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return server, listener, nil
}
