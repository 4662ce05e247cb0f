package relay

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
)

// TransportOptions lets the floor benchmark use the relay's transport.
func TransportOptions(certificate tls.Certificate, limits Limits) []grpc.ServerOption {
	return transportOptions((&Config{Certificate: certificate}).tls(), limits)
}

// Sweep runs one round of what the relay does every hour.
func (s *Server) Sweep(ctx context.Context) { s.sweep(ctx) }
