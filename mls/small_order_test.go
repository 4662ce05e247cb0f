package mls

import (
	"errors"
	"slices"
	"testing"
)

// Points of X25519 of small order (RFC 7748, Section 6.1): whoever uses one ends with
// a shared secret that everybody knows.
func TestAttackB5PublicKeysOfSmallOrder(t *testing.T) {
	tested := 0
	for _, id := range CipherSuites() {
		s, err := id.suite()
		if err != nil {
			t.Fatal(err)
		}
		key, err := s.deriveKeyPair(make([]byte, 64))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.checkPublicKey(key.public); err != nil {
			t.Errorf("suite %v refuses a good key: %v", id, err)
		}
		if kem := s.kem.ID(); kem != kemX25519 && kem != kemMLKEM768X25519 {
			continue
		}
		tested++
		for _, last := range []byte{0, 1} {
			bad := slices.Clone(key.public)
			point := bad[len(bad)-x25519Size:]
			clear(point)
			point[0] = last
			if err := s.checkPublicKey(bad); !errors.Is(err, ErrInvalidKey) {
				t.Errorf("suite %v takes the point %d: %v", id, last, err)
			}
		}
	}
	if tested < 3 {
		t.Errorf("%d suites with X25519 tested", tested)
	}
}
