package messenger

import (
	"context"
	"errors"
	"fmt"

	"sealpost/api"
	"sealpost/identity"
)

// maxDevices bounds the devices of an account.
const maxDevices = 32

// listing is what the directory says of an account: its devices, which one
// account key certifies for the name that was asked for. Whether that key is the
// right one is not known yet.
type listing struct {
	username   identity.Username
	accountKey identity.AccountKey
	devices    []identity.DeviceRecord // at least one
}

// lookup asks the directory. The error is [ErrUnknownRecipient],
// [ErrBadDirectory], or one of the line's.
func (c *Client) lookup(ctx context.Context, username identity.Username) (listing, error) {
	if c.closing.Err() != nil {
		return listing{}, ErrClosed
	}
	if username == c.self.username() {
		return listing{}, ErrSelf
	}
	response, err := callDirectory(ctx, c, func(ctx context.Context, d api.DirectoryClient) (*api.LookupResponse, error) {
		return d.Lookup(ctx, &api.LookupRequest{Username: string(username)})
	})
	if err != nil {
		return listing{}, err
	}
	return c.parseListing(username, response.GetDeviceRecords())
}

// callDirectory makes one call to the directory, which ends with ctx, with the
// client, or after callTimeout.
func callDirectory[R any](ctx context.Context, c *Client, do func(context.Context, api.DirectoryClient) (*R, error)) (*R, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(c.closing, cancel)
	defer stop()
	conn, err := c.line.connect(call)
	if err != nil {
		return nil, c.callFailure(ctx, err)
	}
	response, err := do(call, api.NewDirectoryClient(conn))
	if err != nil {
		return nil, c.callFailure(ctx, c.line.explain(err))
	}
	return response, nil
}

func isUnavailable(err error) bool { return errors.Is(err, ErrServerUnavailable) }

// callFailure tells the caller's own end from that of the call.
func (c *Client) callFailure(ctx context.Context, err error) error {
	switch {
	case c.closing.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w at %s: it does not answer", ErrServerUnavailable, c.self.server)
	}
	return err
}

// parseListing checks the directory's answer. It takes all of it or nothing: an
// answer with one false device in it is evidence against the server, not a list
// to pick from.
func (c *Client) parseListing(username identity.Username, records [][]byte) (listing, error) {
	if len(records) == 0 {
		return listing{}, ErrUnknownRecipient
	}
	if len(records) > maxDevices {
		return listing{}, fmt.Errorf("%w: %d devices", ErrBadDirectory, len(records))
	}
	l := listing{username: username}
	ids, keys := make(map[identity.DeviceID]bool), make(map[identity.DeviceKey]bool)
	for _, encoded := range records {
		record, err := identity.ParseDeviceRecord(encoded)
		if err != nil {
			return listing{}, fmt.Errorf("%w: %w", ErrBadDirectory, err)
		}
		if err := c.checkListed(record.Certificate, username); err != nil {
			return listing{}, fmt.Errorf("%w: %w", ErrBadDirectory, err)
		}
		if ids[record.Certificate.DeviceID] || keys[record.Certificate.DeviceKey] {
			return listing{}, fmt.Errorf("%w: a device twice", ErrBadDirectory)
		}
		if len(l.devices) > 0 && record.Certificate.AccountKey != l.accountKey {
			return listing{}, fmt.Errorf("%w: devices of two accounts", ErrBadDirectory)
		}
		ids[record.Certificate.DeviceID], keys[record.Certificate.DeviceKey] = true, true
		l.accountKey = record.Certificate.AccountKey
		l.devices = append(l.devices, record)
	}
	return l, nil
}

func (c *Client) checkListed(certificate identity.Certificate, username identity.Username) error {
	ours := c.self.record.Certificate
	switch {
	case certificate.Username != username:
		return errors.New("a device of another name")
	case certificate.AccountKey == ours.AccountKey, certificate.DeviceKey == ours.DeviceKey, certificate.DeviceID == ours.DeviceID:
		return errors.New("our own keys under another name")
	}
	return nil
}

// LookupContact asks the server for the devices of an account and returns those
// that the account's key vouches for, under the same trust policy and with the
// same errors as Send.
func (c *Client) LookupContact(ctx context.Context, username identity.Username, options ...ContactOption) (Contact, []identity.DeviceRecord, error) {
	l, err := c.lookup(ctx, username)
	if err != nil {
		return Contact{}, nil, err
	}
	known, err := c.learn(ctx, l, c.contactOptions(options).trust)
	if err != nil {
		return Contact{}, nil, err
	}
	return known.Contact, l.devices, nil
}
