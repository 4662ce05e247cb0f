package relay

import (
	"context"
	"fmt"

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
	record, err := identity.ParseDeviceRecord(request.GetDeviceRecord())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	invite, err := parseInvite(request.GetInvite())
	if err != nil {
		return nil, err
	}
	_, err = d.authenticate(ctx, api.Directory_Register_FullMethodName, keyOf(record.Certificate))
	noteSignature(ctx, err == nil)
	if err != nil {
		return nil, err
	}
	err = d.store.Register(ctx, Registration{
		Certificate: record.Certificate,
		Record:      request.GetDeviceRecord(),
		At:          d.clock(),
		MaxDevices:  d.limits.Devices,
		ByInvite:    !d.registersAnybody(ctx),
		Invite:      invite,
	})
	if err != nil {
		return nil, err
	}
	d.metrics.registrations.Inc()
	return &api.RegisterResponse{}, nil
}

// Lookup implements api.DirectoryServer.
func (d directory) Lookup(ctx context.Context, request *api.LookupRequest) (*api.LookupResponse, error) {
	username, err := identity.ParseUsername(request.GetUsername())
	if err != nil || string(username) != request.GetUsername() {
		return nil, errMalformed
	}
	// A name that nobody has counts like any other.
	if err := d.rates.lookups.take(d.clock(), callingDevice(ctx)); err != nil {
		return nil, err
	}
	records, err := d.store.Records(ctx, username)
	if err != nil {
		return nil, err
	}
	return &api.LookupResponse{DeviceRecords: records}, nil
}
