package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"sealpost/identity"
)

// A VerifyReader reads a signed layer. It hands out a chunk only after its
// signature verified, and io.EOF only after the last one.
type VerifyReader struct {
	src    io.Reader
	header signedHeader
	digest [sha256.Size]byte // of the header
	index  uint64            // of the next chunk
	buf    []byte
	unread []byte // verified, in buf
	err    error  // after unread
}

// NewVerifyReader reads the header and the first chunk, and verifies both. The
// signer must have named opened, the recipient whose private key opened the
// file. The error is [ErrForged], [ErrNotForMe], [ErrTruncated], [ErrSignedVersion], or
// one of src.
func NewVerifyReader(src io.Reader, opened Recipient) (*VerifyReader, error) {
	header, digest, err := readSignedHeader(src)
	if err != nil {
		return nil, err
	}
	r := &VerifyReader{src: src, header: header, digest: digest}
	r.buf = make([]byte, signedChunkSize+ed25519.SignatureSize)
	if r.next(); r.err != nil && !errors.Is(r.err, io.EOF) {
		return nil, r.err
	}
	if !header.names(opened) {
		return nil, ErrNotForMe
	}
	return r, nil
}

// Signer returns the certificate of the device that signed. Whose its account
// key is, is for the caller to know.
func (r *VerifyReader) Signer() identity.Certificate { return r.header.signer }

// Read implements io.Reader.
func (r *VerifyReader) Read(p []byte) (int, error) {
	for len(r.unread) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// next reads and verifies a chunk into unread, and sets err where no other will
// follow.
func (r *VerifyReader) next() {
	plaintext, last, err := r.readChunk()
	if err == nil && last {
		err = r.expectEnd()
	}
	if err != nil {
		r.err = err
		return
	}
	r.unread = plaintext
	r.index++
	if last {
		r.err = io.EOF
	}
}

// readChunk reads a chunk:
//
//	uint8   1 if it is the last, otherwise 0
//	uint32  length of the plaintext: 262144, or less in the last
//	byte    plaintext
//	byte    signature [64]
func (r *VerifyReader) readChunk() (plaintext []byte, last bool, err error) {
	var prefix [chunkPrefixSize]byte
	if err := readFull(r.src, prefix[:]); err != nil {
		return nil, false, err
	}
	last = prefix[0] == 1
	size := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] > 1 || !r.fits(size, last) {
		return nil, false, fmt.Errorf("%w: chunk %d is malformed", ErrForged, r.index)
	}
	chunk := r.buf[:size+ed25519.SignatureSize]
	if err := readFull(r.src, chunk); err != nil {
		return nil, false, err
	}
	plaintext, signature := chunk[:size], chunk[size:]
	message := chunkMessage(r.digest, r.index, last, plaintext)
	if err := r.header.signer.DeviceKey.Verify(identity.ContextFile, message, signature); err != nil {
		return nil, false, fmt.Errorf("%w: verifying chunk %d: %w", ErrForged, r.index, err)
	}
	return plaintext, last, nil
}

// fits tells whether a chunk may have this size. There is one encoding for a
// plaintext: only the last chunk is short, and only that of an empty one is empty.
func (r *VerifyReader) fits(size uint32, last bool) bool {
	if !last {
		return size == signedChunkSize
	}
	return size <= signedChunkSize && (size > 0 || r.index == 0)
}

// expectEnd checks that nothing follows the last chunk.
func (r *VerifyReader) expectEnd() error {
	var one [1]byte
	_, err := io.ReadFull(r.src, one[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: something follows its last chunk", ErrForged)
}
