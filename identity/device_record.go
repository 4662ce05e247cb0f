package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"

	"golang.org/x/crypto/cryptobyte"
)

// MaxDeviceRecordLen bounds an encoded device record, in bytes.
const MaxDeviceRecordLen = 4096

// fileRecipientPattern keeps what could disturb a terminal or name a program out
// of a string that people are shown; age checks the rest.
var fileRecipientPattern = regexp.MustCompile(`^age1[a-z0-9]+$`)

// A DeviceRecord is what a server's directory holds about a device: its
// certificate and the key that files are encrypted to, signed by the device key.
//
// Its encoding, in network byte order: the certificate, a uint16 length and the text
// of the file recipient, the signature by the device key over all before it in 64
// bytes.
type DeviceRecord struct {
	Certificate Certificate
	// FileRecipient is the age recipient ("age1pq1...") that files for the
	// account are encrypted to.
	FileRecipient string
	signature     []byte
}

// SignDeviceRecord makes the record of the device that key belongs to.
func SignDeviceRecord(key DevicePrivateKey, certificate Certificate, fileRecipient string) (DeviceRecord, error) {
	if key.Public() != certificate.DeviceKey {
		return DeviceRecord{}, errors.New("the certificate is for another device key")
	}
	if len(fileRecipient) > MaxDeviceRecordLen || !fileRecipientPattern.MatchString(fileRecipient) {
		return DeviceRecord{}, fmt.Errorf("%w: an encryption key of the wrong form", ErrCertificate)
	}
	r := DeviceRecord{Certificate: certificate, FileRecipient: fileRecipient}
	r.signature = key.Sign(ContextDeviceRecord, r.signed())
	if n := len(r.Marshal()); n > MaxDeviceRecordLen {
		return DeviceRecord{}, fmt.Errorf("%w: a device record of %d bytes", ErrCertificate, n)
	}
	return r, nil
}

// Marshal returns the encoding of the record.
func (r DeviceRecord) Marshal() []byte { return append(r.signed(), r.signature...) }

func (r DeviceRecord) signed() []byte {
	var b cryptobyte.Builder
	b.AddBytes(r.Certificate.Marshal())
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.FileRecipient)) })
	return b.BytesOrPanic() // panics only over a recipient of 64 KiB, which no constructor lets in
}

// ParseDeviceRecord reads a record of at most [MaxDeviceRecordLen] bytes and
// verifies both of its signatures. As with [ParseCertificate], whether the
// account key is the expected one is for the caller to check.
func ParseDeviceRecord(b []byte) (DeviceRecord, error) {
	if len(b) > MaxDeviceRecordLen {
		return DeviceRecord{}, fmt.Errorf("%w: a device record of %d bytes", ErrCertificate, len(b))
	}
	s := cryptobyte.String(b)
	certificate, err := readCertificate(&s)
	if err != nil {
		return DeviceRecord{}, err
	}
	var proof []byte
	var recipient cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&recipient) || !fileRecipientPattern.Match(recipient) ||
		!s.ReadBytes(&proof, ed25519.SignatureSize) || !s.Empty() {
		return DeviceRecord{}, fmt.Errorf("%w: the device record does not parse", ErrCertificate)
	}
	r := DeviceRecord{
		Certificate:   certificate,
		FileRecipient: string(recipient),
		signature:     append([]byte(nil), proof...),
	}
	if err := certificate.DeviceKey.Verify(ContextDeviceRecord, r.signed(), proof); err != nil {
		return DeviceRecord{}, fmt.Errorf("verifying a device record: %w", err)
	}
	return r, nil
}
