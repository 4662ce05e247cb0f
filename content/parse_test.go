package content

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The fields of a message, in the order of the wire.
const (
	fieldSalt = iota
	fieldReplaces
	fieldTopic
	fieldExpires
	fieldInReplyTo
	fieldExtensions
	fieldBody
)

const (
	someID   = "01a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
	nullPart = "83016000"
	hiPart   = "8501600160426869" // "hi" of no media type
)

func unhex(digits string) []byte {
	data, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return data
}

// frame is a message with one field in the given form, in hexadecimal.
func frame(field int, form string) []byte {
	fields := []string{"50000102030405060708090a0b0c0d0e0f", "f6", "40", "f6", "f6", "a0", hiPart}
	fields[field] = form
	return unhex("87" + strings.Join(fields, ""))
}

func parts(n int, part string) string { return strings.Repeat(part, n) }

func TestParseRefuses(t *testing.T) {
	cases := map[string][]byte{
		"nothing":              {},
		"a byte more":          append(frame(fieldBody, hiPart), 0),
		"a byte less":          frame(fieldBody, hiPart)[:len(frame(fieldBody, hiPart))-1],
		"six fields":           slices.Concat([]byte{0x86}, frame(fieldSalt, "")[1:]),
		"eight fields":         slices.Concat([]byte{0x88}, frame(fieldBody, hiPart+"00")[1:]),
		"indefinite length":    slices.Concat([]byte{0x9f}, frame(fieldBody, hiPart+"ff")[1:]),
		"long header":          slices.Concat([]byte{0x98, 7}, frame(fieldBody, hiPart)[1:]),
		"inside of a tag":      slices.Concat([]byte{0xd9, 0xd9, 0xf7}, frame(fieldBody, hiPart)),
		"map":                  unhex("a0"),
		"null":                 unhex("f6"),
		"salt of 15":           frame(fieldSalt, "4f"+parts(15, "01")),
		"salt of 17":           frame(fieldSalt, "51"+parts(17, "01")),
		"salt of zeros":        frame(fieldSalt, "50"+parts(16, "00")),
		"salt, long header":    frame(fieldSalt, "5810"+parts(16, "01")),
		"salt as text":         frame(fieldSalt, "70"+parts(16, "61")),
		"salt as numbers":      frame(fieldSalt, "90"+parts(16, "01")),
		"salt in pieces":       frame(fieldSalt, "5f50"+parts(16, "01")+"ff"),
		"salt null":            frame(fieldSalt, "f6"),
		"id of 31":             frame(fieldReplaces, "581f"+someID[:62]),
		"id of 33":             frame(fieldReplaces, "5821"+someID+"00"),
		"id of zeros":          frame(fieldReplaces, "5820"+parts(32, "00")),
		"id, other hash":       frame(fieldInReplyTo, "582002"+someID[2:]),
		"id empty":             frame(fieldInReplyTo, "40"),
		"id undefined":         frame(fieldReplaces, "f7"),
		"topic null":           frame(fieldTopic, "f6"),
		"topic as text":        frame(fieldTopic, "6161"),
		"topic of 4097":        frame(fieldTopic, "591001"+parts(4097, "00")),
		"expires a number":     frame(fieldExpires, "05"),
		"expires of one":       frame(fieldExpires, "81f5"),
		"expires of three":     frame(fieldExpires, "83f50505"),
		"expires, number":      frame(fieldExpires, "820105"),
		"expires, null":        frame(fieldExpires, "82f6f6"),
		"expires, negative":    frame(fieldExpires, "82f520"),
		"expires, float":       frame(fieldExpires, "82f5f93c00"),
		"expires, 2^32":        frame(fieldExpires, "82f51b0000000100000000"),
		"expires in 2 years":   frame(fieldExpires, "82f51a03c26700"),
		"extensions null":      frame(fieldExtensions, "f6"),
		"extensions array":     frame(fieldExtensions, "80"),
		"extension twice":      frame(fieldExtensions, "a203000300"),
		"extensions unsorted":  frame(fieldExtensions, "a204000300"),
		"extension, no name":   frame(fieldExtensions, "a16000"),
		"extension, long name": frame(fieldExtensions, "a1790100"+parts(256, "61")+"00"),
		"extension, bad name":  frame(fieldExtensions, "a161ff00"),
		"extension, bytes":     frame(fieldExtensions, "a1416100"),
		"extension, true":      frame(fieldExtensions, "a1f500"),
		"extension, float":     frame(fieldExtensions, "a1f93c0000"),
		"extension, list":      frame(fieldExtensions, "a1800000"),
		"extension 2^53":       frame(fieldExtensions, "a11b002000000000000000"),
		"extension -2^53":      frame(fieldExtensions, "a13b001fffffffffffff00"),
		"extension -2^64":      frame(fieldExtensions, "a13bffffffffffffffff00"),
		"sender a number":      frame(fieldExtensions, "a10100"),
		"room a number":        frame(fieldExtensions, "a10200"),
		"sender tagged":        frame(fieldExtensions, "a101d82060"),
		"body null":            frame(fieldBody, "f6"),
		"body empty":           frame(fieldBody, "80"),
		"body a map":           frame(fieldBody, "a30160006000"),
		"part of two":          frame(fieldBody, "820160"),
		"part of four":         frame(fieldBody, "8401600060"),
		"null part of five":    frame(fieldBody, "8501600060426869"),
		"single of three":      frame(fieldBody, "83016001"),
		"single of six":        frame(fieldBody, "860160016042686900"),
		"cardinality 4":        frame(fieldBody, "83016004"),
		"cardinality 257":      frame(fieldBody, "830160190101"),
		"cardinality null":     frame(fieldBody, "830160f6"),
		"disposition 256":      frame(fieldBody, "831901006000"),
		"disposition null":     frame(fieldBody, "83f66000"),
		"disposition, long":    frame(fieldBody, "8318016000"),
		"language null":        frame(fieldBody, "8301f600"),
		"language not UTF-8":   frame(fieldBody, "830161ff00"),
		"content as text":      frame(fieldBody, "8501600160626869"),
		"external, 2^32":       frame(fieldBody, "8f01600260601b0000000100000000000040404000406060"),
		"semantics 3":          frame(fieldBody, "850160030382"+hiPart+hiPart),
		"list of one":          frame(fieldBody, "850160030081"+hiPart),
		"list of none":         frame(fieldBody, "850160030080"),
		"part a number":        frame(fieldBody, "850160030082"+hiPart+"00"),
		"five levels":          frame(fieldBody, nested(5)),
		"1025 parts":           frame(fieldBody, manyParts(1025)),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(data); !errors.Is(err, ErrMalformed) {
				t.Errorf("%x: %v, want ErrMalformed", data[:min(len(data), 80)], err)
			}
		})
	}
}

// pairs are n keys, ascending, with values.
func pairs(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "%x00", encode(i))
	}
	return list.String()
}

// nested is a body of the given number of levels.
func nested(levels int) string {
	if levels == 1 {
		return nullPart
	}
	return "850160030082" + nested(levels-1) + nullPart
}

// manyParts is a body of n parts in two levels below it.
func manyParts(n int) string {
	count := func(n int) string { return fmt.Sprintf("99%04x", n) }
	half := (n - 3) / 2
	rest := n - 3 - half
	list := func(n int) string { return "8501600300" + count(n) + parts(n, nullPart) }
	return "850160030082" + list(half) + list(rest)
}

// What is refused inside of an extension's value.
func TestParseRefusesValues(t *testing.T) {
	cases := map[string]string{
		"nothing":             "",
		"long number":         "1805",
		"number in 8 bytes":   "1b0000000000000005",
		"negative, long":      "3805",
		"text not UTF-8":      "62c328",
		"long text header":    "780161",
		"bytes in pieces":     "5f4101ff",
		"endless array":       "9f01ff",
		"endless map":         "bf0101ff",
		"long array header":   "980101",
		"map unsorted":        "a202000100",
		"map, key twice":      "a201000100",
		"map, key true":       "a1f500",
		"map, key null":       "a1f600",
		"map, key a float":    "a1f93c0000",
		"map, key an array":   "a1810000",
		"map, key tagged":     "a1c00000",
		"map, key a bignum":   "a1c24901000000000000000000",
		"map, key 2^53":       "a11b002000000000000000",
		"map, key -2^53":      "a13b001fffffffffffff00",
		"long number in it":   "811805",
		"long number in map":  "a1011805",
		"long tag header":     "d80500",
		"bignum that fits":    "c24105",
		"negative that fits":  "c34105",
		"bignum, zeros":       "c24a00010000000000000000",
		"bignum of a number":  "c205",
		"NaN with a payload":  "f97e01",
		"NaN in 4 bytes":      "fa7fc00000",
		"float in 4 bytes":    "fa3f800000",
		"float in 8 bytes":    "fb3ff0000000000000",
		"simple value, long":  "f814",
		"four levels":         "8181818100",
		"levels of tags":      "d82081d82080",
		"levels of maps":      "a101a101a101a0",
		"1025 elements":       "990401" + parts(1025, "00"),
		"1025 pairs":          "b90401" + pairs(1025),
		"two values":          "0000",
		"end without a begin": "ff",
	}
	for name, value := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(frame(fieldExtensions, "a103"+value)); !errors.Is(err, ErrMalformed) {
				t.Errorf("parsing: %v, want ErrMalformed", err)
			}
			m := &Message{Salt: Salt{1}, Extensions: Extensions{{Number: 3}: unhex(value)}, Body: NestedPart{Content: NullPart{}}}
			if _, err := m.Marshal(); !errors.Is(err, ErrMalformed) {
				t.Errorf("marshaling: %v, want ErrMalformed", err)
			}
		})
	}
}

// What is not known, or at a limit, survives.
func TestParseKeeps(t *testing.T) {
	value := func(form string) []byte { return frame(fieldExtensions, "a103"+form) }
	cases := map[string][]byte{
		"everything empty":      frame(fieldBody, nullPart),
		"both references":       frame(fieldReplaces, "5820"+someID),
		"answer":                frame(fieldInReplyTo, "5820"+someID),
		"topic of 4096":         frame(fieldTopic, "591000"+parts(4096, "00")),
		"expires in a year":     frame(fieldExpires, "82f51a01e28500"),
		"expires in 2106":       frame(fieldExpires, "82f41affffffff"),
		"expires at once":       frame(fieldExpires, "82f500"),
		"disposition 200":       frame(fieldBody, "8318c86000"),
		"reserved key":          frame(fieldExtensions, "a1006161"),
		"private key":           frame(fieldExtensions, "a1206161"),
		"largest key":           frame(fieldExtensions, "a11b001fffffffffffff00"),
		"smallest key":          frame(fieldExtensions, "a13b001ffffffffffffe00"),
		"named key":             frame(fieldExtensions, "a16161f6"),
		"longest name":          frame(fieldExtensions, "a178ff"+parts(255, "61")+"00"),
		"keys of all types":     frame(fieldExtensions, "a40a000b00200061610c"),
		"addresses":             frame(fieldExtensions, "a20161610260"),
		"null":                  value("f6"),
		"undefined":             value("f7"),
		"true":                  value("f5"),
		"simple value 5":        value("e5"),
		"simple value 255":      value("f8ff"),
		"largest number":        value("1bffffffffffffffff"),
		"smallest number":       value("3bffffffffffffffff"),
		"bignum":                value("c249010000000000000000"),
		"negative bignum":       value("c349010000000000000000"),
		"half float":            value("f93e00"),
		"negative zero":         value("f98000"),
		"smallest half":         value("f90001"),
		"float":                 value("fa47c35000"),
		"double":                value("fb3ff199999999999a"),
		"infinity":              value("f97c00"),
		"NaN":                   value("f97e00"),
		"time":                  value("c11a514b67b0"),
		"time as text":          value("c06161"),
		"typed array":           value("d8544400010002"),
		"nested tag and arrays": value("8282421234d82061618242345619168b"),
		"map of all keys":       value("a401002000416100616100"),
		"map in a map in a map": value("a101a101a0"),
		"1024 pairs":            value("b90400" + pairs(1024)),
		"1024 elements":         value("990400" + parts(1024, "00")),
		"four levels":           frame(fieldBody, nested(4)),
		"1024 parts":            frame(fieldBody, manyParts(1024)),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			again, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, data) {
				t.Errorf("encoded to\n%x, want\n%x", again, data)
			}
		})
	}
}

func TestMessageSize(t *testing.T) {
	overhead := len(frame(fieldBody, "850160016059f000"))
	build := func(content int) (*Message, []byte) {
		m := &Message{Salt: Salt(unhex("000102030405060708090a0b0c0d0e0f")),
			Body: NestedPart{DispositionRender, "", SinglePart{"", make([]byte, content)}}}
		return m, encode(m.wireUnbounded(t))
	}
	largest, data := build(MaxMessage - overhead)
	if len(data) != MaxMessage {
		t.Fatalf("%d bytes", len(data))
	}
	if _, err := Parse(data); err != nil {
		t.Error(err)
	}
	if again, err := largest.Marshal(); err != nil || !bytes.Equal(data, again) {
		t.Error(err)
	}
	larger, data := build(MaxMessage - overhead + 1)
	if _, err := Parse(data); !errors.Is(err, ErrTooLarge) {
		t.Errorf("parsing: %v, want ErrTooLarge", err)
	}
	if _, err := larger.Marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("marshaling: %v, want ErrTooLarge", err)
	}
}

// wireUnbounded is a message of salt and body as it is before its size is looked at.
func (m *Message) wireUnbounded(t *testing.T) wireMessage {
	body, err := encodeBody(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return wireMessage{Salt: m.Salt[:], Body: body}
}

// Marshal refuses what Parse could not have given.
func TestMarshalRefuses(t *testing.T) {
	null := NestedPart{Content: NullPart{}}
	value := []byte{0}
	cases := map[string]func(*Message){
		"no salt":      func(m *Message) { m.Salt = Salt{} },
		"replaces":     func(m *Message) { m.Replaces[0] = 2 },
		"in reply to":  func(m *Message) { m.InReplyTo[5] = 1 },
		"topic":        func(m *Message) { m.TopicID = make([]byte, MaxTopicID+1) },
		"expiry":       func(m *Message) { m.Expires = &Expiration{Relative: true, Seconds: 1 << 31} },
		"no body":      func(m *Message) { m.Body = NestedPart{} },
		"language":     func(m *Message) { m.Body.Language = "\xff" },
		"content type": func(m *Message) { m.Body.Content = SinglePart{ContentType: "\xff"} },
		"URL":          func(m *Message) { m.Body.Content = ExternalPart{URL: "\xff"} },
		"filename":     func(m *Message) { m.Body.Content = ExternalPart{Filename: "\xff"} },
		"semantics":    func(m *Message) { m.Body.Content = MultiPart{3, []NestedPart{null, null}} },
		"one part":     func(m *Message) { m.Body.Content = MultiPart{0, []NestedPart{null}} },
		"five levels": func(m *Message) {
			for range MaxPartDepth {
				m.Body.Content = MultiPart{0, []NestedPart{m.Body, null}}
			}
		},
		"part without":      func(m *Message) { m.Body.Content = MultiPart{0, []NestedPart{null, {}}} },
		"too many parts":    func(m *Message) { m.Body.Content = MultiPart{0, slices.Repeat([]NestedPart{null}, MaxParts)} },
		"name":              func(m *Message) { m.Extensions = Extensions{{Name: "\xff"}: value} },
		"long name":         func(m *Message) { m.Extensions = Extensions{{Name: strings.Repeat("a", 256)}: value} },
		"name and number":   func(m *Message) { m.Extensions = Extensions{{Number: 1, Name: "a"}: value} },
		"large key":         func(m *Message) { m.Extensions = Extensions{{Number: 1 << 53}: value} },
		"small key":         func(m *Message) { m.Extensions = Extensions{{Number: -1 << 53}: value} },
		"no value":          func(m *Message) { m.Extensions = Extensions{{Number: 9}: nil} },
		"sender not a text": func(m *Message) { m.Extensions = Extensions{KeySender: value} },
		"too many": func(m *Message) {
			m.Extensions = make(Extensions)
			for i := range MaxElements + 1 {
				m.Extensions[ExtensionKey{Number: int64(i + 10)}] = value
			}
		},
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			m := &Message{Salt: Salt{1}, Body: null}
			if _, err := m.Marshal(); err != nil {
				t.Fatal(err)
			}
			spoil(m)
			if _, err := m.Marshal(); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v, want ErrMalformed", err)
			}
		})
	}
}

// A body that contains itself ends, too.
func TestMarshalCycle(t *testing.T) {
	list := make([]NestedPart, 2)
	list[0] = NestedPart{Content: MultiPart{Parts: list}}
	list[1] = list[0]
	m := &Message{Salt: Salt{1}, Body: list[0]}
	if _, err := m.Marshal(); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v, want ErrMalformed", err)
	}
}
