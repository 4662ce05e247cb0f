package relay_test

import (
	"slices"
	"strings"
	"testing"

	"sealpost/api"
	"sealpost/relay"
)

// TestFramesComeTogether: what waits in a mailbox comes in few messages of bounded
// size, whole and in order.
func TestFramesComeTogether(t *testing.T) {
	const (
		maxPayload = 16 << 10
		small      = 1000
	)
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.LineBytes = 2 << 20 })
	alice, bob := r.registered("alice"), r.registered("bob")
	a := alice.connect()
	var want []int
	send := func(sizes ...int) {
		for _, size := range sizes {
			a.submit(submit(strings.Repeat("x", size), bob))
		}
		want = append(want, sizes...)
	}
	send(slices.Repeat([]int{1}, small)...)
	send(api.DefaultMaxMessage, 1, maxPayload, maxPayload, 1, maxPayload/2, maxPayload/2, 1)
	for range want {
		if frame := a.receive(); frame.GetAccepted() == nil {
			t.Fatalf("got %v, not Accepted", frame)
		}
	}

	stream, err := api.NewDeliveryClient(bob.conn).Connect(bob.signed(t.Context(), bob.request(api.Delivery_Connect_FullMethodName)))
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	messages := 0
	for drained := false; !drained; messages++ {
		together, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		envelopes, bytes := 0, 0
		for _, frame := range together.GetFrames() {
			if e := frame.GetEnvelope(); e != nil {
				envelopes++
				bytes += len(e.GetPayload())
				got = append(got, len(e.GetPayload()))
			}
			drained = drained || frame.GetDrained() != nil
		}
		if n := len(together.GetFrames()); n == 0 || n > api.MaxFrames || (bytes > maxPayload && envelopes > 1) {
			t.Errorf("%d frames came together, with %d envelopes of %d bytes", n, envelopes, bytes)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d envelopes came, of the sizes %v", len(got), got)
	}
	if messages > 20 {
		t.Errorf("%d envelopes came in %d messages", len(got), messages)
	}
}
