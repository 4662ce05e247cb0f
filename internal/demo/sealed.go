package demo

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
)

// A sealed message as anybody sees it who carries it: an MLSMessage that holds a
// PrivateMessage (RFC 9420, Sections 6 and 6.3). The demo reads it by itself,
// without the code that could open it, as the relay could.
type sealed struct {
	whole      []byte
	version    uint16
	wireFormat uint16
	group      []byte
	epoch      uint64
	content    uint8
	extra      []byte // authenticated data
	sender     []byte // encrypted sender data
	ciphertext []byte
}

var errNotSealed = errors.New("this is no sealed message")

// authenticationTag is the length of the tag at the end of what AES-256-GCM sealed.
const authenticationTag = 16

func readSealed(message []byte) (sealed, error) {
	r := &outsideReader{rest: message}
	m := sealed{whole: message, version: uint16(r.number(2)), wireFormat: uint16(r.number(2))}
	m.group, m.epoch, m.content = r.vector(), r.number(8), uint8(r.number(1))
	m.extra, m.sender, m.ciphertext = r.vector(), r.vector(), r.vector()
	if r.failed || len(r.rest) > 0 || m.wireFormat != 2 || len(m.ciphertext) <= authenticationTag {
		return sealed{}, errNotSealed
	}
	return m, nil
}

// outsideReader reads the presentation language of TLS with the vectors of RFC 9420,
// Section 2.1.2.
type outsideReader struct {
	rest   []byte
	failed bool
}

func (r *outsideReader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *outsideReader) number(size uint64) uint64 {
	var b [8]byte
	copy(b[8-size:], r.take(size))
	return binary.BigEndian.Uint64(b[:])
}

// vector reads a length, whose first two bits say in how many bytes it stands, and
// the bytes.
func (r *outsideReader) vector() []byte {
	if len(r.rest) == 0 {
		r.failed = true
		return nil
	}
	size := uint64(1) << (r.rest[0] >> 6)
	if size > 4 {
		r.failed = true
		return nil
	}
	return r.take(r.number(size) &^ (3 << (8*size - 2)))
}

var contentNames = map[uint8]string{1: "application message", 2: "proposal", 3: "commit"}

// facts shows the parts, and what each says to who carries it.
func (m sealed) facts(who Party) []Fact {
	sealedText, tag := m.ciphertext[:len(m.ciphertext)-authenticationTag], m.ciphertext[len(m.ciphertext)-authenticationTag:]
	facts := []Fact{
		{Who: who, Name: "wire format", Value: "MLS " + strconv.Itoa(int(m.version)) + ".0, PrivateMessage"},
		{Who: who, Name: "group id", Value: hex.EncodeToString(m.group), Hex: true, Note: "random; says nothing about who is in it"},
		{Who: who, Name: "epoch", Value: strconv.FormatUint(m.epoch, 10), Note: "how often the members or their keys changed"},
		{Who: who, Name: "content type", Value: contentNames[m.content]},
	}
	if len(m.extra) > 0 {
		facts = append(facts, Fact{Who: who, Name: "authenticated data", Value: hex.EncodeToString(m.extra), Hex: true, Note: "readable, but nobody can change it"})
	} else {
		facts = append(facts, Fact{Who: who, Name: "authenticated data", Value: "none"})
	}
	return append(facts,
		Fact{Who: who, Name: "encrypted sender data", Value: hex.EncodeToString(m.sender), Hex: true, Note: "which member wrote it, and with which key; sealed as well"},
		Fact{Who: who, Name: "ciphertext (AES-256-GCM)", Value: hex.EncodeToString(sealedText), Hex: true, Note: "time, text, signature, padding; its key is used once and then erased"},
		Fact{Who: who, Name: "authentication tag", Value: hex.EncodeToString(tag), Hex: true, Note: "one changed bit anywhere, and it does not fit"},
	)
}
