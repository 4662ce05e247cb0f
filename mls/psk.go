package mls

import (
	"bytes"
	"fmt"
)

// A PSKType says where a pre-shared key comes from (RFC 9420, Section 8.4).
type PSKType uint8

// The types of pre-shared keys (RFC 9420, Section 8.4).
const (
	PSKTypeExternal   PSKType = 1
	PSKTypeResumption PSKType = 2
)

// A ResumptionPSKUsage says what a resumption PSK is used for (RFC 9420,
// Section 8.4).
type ResumptionPSKUsage uint8

// The usages of resumption PSKs (RFC 9420, Section 8.4).
const (
	ResumptionPSKUsageApplication ResumptionPSKUsage = 1
	ResumptionPSKUsageReinit      ResumptionPSKUsage = 2
	ResumptionPSKUsageBranch      ResumptionPSKUsage = 3
)

// A PreSharedKeyID names a pre-shared key and one use of it (RFC 9420,
// Section 8.4).
type PreSharedKeyID struct {
	PSKType    PSKType
	PSKID      []byte             // of an external PSK
	Usage      ResumptionPSKUsage // of a resumption PSK, as are the next two
	PSKGroupID []byte
	PSKEpoch   uint64
	PSKNonce   []byte // random, of KDF.Nh bytes
}

func (id PreSharedKeyID) appendTo(b []byte) []byte {
	b = append(b, byte(id.PSKType))
	switch id.PSKType {
	case PSKTypeExternal:
		b = appendVector(b, id.PSKID)
	case PSKTypeResumption:
		b = appendVector(append(b, byte(id.Usage)), id.PSKGroupID)
		b = appendUint64(b, id.PSKEpoch)
	}
	return appendVector(b, id.PSKNonce)
}

func readPreSharedKeyID(r *reader) PreSharedKeyID {
	id := PreSharedKeyID{PSKType: PSKType(r.uint8())}
	switch id.PSKType {
	case PSKTypeExternal:
		id.PSKID = r.vector()
	case PSKTypeResumption:
		id.Usage = ResumptionPSKUsage(r.uint8())
		if id.Usage < ResumptionPSKUsageApplication || id.Usage > ResumptionPSKUsageBranch {
			r.fail("unknown usage of a resumption PSK")
		}
		id.PSKGroupID = r.vector()
		id.PSKEpoch = r.uint64()
	default:
		r.fail("unknown PSK type")
	}
	id.PSKNonce = r.vector()
	return id
}

// name is the same for equal identifiers alone, to find those listed twice. One key
// may be used twice with two nonces.
func (id PreSharedKeyID) name() string {
	return string(id.appendTo(nil))
}

// A PSKStore looks up the pre-shared keys that the application keeps (RFC 9420,
// Section 8.4). Either method returns an error for a key that it does not have. A
// group knows the resumption PSKs of its own last epochs, and does not ask for
// these.
type PSKStore interface {
	// ExternalPSK returns the key with the given psk_id.
	ExternalPSK(id []byte) ([]byte, error)
	// ResumptionPSK returns what [Group.ResumptionPSK] gave in that epoch of
	// that group.
	ResumptionPSK(groupID []byte, epoch uint64) ([]byte, error)
}

// storedPSK asks the application for a pre-shared key.
func (c *Client) storedPSK(id PreSharedKeyID) ([]byte, error) {
	if c.config.PSKs == nil {
		return nil, ErrUnknownPSK
	}
	var psk []byte
	var err error
	if id.PSKType == PSKTypeExternal {
		psk, err = c.config.PSKs.ExternalPSK(id.PSKID)
	} else {
		psk, err = c.config.PSKs.ResumptionPSK(id.PSKGroupID, id.PSKEpoch)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownPSK, err)
	}
	return psk, nil
}

// A pskLookup finds the value of a pre-shared key.
type pskLookup func(PreSharedKeyID) ([]byte, error)

// pskSecret looks up pre-shared keys and chains them to the psk_secret (RFC 9420,
// Section 8.4); all zero if there are none.
func (s *suite) pskSecret(ids []PreSharedKeyID, lookup pskLookup) ([]byte, error) {
	if len(ids) > 1<<16-1 {
		return nil, invalid("8.4", "%d pre-shared keys, more than a PSKLabel can count", len(ids))
	}
	zero := make([]byte, s.nh)
	secret := zero
	for i, id := range ids {
		psk, err := lookup(id)
		if err != nil {
			return nil, err
		}
		label := appendUint16(appendUint16(id.appendTo(nil), uint16(i)), uint16(len(ids)))
		extracted := s.extract(zero, psk)
		input := s.expandWithLabel(extracted, "derived psk", label, s.nh)
		secret = s.extract(input, secret)
		clear(extracted)
		clear(input)
	}
	return secret, nil
}

// pskValue looks up a pre-shared key among those of the group's own epochs and with
// the application.
func (g *Group) pskValue(id PreSharedKeyID) ([]byte, error) {
	if id.PSKType == PSKTypeResumption && bytes.Equal(id.PSKGroupID, g.epoch.context.GroupID) {
		if e := g.epochAt(id.PSKEpoch); e != nil {
			return e.secrets.resumptionPSK, nil
		}
	}
	return g.client.storedPSK(id)
}

func (g *Group) knowsPSK(id PreSharedKeyID) bool {
	_, err := g.pskValue(id)
	return err == nil
}
