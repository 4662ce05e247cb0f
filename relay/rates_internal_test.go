package relay

import (
	"errors"
	"net"
	"testing"
	"time"
)

// TestRatesAreBounded: whoever comes with ever new keys gets one rate for all
// that do not fit, and room is made when they are idle.
func TestRatesAreBounded(t *testing.T) {
	r := newRates[int](errCallRate, 1, time.Minute)
	at := time.Unix(1000, 0)
	for key := range maxRateKeys {
		if err := r.take(at, key); err != nil {
			t.Fatalf("key %d: %v", key, err)
		}
	}
	if err := r.take(at, -1); err != nil {
		t.Fatalf("the first of those that share: %v", err)
	}
	if err := r.take(at, -2); !errors.Is(err, errCallRate) {
		t.Fatalf("the second of those that share: %v", err)
	}
	at = at.Add(time.Minute)
	if err := r.take(at, -3); err != nil || len(r.of) != 1 {
		t.Fatalf("when all were idle: %v, %d keys", err, len(r.of))
	}
}

func TestAddressOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":           "192.0.2.7/32",
		"::ffff:192.0.2.7":    "192.0.2.7/32",
		"2001:db8:1:2:3:4::5": "2001:db8:1:2::/64",
	} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(address), Port: 1}).String(); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
