package content

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// Every message that we can build comes back as it was, and its id is that of the
// message it came from.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		data, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, parsed, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		again, err := parsed.Marshal()
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("%x became %x, %v", data, again, err)
		}
	})
}

// A message with one bit changed is another message, or none.
func TestBitsCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		data, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		bit := rapid.IntRange(0, len(data)*8-1).Draw(t, "bit")
		data[bit/8] ^= 1 << (bit % 8)
		other, err := Parse(data)
		if err == nil && cmp.Equal(m, other, cmpopts.EquateEmpty()) {
			t.Fatalf("bit %d makes no difference", bit)
		}
	})
}

func drawMessage(t *rapid.T) *Message {
	m := &Message{
		Salt:       drawSalt(t),
		Replaces:   drawID(t, "replaces"),
		TopicID:    rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "topic"),
		InReplyTo:  drawID(t, "in reply to"),
		Extensions: drawExtensions(t),
		Body:       drawPart(t, 1),
	}
	if rapid.Bool().Draw(t, "expires") {
		m.Expires = &Expiration{Relative: rapid.Bool().Draw(t, "relative"), Seconds: rapid.Uint32Range(0, 366*24*3600).Draw(t, "seconds")}
	}
	return m
}

func drawSalt(t *rapid.T) Salt {
	salt := Salt(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "salt"))
	salt[0] |= 1
	return salt
}

func drawID(t *rapid.T, label string) MessageID {
	if rapid.Bool().Draw(t, label) {
		return MessageID{}
	}
	id := MessageID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label))
	id[0] = hashSHA256
	return id
}

func drawExtensions(t *rapid.T) Extensions {
	extensions := make(Extensions)
	for range rapid.IntRange(0, 4).Draw(t, "extensions") {
		key := ExtensionKey{Name: rapid.StringN(1, 20, MaxExtensionName).Draw(t, "name")}
		if rapid.Bool().Draw(t, "numbered") {
			key = ExtensionKey{Number: rapid.Int64Range(-maxMapInteger, maxMapInteger).Draw(t, "number")}
		}
		if key == KeySender || key == KeyRoom {
			extensions[key] = TextValue(rapid.String().Draw(t, "address"))
			continue
		}
		extensions[key] = encode(drawValue(t, MaxExtensionDepth-1))
	}
	return extensions
}

// drawValue is a value of the data model with at most depth levels.
func drawValue(t *rapid.T, depth int) any {
	choices := 7
	if depth > 0 {
		choices = 10
	}
	switch rapid.IntRange(0, choices-1).Draw(t, "type") {
	case 0:
		return rapid.Uint64().Draw(t, "unsigned")
	case 1:
		return rapid.Int64().Draw(t, "signed")
	case 2:
		return rapid.String().Draw(t, "text")
	case 3:
		return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
	case 4:
		return rapid.SampledFrom([]any{nil, true, false, cbor.SimpleValue(7), cbor.SimpleValue(200)}).Draw(t, "simple")
	case 5:
		return rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(-1))).Draw(t, "float")
	case 6:
		return new(big.Int).Lsh(big.NewInt(rapid.Int64().Draw(t, "bignum")), 70)
	case 7:
		return cbor.Tag{Number: rapid.Uint64Range(4, math.MaxUint64).Draw(t, "tag"), Content: drawValue(t, depth-1)}
	case 8:
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "elements"))
		for i := range list {
			list[i] = drawValue(t, depth-1)
		}
		return list
	default:
		pairs := make(map[any]any)
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			pairs[drawKey(t)] = drawValue(t, depth-1)
		}
		return pairs
	}
}

func drawKey(t *rapid.T) any {
	switch rapid.IntRange(0, 2).Draw(t, "type of key") {
	case 0:
		return rapid.Int64Range(-maxMapInteger, maxMapInteger).Draw(t, "number")
	case 1:
		return rapid.String().Draw(t, "text")
	default:
		return cbor.ByteString(rapid.String().Draw(t, "bytes"))
	}
}

func drawPart(t *rapid.T, depth int) NestedPart {
	return NestedPart{
		Disposition: Disposition(rapid.Uint8().Draw(t, "disposition")),
		Language:    rapid.SampledFrom([]string{"", "en", "de, fr"}).Draw(t, "language"),
		Content:     drawContent(t, depth),
	}
}

func drawContent(t *rapid.T, depth int) PartContent {
	text := rapid.String()
	data := rapid.SliceOfN(rapid.Byte(), 0, 40)
	contentType := rapid.OneOf(rapid.SampledFrom([]string{TextContentType, markdownType, StatusContentType, "image/png"}), text)
	choices := 4
	if depth == MaxPartDepth {
		choices = 3
	}
	switch rapid.IntRange(0, choices-1).Draw(t, "cardinality") {
	case 0:
		return NullPart{}
	case 1:
		return SinglePart{contentType.Draw(t, "content type"), data.Draw(t, "content")}
	case 2:
		return ExternalPart{
			ContentType: contentType.Draw(t, "content type"), URL: text.Draw(t, "URL"),
			Expires: rapid.Uint32().Draw(t, "expires"), Size: rapid.Uint64().Draw(t, "size"),
			EncAlg: rapid.Uint16().Draw(t, "algorithm"), Key: data.Draw(t, "key"), Nonce: data.Draw(t, "nonce"), AAD: data.Draw(t, "aad"),
			HashAlg: rapid.Uint8().Draw(t, "hash algorithm"), ContentHash: data.Draw(t, "hash"),
			Description: text.Draw(t, "description"), Filename: text.Draw(t, "filename"),
		}
	default:
		parts := make([]NestedPart, rapid.IntRange(2, 3).Draw(t, "parts"))
		for i := range parts {
			parts[i] = drawPart(t, depth+1)
		}
		return MultiPart{PartSemantics(rapid.IntRange(0, 2).Draw(t, "semantics")), parts}
	}
}
