package mls

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// This file holds the presentation language of RFC 9420, Section 2.1: fixed-size
// integers in network order, and vectors headed by a variable-length integer.

// maxVectorLength is the longest vector that a variable-length header can
// announce (RFC 9420, Section 2.1.2).
const maxVectorLength = 1<<30 - 1

// ErrMalformed is wrapped by every error about bytes that do not parse (RFC 9420,
// Section 2.1): fields cut short, bytes left over, lengths not in their shortest
// form, or values outside an enumeration.
var ErrMalformed = errors.New("mls: malformed encoding")

func malformed(what string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, what)
}

func appendVarint(b []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(b, uint16(n)|1<<14)
	case n <= maxVectorLength:
		return binary.BigEndian.AppendUint32(b, uint32(n)|2<<30)
	}
	panic("mls: vector longer than the encoding allows")
}

func varintSize(n int) int {
	switch {
	case n < 1<<6:
		return 1
	case n < 1<<14:
		return 2
	}
	return 4
}

func appendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func appendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// appendVector appends opaque v<V>.
func appendVector(b, v []byte) []byte {
	return append(appendVarint(b, len(v)), v...)
}

// appendSized appends what body appends, as a vector. The header's size is not
// known before the content, so the content moves up once the length is.
func appendSized(b []byte, body func([]byte) []byte) []byte {
	start := len(b)
	b = body(append(b, 0))
	n := len(b) - start - 1
	if extra := varintSize(n) - 1; extra > 0 {
		b = append(b, make([]byte, extra)...)
		copy(b[start+1+extra:], b[start+1:start+1+n])
	}
	appendVarint(b[:start], n)
	return b
}

// appendList appends a vector of structs.
func appendList[T any](b []byte, list []T, element func([]byte, T) []byte) []byte {
	return appendSized(b, func(b []byte) []byte {
		for _, v := range list {
			b = element(b, v)
		}
		return b
	})
}

func appendUint16List[T ~uint16](b []byte, list []T) []byte {
	b = appendVarint(b, 2*len(list))
	for _, v := range list {
		b = appendUint16(b, uint16(v))
	}
	return b
}

func appendUint32List(b []byte, list []uint32) []byte {
	b = appendVarint(b, 4*len(list))
	for _, v := range list {
		b = appendUint32(b, v)
	}
	return b
}

// A reader takes fields off the front of an encoding. Its first error sticks,
// and every later field reads as zero, so that callers check once at the end.
// Byte slices that it returns alias the input.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = malformed(what)
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.rest) {
		r.fail("field cut short")
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

func (r *reader) uint8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// varint reads a variable-length integer, which has to be in its shortest form
// (RFC 9420, Section 2.1.2).
func (r *reader) varint() int {
	first := r.uint8()
	prefix := first >> 6
	if prefix == 3 {
		r.fail("variable-length integer with the reserved prefix")
		return 0
	}
	v := int(first & 0x3f)
	for range 1<<prefix - 1 {
		v = v<<8 | int(r.uint8())
	}
	if r.err == nil && varintSize(v) != 1<<prefix {
		r.fail("variable-length integer not in its shortest form")
		return 0
	}
	return v
}

// vector reads opaque<V>.
func (r *reader) vector() []byte { return r.take(r.varint()) }

// optional reads the presence octet of optional<T> (RFC 9420, Section 2.1.1).
func (r *reader) optional() bool {
	v := r.uint8()
	if v > 1 {
		r.fail("presence octet above 1")
	}
	return v == 1
}

// list reads a vector of structs. Every element takes at least one byte of
// input, which bounds what a hostile length can make us allocate.
func readList[T any](r *reader, element func(*reader) T) []T {
	var list []T
	sub := reader{rest: r.vector(), err: r.err}
	for len(sub.rest) > 0 && sub.err == nil {
		list = append(list, element(&sub))
	}
	if sub.err != nil && r.err == nil {
		r.err, r.rest = sub.err, nil
	}
	return list
}

func readUint16List[T ~uint16](r *reader) []T {
	return readList(r, func(r *reader) T { return T(r.uint16()) })
}

// finish reports the first error, or bytes left over.
func (r *reader) finish() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("bytes left over")
	}
	return r.err
}

// parseAll parses the whole of b as one T.
func parseAll[T any](b []byte, read func(*reader) T) (T, error) {
	r := reader{rest: b}
	v := read(&r)
	if err := r.finish(); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}
