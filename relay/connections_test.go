package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"sealpost/relay"
)

// A peer that says nothing, or only its TLS handshake, holds up a shutdown no
// longer than the shutdown may take, though gRPC would wait 10 s for it.
func TestShutdownDoesNotWaitForSilentPeers(t *testing.T) {
	for name, test := range map[string]struct {
		secure bool // the peer finishes its TLS handshake
		allow  time.Duration
		want   error
	}{
		"silent":        {false, time.Minute, nil},
		"no HTTP/2 yet": {true, 100 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			metrics := relay.NewMetrics()
			r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Metrics = metrics })
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if test.secure {
				config := pinned(r.ID())
				config.NextProtos = []string{"h2"}
				if _, err := tls.Client(conn, config).Read(make([]byte, 1)); err != nil { // the relay's settings
					t.Fatal(err)
				}
			}
			awaitMetric(t, metrics, "sealpost_connections", 1)
			ctx, cancel := context.WithTimeout(t.Context(), test.allow)
			defer cancel()
			begin := time.Now()
			if err := r.Shutdown(ctx); !errors.Is(err, test.want) {
				t.Errorf("Shutdown: %v, want %v", err, test.want)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("Shutdown took %v", took)
			}
			awaitMetric(t, metrics, "sealpost_connections", 0)
		})
	}
}
