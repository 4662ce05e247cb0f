package content

import (
	"github.com/fxamacker/cbor/v2"
)

// ExtensionKey is the key of an extension (draft, section "Extension Fields"): a
// number from -(2^53-1) to 2^53-1, or a name of at most MaxExtensionName bytes
// of UTF-8 where Name is not empty. Negative numbers and names are for private use.
type ExtensionKey struct {
	Number int64
	Name   string
}

// Keys of the draft (section "MIMI Content Extension Keys registry"). Both have a
// text as value.
var (
	// KeySender is the URI of the sender.
	KeySender = ExtensionKey{Number: 1}
	// KeyRoom is the URI of the room.
	KeyRoom = ExtensionKey{Number: 2}
)

// Extensions maps keys to values, each one CBOR data item in deterministic
// encoding, of the depth and the data model of the draft (sections "Depth restrictions"
// and "Data model restrictions").
type Extensions map[ExtensionKey][]byte

// Text is the value of an extension that holds a text.
func (e Extensions) Text(key ExtensionKey) (text string, ok bool) {
	raw := e[key]
	if len(raw) == 0 || raw[0]>>5 != majorText || decoder.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// TextValue encodes a text as the value of an extension.
func TextValue(text string) []byte { return encode(text) }

// wire checks the extensions and gives what is encoded.
func (e Extensions) wire() (map[any]cbor.RawMessage, error) {
	wire := make(map[any]cbor.RawMessage, len(e))
	for key, value := range e {
		if err := checkExtension(key, value); err != nil {
			return nil, err
		}
		if key.Name != "" {
			wire[key.Name] = value
		} else {
			wire[key.Number] = value
		}
	}
	if len(wire) > MaxElements {
		return nil, malformed("too many extensions")
	}
	return wire, nil
}

func checkExtension(key ExtensionKey, value []byte) error {
	switch {
	case len(key.Name) > MaxExtensionName || !validText(key.Name):
		return malformed("extension has a bad name")
	case key.Name != "" && key.Number != 0:
		return malformed("extension has a name and a number")
	case key.Number < -maxMapInteger || key.Number > maxMapInteger:
		return malformed("number of an extension is out of range")
	}
	if err := checkValue(value, MaxExtensionDepth-1); err != nil {
		return err
	}
	if (key == KeySender || key == KeyRoom) && value[0]>>5 != majorText {
		return malformed("address is not a text")
	}
	return nil
}

// parseExtensions takes the keys. What is wrong with a name or a value is seen when it is
// encoded again; an empty name becomes the number 0.
func parseExtensions(wire map[any]cbor.RawMessage) (Extensions, error) {
	extensions := make(Extensions, len(wire))
	for key, value := range wire {
		switch key := key.(type) {
		case uint64:
			if key > maxMapInteger {
				return nil, malformed("number of an extension is out of range")
			}
			extensions[ExtensionKey{Number: int64(key)}] = value
		case int64:
			extensions[ExtensionKey{Number: key}] = value
		case string:
			extensions[ExtensionKey{Name: key}] = value
		default:
			return nil, malformed("key of an extension is of a forbidden type")
		}
	}
	return extensions, nil
}
