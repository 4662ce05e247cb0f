package relay

import "context"

// TransportOptions lets the floor benchmark use the relay's transport.
var TransportOptions = transportOptions

// Sweep runs one round of what the relay does every hour.
func (s *Server) Sweep(ctx context.Context) { s.sweep(ctx) }
