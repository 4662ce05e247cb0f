package storetest

import (
	"slices"
	"testing"
	"time"

	"sealpost/identity"
	"sealpost/relay"
)

var nonceTests = map[string]func(*testing.T, *suite){"Nonces": testNonces}

func testNonces(t *testing.T, s *suite) {
	device := identity.NewDeviceID() // of a registration that was refused, perhaps
	nonce := func(n byte, at time.Time) relay.Nonce {
		return relay.Nonce{Device: device, Nonce: [identity.NonceSize]byte{n}, At: at}
	}
	early, late := nonce(1, s.now), nonce(2, s.now.Add(time.Minute))
	for range 2 { // again, after an answer that was lost
		if err := s.store.AddNonces(t.Context(), []relay.Nonce{late, early}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(since time.Time, nonces ...relay.Nonce) {
		t.Helper()
		got, err := s.store.Nonces(t.Context(), since)
		same := slices.EqualFunc(got, nonces, func(a, b relay.Nonce) bool {
			return a.Device == b.Device && a.Nonce == b.Nonce && a.At.Equal(b.At)
		})
		if err != nil || !same {
			t.Fatalf("since %v: %v, %v; want %v", since, got, err, nonces)
		}
	}
	want(early.At, early, late)
	want(early.At.Add(time.Second), late)
	s.reopen()
	want(late.At, late)
	for _, n := range []int{1, 0} {
		gone, err := s.store.Expire(t.Context(), relay.Due{Nonces: late.At})
		if err != nil || gone != (relay.Expired{Nonces: n}) {
			t.Fatalf("%+v expired, %v; want %d nonces", gone, err, n)
		}
	}
	want(early.At, late)
	want(late.At.Add(time.Second))
}
