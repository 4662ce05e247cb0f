package demo

import (
	"bytes"
	"errors"
	"testing"
)

func TestReadSealed(t *testing.T) {
	text := bytes.Repeat([]byte{7}, 70)
	whole := append([]byte{0, 1, 0, 2, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2, 8, 9, 0x40, 70}, text...)
	m, err := readSealed(whole)
	if err != nil {
		t.Fatal(err)
	}
	if m.version != 1 || string(m.group) != "abc" || m.epoch != 256 || m.content != 1 || len(m.extra) != 0 ||
		!bytes.Equal(m.sender, []byte{8, 9}) || !bytes.Equal(m.ciphertext, text) {
		t.Errorf("got %+v", m)
	}
	for n := range whole {
		if _, err := readSealed(whole[:n]); !errors.Is(err, errNotSealed) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	for what, bad := range map[string][]byte{
		"trailing": append(bytes.Clone(whole), 0),
		"public":   append([]byte{0, 1, 0, 1}, whole[4:]...),
		"length":   append([]byte{0, 1, 0, 2, 0xff}, whole[5:]...),
	} {
		if _, err := readSealed(bad); !errors.Is(err, errNotSealed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
