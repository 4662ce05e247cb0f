package relay_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"sealpost/identity"
	"sealpost/relay"
)

// A lingeringStore goes on with a read when its caller is not there any more, for
// a while or until something else happens.
type lingeringStore struct {
	relay.Store
	reading chan struct{}
	begin   sync.Once
	// left is what would be too early while a read goes on; tooEarly says that it
	// was.
	left     chan struct{}
	tooEarly bool
}

func (s *lingeringStore) Read(ctx context.Context, device identity.DeviceID, after uint64, page relay.Page) ([]relay.Envelope, bool, error) {
	s.begin.Do(func() { close(s.reading) })
	<-ctx.Done()
	patience := time.NewTimer(300 * time.Millisecond)
	defer patience.Stop()
	select {
	case <-s.left:
		s.tooEarly = true
	case <-patience.C:
	}
	return nil, false, ctx.Err()
}

// Whoever opened the store closes it after Shutdown.
func TestShutdownLeavesTheStoreAlone(t *testing.T) {
	lingering := &lingeringStore{reading: make(chan struct{}), left: make(chan struct{})}
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { lingering.Store, c.Store = c.Store, lingering })
	r.registered("bob").connect()
	<-lingering.reading
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Shutdown(ctx) // cut short
	close(lingering.left)
	r.stop() // and the read is over
	if lingering.tooEarly {
		t.Error("Shutdown returned while a mailbox was read")
	}
}

// TestHealthOfEachService: load balancers ask about the service that they forward.
func TestHealthOfEachService(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	client := grpc_health_v1.NewHealthClient(r.unregistered("nobody").conn)
	for _, service := range []string{"", "sealpost.v1.Directory", "sealpost.v1.Delivery"} {
		answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v, %v", service, answer.GetStatus(), err)
		}
	}
}
