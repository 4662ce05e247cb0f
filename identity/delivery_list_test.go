package identity_test

import (
	"encoding/hex"
	"testing"

	"sealpost/identity"
)

func TestDeliveryListHash(t *testing.T) {
	a, b := identity.DeviceID{1}, identity.DeviceID{2}
	group := []byte("a group of 16 by")
	base := identity.DeliveryListHash(group, 7, []identity.DeviceID{a, b})
	// Computed apart from this package, from the layout in the documentation.
	const want = "fbb7a0c4d4c5190826aa1e684cf941e59595887e21df7951e916ee9276da9320"
	if got := hex.EncodeToString(base[:]); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
	if identity.DeliveryListHash(group, 7, []identity.DeviceID{b, a}) != base {
		t.Error("the order of the devices matters")
	}
	for name, other := range map[string][32]byte{
		"another epoch":  identity.DeliveryListHash(group, 8, []identity.DeviceID{a, b}),
		"another group":  identity.DeliveryListHash(group[:15], 7, []identity.DeviceID{a, b}),
		"one device":     identity.DeliveryListHash(group, 7, []identity.DeviceID{a}),
		"a ghost device": identity.DeliveryListHash(group, 7, []identity.DeviceID{a, b, {3}}),
	} {
		if other == base {
			t.Errorf("%s has the same hash", name)
		}
	}
}
