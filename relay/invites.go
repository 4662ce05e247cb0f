package relay

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/peer"

	"sealpost/identity"
)

var (
	// ErrInviteRequired reports a new account without an invite code where one is
	// needed.
	ErrInviteRequired = errors.New("this server takes new accounts by invitation")
	// ErrInviteInvalid reports an invite code that does not let anybody in.
	ErrInviteInvalid = errors.New("the invite code is wrong, used up, revoked or expired")
)

// registersAnybody tells whether a new account needs no invite code: the
// registration is open, or the peer is on this machine and the relay listens on
// loopback only (a proxy on this machine would make every peer look local).
func (d directory) registersAnybody(ctx context.Context) bool {
	if d.openRegistration {
		return true
	}
	p, ok := peer.FromContext(ctx)
	return ok && d.loopbackOnly.Load() && isLoopback(p.Addr)
}

// parseInvite returns nil for no code.
func parseInvite(b []byte) (*identity.InviteCode, error) {
	if len(b) == 0 {
		return nil, nil
	}
	code, err := identity.InviteCodeFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return &code, nil
}
