package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const deliveryListContext = "sealpost delivery list v1"

// DeliveryListHash returns what a relay and the members of a group compare to be
// sure that they mean the same devices in an epoch. The order of the devices does
// not matter.
//
// It is the SHA-256 of, in network byte order: the length of the context string in
// two bytes and the string, the length of the group id in one byte and the id, the
// epoch in eight bytes, the number of devices in four, and their ids, ascending.
func DeliveryListHash(group []byte, epoch uint64, devices []DeviceID) [sha256.Size]byte {
	sorted := slices.Clone(devices)
	slices.SortFunc(sorted, func(a, b DeviceID) int { return bytes.Compare(a[:], b[:]) })
	b := make([]byte, 0, 64+len(group)+len(sorted)*len(DeviceID{}))
	b = binary.BigEndian.AppendUint16(b, uint16(len(deliveryListContext)))
	b = append(b, deliveryListContext...)
	b = append(b, byte(len(group)))
	b = append(b, group...)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = binary.BigEndian.AppendUint32(b, uint32(len(sorted)))
	for _, id := range sorted {
		b = append(b, id[:]...)
	}
	return sha256.Sum256(b)
}
