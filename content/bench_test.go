package content

import (
	"fmt"
	"strings"
	"testing"
)

func benchMessages(b *testing.B) map[string]*Message {
	messages := map[string]*Message{
		"nested": {Salt: Salt{1}, Body: examples["multipart-3"].body},
	}
	for _, size := range []int{200, MaxText} {
		m, err := Reply(firstID, strings.Repeat("a", size))
		if err != nil {
			b.Fatal(err)
		}
		messages[fmt.Sprintf("text of %d", size)] = m
	}
	receipt, err := Receipt(StatusRead, someIDs(100)...)
	if err != nil {
		b.Fatal(err)
	}
	messages["receipt of 100"] = receipt
	return messages
}

func BenchmarkMarshal(b *testing.B) {
	for name, m := range benchMessages(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Marshal(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse parses and looks at what came.
func BenchmarkParse(b *testing.B) {
	for name, m := range benchMessages(b) {
		b.Run(name, func(b *testing.B) {
			data, err := m.Marshal()
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				m, err := Parse(data)
				if err != nil {
					b.Fatal(err)
				}
				m.View()
			}
		})
	}
}

func BenchmarkID(b *testing.B) {
	m, err := NewText(strings.Repeat("a", 200))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.ID(aliceURI, roomURI); err != nil {
			b.Fatal(err)
		}
	}
}
