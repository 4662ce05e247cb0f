package relay_test

import (
	"context"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"sealpost/api"
	"sealpost/identity"
	"sealpost/relay"
)

// A slowStore gives the first answer about a device when it is told to.
type slowStore struct {
	relay.Store
	armed   atomic.Bool
	gaveUp  chan struct{} // the caller is not there any more
	release chan struct{}
}

func (s *slowStore) Device(ctx context.Context, id identity.DeviceID) (identity.DeviceKey, error) {
	key, err := s.Store.Device(context.WithoutCancel(ctx), id)
	if s.armed.CompareAndSwap(true, false) {
		<-ctx.Done()
		close(s.gaveUp)
		<-s.release
	}
	return key, err
}

// A call that its client gave up before it was authenticated must not end the
// line that took its place.
func TestAbandonedCallReplacesNoLine(t *testing.T) {
	slow := &slowStore{gaveUp: make(chan struct{}), release: make(chan struct{})}
	over := make(chan struct{}, 2)
	r := startRelay(t, t.TempDir(), func(c *relay.Config) {
		slow.Store, c.Store = c.Store, slow
		c.ServerOptions = append(c.ServerOptions, grpc.ChainStreamInterceptor(
			func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
				defer func() { over <- struct{}{} }()
				return handle(server, stream)
			}))
	})
	alice, bob := r.registered("alice"), r.registered("bob")
	ctx, abandon := context.WithCancel(bob.signed(t.Context(), bob.request(api.Delivery_Connect_FullMethodName)))
	defer abandon()
	slow.armed.Store(true)
	if _, err := api.Connect(ctx, bob.conn); err != nil {
		t.Fatal(err)
	}
	abandon()
	<-slow.gaveUp
	fresh := bob.connect()
	fresh.settled()
	close(slow.release)
	<-over
	alice.connect().accepted(submit("one", bob))
	fresh.envelope("one")
}
