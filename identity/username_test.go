package identity

import (
	"errors"
	"testing"
)

func TestParseAddress(t *testing.T) {
	tests := []struct {
		in   string
		want Username
		err  error
	}{
		{"bob", "bob", nil},
		{"@bob", "bob", nil},
		{"Bob", "bob", nil},
		{"b0b._-x", "b0b._-x", nil},
		{"bob@chat.example.org", "", ErrForeignServer},
		{"@bob@chat.example.org", "", ErrForeignServer},
		{"bob@", "", ErrUsername},
		{"", "", ErrUsername},
		{"b", "", ErrUsername},
		{".bob", "", ErrUsername},
		{"bob smith", "", ErrUsername},
		{"bob\n", "", ErrUsername},
		{"b\u202eob", "", ErrUsername},
		{"\u212aarl", "", ErrUsername}, // the Kelvin sign, whose lower case is k
		{"0123456789012345678901234567890123", "", ErrUsername},
	}
	for _, test := range tests {
		got, err := ParseAddress(test.in)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q, %v", test.in, got, err, test.want, test.err)
		}
	}
}
