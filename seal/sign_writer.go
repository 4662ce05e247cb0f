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

// signedChunkSize is how much plaintext a signature covers, in bytes. It is the
// size of every chunk but the last.
const signedChunkSize = 256 << 10

const chunkPrefixSize = 1 + 4

// A Signer is a device that signs files. Sign signs message with the device key
// of the certificate, in [identity.ContextFile].
type Signer interface {
	Certificate() identity.Certificate
	Sign(message []byte) []byte
}

// NewSignWriter writes the signed layer: a header with the signer's
// certificate and the recipients that the file is encrypted to, and then what is
// written to it, in chunks with a signature each. The layer is complete when
// Close returned nil; Close does not close dst.
//
// It is meant to be written into an encrypted file, see [Options]. It hides nothing itself.
func NewSignWriter(dst io.Writer, signer Signer, recipients []Recipient) (io.WriteCloser, error) {
	recipients, err := distinct(recipients)
	if err != nil {
		return nil, err
	}
	header := newSignedHeader(signer.Certificate(), recipients).marshal()
	if _, err := dst.Write(header); err != nil {
		return nil, fmt.Errorf("writing the signed header: %w", err)
	}
	w := &signWriter{dst: dst, signer: signer, header: sha256.Sum256(header)}
	w.buf = make([]byte, chunkPrefixSize, chunkPrefixSize+signedChunkSize+ed25519.SignatureSize)
	return w, nil
}

type signWriter struct {
	dst    io.Writer
	signer Signer
	header [sha256.Size]byte
	index  uint64
	buf    []byte // room for the prefix, and plaintext not written yet
	err    error
}

var errWriterClosed = errors.New("writing after the end")

func (w *signWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && w.err == nil {
		// A full chunk waits until more comes, since it may be the last.
		if len(w.buf) == chunkPrefixSize+signedChunkSize {
			w.err = w.flush(false)
			continue
		}
		n := min(len(p), chunkPrefixSize+signedChunkSize-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
	}
	return total - len(p), w.err
}

// Close writes the last chunk.
func (w *signWriter) Close() error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.flush(true); w.err != nil {
		return w.err
	}
	w.err = errWriterClosed
	return nil
}

func (w *signWriter) flush(last bool) error {
	plaintext := w.buf[chunkPrefixSize:]
	w.buf[0] = lastFlag(last)
	binary.BigEndian.PutUint32(w.buf[1:], uint32(len(plaintext)))
	signature := w.signer.Sign(chunkMessage(w.header, w.index, last, plaintext))
	if len(signature) != ed25519.SignatureSize {
		return errors.New("the signer gave no signature")
	}
	_, err := w.dst.Write(append(w.buf, signature...))
	w.buf = w.buf[:chunkPrefixSize]
	w.index++
	return err
}

// chunkMessage returns what is signed for a chunk:
//
//	byte    SHA-256 of the header [32]
//	uint64  index of the chunk, from 0
//	uint8   1 if it is the last, otherwise 0
//	byte    SHA-256 of the plaintext [32]
//
// The header holds a random stream id, so that no chunk fits into another file.
func chunkMessage(header [sha256.Size]byte, index uint64, last bool, plaintext []byte) []byte {
	digest := sha256.Sum256(plaintext)
	b := append([]byte(nil), header[:]...)
	b = binary.BigEndian.AppendUint64(b, index)
	b = append(b, lastFlag(last))
	return append(b, digest[:]...)
}

func lastFlag(last bool) byte {
	if last {
		return 1
	}
	return 0
}
