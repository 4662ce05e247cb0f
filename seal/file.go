package seal

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"

	"sealpost/identity"
)

// bufferSize is how much is read or written at a time, in bytes. It is age's
// chunk.
const bufferSize = 64 << 10

// Options say how to encrypt. The zero value makes a binary, unsigned file.
type Options struct {
	Armor  bool   // text instead of bytes, a third larger
	Signer Signer // nil: not signed
}

// NewWriter encrypts what is written to it to recipients, and writes the file
// to dst. The file is complete when Close returned nil, and only then; Close does not close
// dst. The error is [ErrMixedRecipients], [ErrRecipientCount], or one of dst.
func NewWriter(dst io.Writer, recipients []Recipient, options Options) (io.WriteCloser, error) {
	recipients, err := distinct(recipients)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(dst, bufferSize)
	w := &fileWriter{closers: []func() error{buffered.Flush}}
	var out io.Writer = buffered
	if options.Armor {
		out = w.push(armor.NewWriter(out))
	}
	keys := make([]age.Recipient, len(recipients))
	for i, r := range recipients {
		keys[i] = r.key
	}
	encrypted, err := age.Encrypt(out, keys...)
	if err != nil {
		return nil, fmt.Errorf("beginning the file: %w", err)
	}
	w.push(encrypted)
	if options.Signer != nil {
		signed, err := NewSignWriter(w.Writer, options.Signer, recipients)
		if err != nil {
			return nil, err
		}
		w.push(signed)
	}
	return w, nil
}

// A fileWriter is a pile of layers. Writes go to the top one.
type fileWriter struct {
	io.Writer
	closers []func() error // from the bottom
}

func (w *fileWriter) push(layer io.WriteCloser) io.Writer {
	w.Writer = layer
	w.closers = append(w.closers, layer.Close)
	return layer
}

// Close ends the layers from the top. A layer whose upper one was not ended
// stays open: the file must not look complete.
func (w *fileWriter) Close() error {
	for len(w.closers) > 0 {
		top := len(w.closers) - 1
		if err := w.closers[top](); err != nil {
			return fmt.Errorf("ending the file: %w", err)
		}
		w.closers = w.closers[:top]
	}
	return nil
}

// A Reader is the plaintext of an encrypted file. Read hands out only what was
// authenticated; it ends with io.EOF if the file is whole, with [ErrTruncated],
// [ErrCorrupt] or [ErrForged] if it is not, and with the source's error if
// reading it went wrong. After an error, what came before is authentic, and incomplete.
type Reader struct {
	io.Reader
	signer *identity.Certificate
}

// Signer returns who signed the file, if it is signed. The certificate holds in
// itself and the signer made what is read, but whose the account key is, is for
// the caller to know.
func (r *Reader) Signer() (identity.Certificate, bool) {
	if r.signer == nil {
		return identity.Certificate{}, false
	}
	return *r.signer, true
}

// NewReader opens a file, binary or armored, with any of identities. A
// signature is checked if there is one. The error is [ErrNotAge],
// [ErrNoIdentity], [ErrPassphraseFile], [ErrTruncated], [ErrCorrupt], [ErrForged],
// [ErrNotForMe], [ErrSignedVersion], or one of reading src.
func NewReader(src io.Reader, identities []Identity) (*Reader, error) {
	s := newSource(src)
	if s.format() == formatOther {
		if s.err != nil {
			return nil, fmt.Errorf("reading the file: %w", s.err)
		}
		return nil, ErrNotAge
	}
	opener := &openers{identities: identities}
	plain, err := age.Decrypt(s.dearmored(), opener)
	if err != nil {
		return nil, explainRefusal(s, err)
	}
	authentic := readerFunc(func(p []byte) (int, error) {
		n, err := plain.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			err = s.explain(err)
		}
		return n, err
	})
	return newPlainReader(authentic, opener.opened)
}

// NewReaderFrom is NewReader for a file that must be signed by a device of the
// account. The error is also [ErrNotSigned] or [ErrWrongSigner].
func NewReaderFrom(src io.Reader, identities []Identity, account identity.AccountKey) (*Reader, error) {
	r, err := NewReader(src, identities)
	if err != nil {
		return nil, err
	}
	certificate, signed := r.Signer()
	if !signed {
		return nil, ErrNotSigned
	}
	if certificate.AccountKey != account {
		return nil, fmt.Errorf("%w: by %v, not by %v", ErrWrongSigner, certificate.AccountKey, account)
	}
	return r, nil
}

// newPlainReader takes off the signed layer if there is one.
func newPlainReader(authentic io.Reader, opened Recipient) (*Reader, error) {
	buffered := bufio.NewReaderSize(authentic, bufferSize)
	start, err := buffered.Peek(len(signedMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(start) != signedMagic {
		return &Reader{Reader: buffered}, nil
	}
	verified, err := NewVerifyReader(buffered, opened)
	if err != nil {
		return nil, err
	}
	certificate := verified.Signer()
	return &Reader{Reader: verified, signer: &certificate}, nil
}

func explainRefusal(s *source, err error) error {
	var noMatch *age.NoIdentityMatchError
	if !errors.As(err, &noMatch) {
		return s.explainHeader(err)
	}
	if len(noMatch.StanzaTypes) == 1 && noMatch.StanzaTypes[0] == "scrypt" {
		return ErrPassphraseFile
	}
	return ErrNoIdentity
}

// openers tries private keys and remembers which one opened the file.
type openers struct {
	identities []Identity
	opened     Recipient
}

func (o *openers) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, i := range o.identities {
		fileKey, err := i.key.Unwrap(stanzas)
		if errors.Is(err, age.ErrIncorrectIdentity) {
			continue
		}
		o.opened = i.recipient
		return fileKey, err
	}
	return nil, age.ErrIncorrectIdentity
}
