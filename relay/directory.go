package relay

import (
	"context"
	"fmt"

	"google.golang.org/grpc/peer"

	"sealpost/api"
	"sealpost/identity"
)

// directory serves api.Directory.
type directory struct {
	api.UnimplementedDirectoryServer
	*Server
}

// Register implements api.DirectoryServer.
func (d directory) Register(ctx context.Context, request *api.RegisterRequest) (*api.RegisterResponse, error) {
	if !d.mayRegister(ctx) {
		return nil, errClosed
	}
	record, err := identity.ParseDeviceRecord(request.GetDeviceRecord())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if _, err := d.authenticate(ctx, api.Directory_Register_FullMethodName, keyOf(record.Certificate)); err != nil {
		return nil, err
	}
	err = d.store.Register(ctx, Registration{
		Certificate: record.Certificate,
		Record:      request.GetDeviceRecord(),
		At:          d.clock(),
		MaxDevices:  d.limits.Devices,
	})
	if err != nil {
		return nil, err
	}
	d.metrics.registrations.Inc()
	return &api.RegisterResponse{}, nil
}

// mayRegister holds off strangers: unless registration is open to all, the relay
// must listen on loopback only (a proxy on this machine would make every peer
// look local), and the peer must be there too.
func (d directory) mayRegister(ctx context.Context) bool {
	if d.openRegistration {
		return true
	}
	p, ok := peer.FromContext(ctx)
	return ok && d.loopbackOnly.Load() && isLoopback(p.Addr)
}

// Lookup implements api.DirectoryServer.
func (d directory) Lookup(ctx context.Context, request *api.LookupRequest) (*api.LookupResponse, error) {
	username, err := identity.ParseUsername(request.GetUsername())
	if err != nil || string(username) != request.GetUsername() {
		return nil, errMalformed
	}
	records, err := d.store.Records(ctx, username)
	if err != nil {
		return nil, err
	}
	return &api.LookupResponse{DeviceRecords: records}, nil
}
