package identity

import "encoding/binary"

// A Context names the purpose of a signature. It is part of what is signed, so
// that a signature made for one purpose is worth nothing for another, whatever
// bytes an attacker arranges to have signed.
type Context string

// The contexts of every signature that Sealpost makes outside MLS, whose own
// labels begin with "MLS 1.0 " and so never collide with these.
const (
	// ContextCertificate: an account key signs a device certificate.
	ContextCertificate Context = "sealpost device certificate v1"
	// ContextDeviceRecord: a device key signs the device's encryption keys.
	ContextDeviceRecord Context = "sealpost device record v1"
	// ContextRequest: a device key signs a call to a server.
	ContextRequest Context = "sealpost request v1"
	// ContextRejoin: a device key signs a request to be taken into a group again.
	ContextRejoin Context = "sealpost rejoin v1"
	// ContextFile: a device key signs a chunk of an encrypted file.
	ContextFile Context = "sealpost file v1"
)

// frame returns what is signed: the length of the context in two bytes, the
// context, the message. The length keeps one context from being read as another
// context and the beginning of its message.
func (c Context) frame(message []byte) []byte {
	b := make([]byte, 0, 2+len(c)+len(message))
	b = binary.BigEndian.AppendUint16(b, uint16(len(c)))
	b = append(b, c...)
	return append(b, message...)
}
