package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age/armor"
)

type fileFormat int

const (
	formatOther fileFormat = iota
	formatBinary
	formatArmored
)

const (
	intro = "age-encryption.org/v1\n"
	// maxLeadingSpace is how much white space age takes before the armor.
	maxLeadingSpace = 1024
)

// sniff tells the format from the beginning of a file.
func sniff(start []byte) fileFormat {
	switch {
	case len(start) > 0 && bytes.HasPrefix([]byte(intro), start[:min(len(start), len(intro))]):
		return formatBinary
	case bytes.HasPrefix(bytes.TrimSpace(start), []byte(armor.Header)):
		return formatArmored
	}
	return formatOther
}

// A source is where a file comes from. It remembers how reading went, since age
// tells in words only what kept it from going on.
type source struct {
	r     io.Reader
	start *bufio.Reader
	size  int64 // read so far, in bytes
	ended bool
	err   error // of r, other than io.EOF
}

func newSource(r io.Reader) *source {
	s := &source{r: r}
	s.start = bufio.NewReader(readerFunc(s.read))
	return s
}

func (s *source) read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.size += int64(n)
	if errors.Is(err, io.EOF) {
		s.ended = true
	} else if err != nil {
		s.err = err
	}
	return n, err
}

// format looks ahead.
func (s *source) format() fileFormat {
	start, _ := s.start.Peek(maxLeadingSpace + len(armor.Header)) // a short file is all there is
	return sniff(start)
}

// dearmored returns the binary file.
func (s *source) dearmored() io.Reader {
	if s.format() == formatArmored {
		return armor.NewReader(s.start)
	}
	return s.start
}

// explainHeader turns an error of age about the header into one of ours.
func (s *source) explainHeader(err error) error {
	var armorError *armor.Error
	switch {
	case s.err != nil:
		return fmt.Errorf("reading the file: %w", s.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case s.ended && (s.size < int64(len(intro)) || errors.As(err, &armorError)):
		return ErrTruncated
	}
	return ErrCorrupt // age's words repeat the file, at any length
}

// explain turns an error of age about the payload into one of ours.
func (s *source) explain(err error) error {
	switch {
	case s.err != nil:
		return fmt.Errorf("reading the file: %w", s.err)
	case s.ended, errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	}
	return ErrCorrupt
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
