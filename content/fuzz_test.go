package content

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// seeds are the official examples, where there are any, and one message of each
// kind.
func seeds(f *testing.F) [][]byte {
	var list [][]byte
	files, err := filepath.Glob(filepath.Join("../../shared/mimi-vectors", "*.cbor"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, data)
	}
	for _, e := range examples {
		m := &Message{Salt: Salt(unhex(e.salt)), TopicID: []byte(e.topic), Expires: e.expires, Body: e.body}
		data, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, data)
	}
	return list
}

// FuzzParse: no panic; what is taken is what would be written, and stays within the
// limits.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	receipt, err := Receipt(StatusRead, firstID, secondID)
	if err != nil {
		f.Fatal(err)
	}
	data, err := receipt.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, value := range []string{"f97e00", "c249010000000000000000", "8282421234d82061618242345619168b", "a101a101a0", "fb3ff199999999999a"} {
		f.Add(frame(fieldExtensions, "a103"+value))
		f.Add(frame(fieldExtensions, "a16161"+value))
	}
	f.Add(frame(fieldBody, nested(4)))
	f.Add(frame(fieldExpires, "82f500"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		again, err := m.Marshal()
		if err != nil {
			t.Fatalf("parsed, but does not encode: %v", err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("%x encodes to %x", data, again)
		}
		checkParsed(t, m)
	})
}

// checkParsed checks what the documentation says about every parsed message.
func checkParsed(t *testing.T, m *Message) {
	if _, err := m.ID("other", "other"); err != nil && !errors.Is(err, ErrAddress) {
		t.Errorf("id: %v", err)
	}
	if m.Expires != nil {
		m.Expires.Deadline(time.Now())
	}
	view := m.View()
	replaces, answers := !m.Replaces.IsZero(), !m.InReplyTo.IsZero()
	shows := view.Text != "" || len(view.Attachments) > 0
	holds := map[Kind]bool{
		KindUnknown:      !shows && view.Omitted == 0,
		KindText:         view.Text != "" && len(view.Attachments) == 0 && !replaces && !answers,
		KindReply:        shows && !replaces && answers,
		KindReaction:     len(view.Reactions) > 0 && answers,
		KindEdit:         shows && replaces,
		KindDelete:       replaces,
		KindUnreaction:   replaces,
		KindStatusReport: len(view.Report) > 0 && !replaces,
		KindAttachment:   len(view.Attachments) > 0 && !replaces && !answers,
	}
	if !holds[view.Kind] {
		t.Errorf("view does not go with kind %v", view.Kind)
	}
	if !validText(view.Text) {
		t.Error("text is not UTF-8")
	}
	for _, reaction := range view.Reactions {
		if !validReaction(reaction) {
			t.Error("reaction breaks its rules")
		}
	}
}

// FuzzParseStatusReport: no panic; what is taken is what would be written.
func FuzzParseStatusReport(f *testing.F) {
	f.Add([]byte{0x80})
	f.Add(unhex("82825820" + someID + "01825820" + someID + "18ff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := ParseStatusReport(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if again, err := report.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x encodes to %x, %v", data, again, err)
		}
	})
}

// FuzzExtension: a value is taken in both directions or in none.
func FuzzExtension(f *testing.F) {
	for _, value := range []string{"00", "f97e00", "c249010000000000000000", "8282421234d82061618242345619168b",
		"a101a101a0", "fb3ff199999999999a", "f8ff", "c11a514b67b0", "3bffffffffffffffff", "a1414100"} {
		f.Add("name", int64(0), unhex(value))
		f.Add("", int64(300), unhex(value))
	}
	f.Fuzz(func(t *testing.T, name string, number int64, value []byte) {
		key := ExtensionKey{Name: name, Number: number}
		m := &Message{Salt: Salt{1}, Extensions: Extensions{key: value}, Body: NestedPart{Content: NullPart{}}}
		data, err := m.Marshal()
		if err != nil {
			return
		}
		parsed, err := Parse(data)
		if err != nil {
			t.Fatalf("marshaled, but does not parse: %v", err)
		}
		if !bytes.Equal(parsed.Extensions[key], value) {
			t.Errorf("%x became %x", value, parsed.Extensions[key])
		}
	})
}

// FuzzParseMessageID: an id has one text form.
func FuzzParseMessageID(f *testing.F) {
	f.Add(someID)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseMessageID(text)
		if err == nil && id.String() != text {
			t.Errorf("%q prints %v", text, id)
		}
	})
}

// FuzzView: content types and texts of any form.
func FuzzView(f *testing.F) {
	f.Add(TextContentType, []byte("hi"), uint8(1), uint8(1))
	f.Add(StatusContentType, []byte{0x80}, uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, contentType string, data []byte, disposition, semantics uint8) {
		part := NestedPart{Disposition(disposition), "", SinglePart{contentType, data}}
		list := NestedPart{Disposition(disposition), "", MultiPart{PartSemantics(semantics), []NestedPart{part, part}}}
		for _, body := range []NestedPart{part, list} {
			for _, id := range []MessageID{{}, firstID} {
				m := &Message{Salt: Salt{1}, InReplyTo: id, Body: body}
				m.View()
				if _, err := m.Marshal(); err == nil {
					checkParsed(t, m)
				}
			}
		}
	})
}
