package identity

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	safetyNumberContext    = "sealpost safety number v1"
	safetyNumberIterations = 5200 // what one guess costs somebody who looks for a similar number
	safetyNumberGroups     = 6    // of five digits, for each of the two keys
)

// SafetyNumber returns 60 decimal digits in 12 groups of five, separated by
// spaces, that stand for two account keys. It is the same whichever of the two
// comes first: both people see one number, and read it to each other over the
// phone. Each key gives 30 digits (about 99 bits) of an iterated SHA-512.
func SafetyNumber(a, b AccountKey) string {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return strings.Join(append(fingerprint(a), fingerprint(b)...), " ")
}

func fingerprint(key AccountKey) []string {
	sum := sha512.Sum512(append([]byte(safetyNumberContext), key[:]...))
	for range safetyNumberIterations {
		sum = sha512.Sum512(append(sum[:], key[:]...))
	}
	groups := make([]string, safetyNumberGroups)
	for i := range groups {
		var chunk [8]byte
		copy(chunk[3:], sum[5*i:])
		groups[i] = fmt.Sprintf("%05d", binary.BigEndian.Uint64(chunk[:])%100000)
	}
	return groups
}
