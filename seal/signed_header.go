package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"sealpost/identity"
)

// What stands at the beginning of a signed plaintext. The zero byte keeps a
// text from being taken for one.
const (
	signedMagic   = "sealpost signed file\x00"
	signedVersion = 1
)

const (
	streamIDSize = 16
	// maxSignerLen bounds the certificate in a header, in bytes.
	maxSignerLen = 1024
)

// A signedHeader begins a signed plaintext.
//
// Its encoding, in network byte order:
//
//	byte    magic, "sealpost signed file" and a zero byte [21]
//	uint8   version (1)
//	uint16  length of the certificate, then the certificate
//	byte    stream id, random [16]
//	uint16  number of recipients, 1 to 1024
//	byte    SHA-256 of the text of each recipient [32 each], ascending
type signedHeader struct {
	signer     identity.Certificate
	stream     [streamIDSize]byte
	recipients [][sha256.Size]byte
}

func newSignedHeader(signer identity.Certificate, recipients []Recipient) signedHeader {
	h := signedHeader{signer: signer}
	rand.Read(h.stream[:]) // never fails (crypto/rand)
	for _, r := range recipients {
		h.recipients = append(h.recipients, r.digest())
	}
	slices.SortFunc(h.recipients, compareDigests)
	return h
}

func compareDigests(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) }

func (h signedHeader) marshal() []byte {
	certificate := h.signer.Marshal()
	b := append([]byte(signedMagic), signedVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(len(certificate)))
	b = append(b, certificate...)
	b = append(b, h.stream[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.recipients)))
	for _, digest := range h.recipients {
		b = append(b, digest[:]...)
	}
	return b
}

func (h signedHeader) names(r Recipient) bool {
	_, found := slices.BinarySearchFunc(h.recipients, r.digest(), compareDigests)
	return found
}

// readSignedHeader reads a header and returns it with the digest of its bytes.
// The certificate holds in itself; nothing proves yet that its device wrote the
// header.
func readSignedHeader(r io.Reader) (signedHeader, [sha256.Size]byte, error) {
	digest := sha256.New()
	h, err := parseSignedHeader(io.TeeReader(r, digest))
	return h, [sha256.Size]byte(digest.Sum(nil)), err
}

func parseSignedHeader(r io.Reader) (signedHeader, error) {
	var h signedHeader
	start, err := take(r, len(signedMagic)+1)
	if err != nil {
		return h, err
	}
	if string(start[:len(signedMagic)]) != signedMagic {
		return h, fmt.Errorf("%w: no header", ErrForged)
	}
	if start[len(signedMagic)] != signedVersion {
		return h, ErrSignedVersion
	}
	certificate, err := takePrefixed(r, 1, maxSignerLen)
	if err != nil {
		return h, err
	}
	if h.signer, err = identity.ParseCertificate(certificate); err != nil {
		return h, fmt.Errorf("%w: reading its certificate: %w", ErrForged, err)
	}
	stream, err := take(r, streamIDSize)
	if err != nil {
		return h, err
	}
	h.stream = [streamIDSize]byte(stream)
	return h, h.readRecipients(r)
}

func (h *signedHeader) readRecipients(r io.Reader) error {
	digests, err := takePrefixed(r, sha256.Size, MaxRecipients)
	if err != nil {
		return err
	}
	for digest := range slices.Chunk(digests, sha256.Size) {
		h.recipients = append(h.recipients, [sha256.Size]byte(digest))
	}
	for i := 1; i < len(h.recipients); i++ {
		if compareDigests(h.recipients[i-1], h.recipients[i]) >= 0 {
			return fmt.Errorf("%w: its recipients are out of order", ErrForged)
		}
	}
	return nil
}

// take reads exactly n bytes.
func take(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, readFull(r, b)
}

// takePrefixed reads a count from 1 to limit in two bytes, and so many items of
// itemSize bytes.
func takePrefixed(r io.Reader, itemSize, limit int) ([]byte, error) {
	prefix, err := take(r, 2)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(prefix))
	if n == 0 || n > limit {
		return nil, fmt.Errorf("%w: a length out of bounds", ErrForged)
	}
	return take(r, n*itemSize)
}

// readFull fills b. An end before that means that the layer was cut off: age
// itself would have noticed if the file had been.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}
