package content

import (
	"bytes"
	"fmt"
	"math/big"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

var (
	// encoder writes the deterministic encoding of RFC 8949, Section 4.2.1.
	encoder = func() cbor.EncMode {
		options := cbor.CoreDetEncOptions()
		options.NilContainers = cbor.NilContainerAsEmpty
		mode, err := options.EncMode()
		if err != nil {
			panic(err)
		}
		return mode
	}()
	// decoder is lenient in places, such as null where a number should be. Parsers
	// encode again what they got, and compare.
	decoder = func() cbor.DecMode {
		mode, err := cbor.DecOptions{
			DupMapKey:        cbor.DupMapKeyEnforcedAPF,
			IndefLength:      cbor.IndefLengthForbidden,
			MapKeyByteString: cbor.MapKeyByteStringAllowed,
			MaxNestedLevels:  maxNesting,
			MaxArrayElements: MaxElements,
			MaxMapPairs:      MaxElements,
		}.DecMode()
		if err != nil {
			panic(err)
		}
		return mode
	}()
)

// malformed says what is wrong without quoting: what the message holds is secret.
// The reasons of the decoder are left out, because they can quote.
func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// encode is for values of our own types, whose encoding cannot fail.
func encode(v any) cbor.RawMessage {
	data, err := encoder.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encoding %T: %w", v, err))
	}
	return data
}

// Major types (RFC 8949, Section 3.1).
const (
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

// maxMapInteger bounds integers as keys: beyond it a double loses precision (draft,
// section "Data model restrictions").
const maxMapInteger = 1<<53 - 1

// checkValue checks that raw is one data item in deterministic encoding, at
// most depth levels of maps, arrays and tags deep, and within the data model of the
// draft.
func checkValue(raw cbor.RawMessage, depth int) error {
	if decoder.Wellformed(raw) != nil {
		return malformed("extension is not CBOR")
	}
	return checkItem(raw, depth)
}

// checkItem checks a well-formed item.
func checkItem(raw cbor.RawMessage, depth int) error {
	switch raw[0] >> 5 {
	case majorArray:
		return checkContainer(raw, depth, new([]cbor.RawMessage), func(items []cbor.RawMessage) []cbor.RawMessage { return items })
	case majorMap:
		return checkContainer(raw, depth, new(map[any]cbor.RawMessage), mapValues)
	case majorTag:
		if bignum := raw[0] == 0xc2 || raw[0] == 0xc3; bignum {
			return checkSame[big.Int](raw)
		}
		return checkContainer(raw, depth, new(cbor.RawTag), func(tag cbor.RawTag) []cbor.RawMessage {
			return []cbor.RawMessage{tag.Content}
		})
	case majorOther:
		if info := raw[0] & 0x1f; info >= 25 { // of a float
			return checkSame[float64](raw)
		}
		return nil // simple values have one encoding
	default:
		return checkSame[any](raw)
	}
}

// checkContainer decodes a container, checks what is inside, and compares its own
// encoding: length, order and number.
func checkContainer[T any](raw cbor.RawMessage, depth int, container *T, inside func(T) []cbor.RawMessage) error {
	if depth == 0 {
		return malformed("extension is too deep")
	}
	if decoder.Unmarshal(raw, container) != nil {
		return malformed("extension cannot be decoded")
	}
	items := inside(*container)
	for _, item := range items {
		if item == nil {
			return malformed("map in an extension has a key of a forbidden type")
		}
		if err := checkItem(item, depth-1); err != nil {
			return err
		}
	}
	return compare(raw, encode(*container))
}

// mapValues gives a nil value in the place of a key that is none.
func mapValues(m map[any]cbor.RawMessage) []cbor.RawMessage {
	values := make([]cbor.RawMessage, 0, len(m))
	for key, value := range m {
		if !validMapKey(key) {
			return []cbor.RawMessage{nil}
		}
		values = append(values, value)
	}
	return values
}

func validMapKey(key any) bool {
	switch key := key.(type) {
	case uint64:
		return key <= maxMapInteger
	case int64:
		return key >= -maxMapInteger
	case string, cbor.ByteString:
		return true
	default:
		return false
	}
}

// checkSame decodes a scalar and compares its encoding.
func checkSame[T any](raw cbor.RawMessage) error {
	var value T
	if decoder.Unmarshal(raw, &value) != nil {
		return malformed("extension cannot be decoded")
	}
	return compare(raw, encode(value))
}

func compare(raw, again []byte) error {
	if !bytes.Equal(raw, again) {
		return malformed("not in deterministic encoding")
	}
	return nil
}

func validText(texts ...string) bool {
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return false
		}
	}
	return true
}
