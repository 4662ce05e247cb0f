package content

import "github.com/fxamacker/cbor/v2"

// The parts of the draft's CDDL. What a NestedPart has before its content stands in
// each of them, because CBOR has no array inside of an array without a header.
type (
	wirePart struct {
		_           struct{} `cbor:",toarray"`
		Disposition uint8
		Language    string
		Cardinality cardinality
	}
	wireSingle struct {
		_           struct{} `cbor:",toarray"`
		Disposition uint8
		Language    string
		Cardinality cardinality
		ContentType string
		Content     []byte
	}
	wireExternal struct {
		_           struct{} `cbor:",toarray"`
		Disposition uint8
		Language    string
		Cardinality cardinality
		ContentType string
		URL         string
		Expires     uint32
		Size        uint64
		EncAlg      uint16
		Key         []byte
		Nonce       []byte
		AAD         []byte
		HashAlg     uint8
		ContentHash []byte
		Description string
		Filename    string
	}
	wireMulti struct {
		_           struct{} `cbor:",toarray"`
		Disposition uint8
		Language    string
		Cardinality cardinality
		Semantics   uint8
		Parts       []cbor.RawMessage
	}
)

// partBudget bounds the parts of one body, in number and in depth.
type partBudget struct{ parts int }

func (b *partBudget) take(depth int) error {
	b.parts++
	if b.parts > MaxParts {
		return malformed("too many parts")
	}
	if depth > MaxPartDepth {
		return malformed("parts are nested too deeply")
	}
	return nil
}

func encodeBody(body NestedPart) (cbor.RawMessage, error) { return new(partBudget).encode(body, 1) }

func (b *partBudget) encode(p NestedPart, depth int) (cbor.RawMessage, error) {
	if err := b.take(depth); err != nil {
		return nil, err
	}
	if !validText(p.texts()...) {
		return nil, malformed("text is not UTF-8")
	}
	switch c := p.Content.(type) {
	case NullPart:
		return encode(wirePart{Disposition: uint8(p.Disposition), Language: p.Language, Cardinality: cardinalityNull}), nil
	case SinglePart:
		return encode(wireSingle{
			Disposition: uint8(p.Disposition), Language: p.Language, Cardinality: cardinalitySingle,
			ContentType: c.ContentType, Content: c.Content,
		}), nil
	case ExternalPart:
		return encode(wireExternal{
			Disposition: uint8(p.Disposition), Language: p.Language, Cardinality: cardinalityExternal,
			ContentType: c.ContentType, URL: c.URL, Expires: c.Expires, Size: c.Size,
			EncAlg: c.EncAlg, Key: c.Key, Nonce: c.Nonce, AAD: c.AAD,
			HashAlg: c.HashAlg, ContentHash: c.ContentHash, Description: c.Description, Filename: c.Filename,
		}), nil
	case MultiPart:
		return b.encodeMulti(p, c, depth)
	default:
		return nil, malformed("part has no content")
	}
}

func (b *partBudget) encodeMulti(p NestedPart, c MultiPart, depth int) (cbor.RawMessage, error) {
	if c.Semantics > ProcessAll || len(c.Parts) < 2 {
		return nil, malformed("list of parts has unknown semantics or fewer than two")
	}
	parts := make([]cbor.RawMessage, len(c.Parts))
	for i, part := range c.Parts {
		var err error
		if parts[i], err = b.encode(part, depth+1); err != nil {
			return nil, err
		}
	}
	return encode(wireMulti{
		Disposition: uint8(p.Disposition), Language: p.Language, Cardinality: cardinalityMulti,
		Semantics: uint8(c.Semantics), Parts: parts,
	}), nil
}

// texts are the fields that have to be UTF-8.
func (p NestedPart) texts() []string {
	switch c := p.Content.(type) {
	case SinglePart:
		return []string{p.Language, c.ContentType}
	case ExternalPart:
		return []string{p.Language, c.ContentType, c.URL, c.Description, c.Filename}
	default:
		return []string{p.Language}
	}
}

func parseBody(raw cbor.RawMessage) (NestedPart, error) { return new(partBudget).parse(raw, 1) }

func (b *partBudget) parse(raw cbor.RawMessage, depth int) (NestedPart, error) {
	if err := b.take(depth); err != nil {
		return NestedPart{}, err
	}
	switch partCardinality(raw) {
	case cardinalityNull:
		return parsePart(raw, func(w wirePart) (NestedPart, error) {
			return NestedPart{Disposition(w.Disposition), w.Language, NullPart{}}, nil
		})
	case cardinalitySingle:
		return parsePart(raw, func(w wireSingle) (NestedPart, error) {
			return NestedPart{Disposition(w.Disposition), w.Language, SinglePart{w.ContentType, w.Content}}, nil
		})
	case cardinalityExternal:
		return parsePart(raw, func(w wireExternal) (NestedPart, error) {
			return NestedPart{Disposition(w.Disposition), w.Language, w.external()}, nil
		})
	case cardinalityMulti:
		return parsePart(raw, func(w wireMulti) (NestedPart, error) {
			parts, err := b.parseAll(w.Parts, depth+1)
			return NestedPart{Disposition(w.Disposition), w.Language, MultiPart{PartSemantics(w.Semantics), parts}}, err
		})
	default:
		return NestedPart{}, malformed("not a part")
	}
}

func (b *partBudget) parseAll(list []cbor.RawMessage, depth int) ([]NestedPart, error) {
	parts := make([]NestedPart, len(list))
	for i, raw := range list {
		var err error
		if parts[i], err = b.parse(raw, depth); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func parsePart[T any](raw cbor.RawMessage, part func(T) (NestedPart, error)) (NestedPart, error) {
	var wire T
	if decoder.Unmarshal(raw, &wire) != nil {
		return NestedPart{}, malformed("part cannot be decoded")
	}
	return part(wire)
}

// partCardinality looks at the third element of a part, behind a header of one byte.
// What is not such an array gives a number that no cardinality has, or does not
// decode as the part that it seems to be.
func partCardinality(raw cbor.RawMessage) cardinality {
	const none = cardinality(0xff)
	if len(raw) == 0 {
		return none
	}
	var found cardinality
	rest := []byte(raw[1:])
	for _, target := range []any{new(uint8), new(string), &found} {
		var err error
		if rest, err = decoder.UnmarshalFirst(rest, target); err != nil {
			return none
		}
	}
	return found
}

func (w *wireExternal) external() ExternalPart {
	return ExternalPart{
		ContentType: w.ContentType, URL: w.URL, Expires: w.Expires, Size: w.Size,
		EncAlg: w.EncAlg, Key: w.Key, Nonce: w.Nonce, AAD: w.AAD,
		HashAlg: w.HashAlg, ContentHash: w.ContentHash, Description: w.Description, Filename: w.Filename,
	}
}
