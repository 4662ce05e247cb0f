package terminal

import (
	"slices"
	"strings"
	"testing"
)

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "né": 2, "ne\u0301": 2, "你好": 4, "🙂": 2, "✓✓": 2} {
		if got := Width(text); got != want {
			t.Errorf("Width(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestTruncate(t *testing.T) {
	tests := []struct {
		in      string
		columns int
		want    string
	}{{"bob", 3, "bob"}, {"robert", 4, "rob…"}, {"你好吗", 4, "你…"}, {"bob", 1, "…"}, {"bob", 0, ""}}
	for _, test := range tests {
		if got := Truncate(test.in, test.columns); got != test.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", test.in, test.columns, got, test.want)
		}
	}
}

func TestWrap(t *testing.T) {
	tests := []struct {
		in              string
		columns, indent int
		want            []string
	}{
		{"", 20, 2, []string{""}},
		{"short", 20, 2, []string{"short"}},
		{"one two three four", 9, 2, []string{"one two", "  three", "  four"}},
		{"exactly20columns.... then", 20, 2, []string{"exactly20columns....", "  then"}},
		{"averylongwordthatdoesnotfit", 10, 2, []string{"averylongw", "  ordthatd", "  oesnotfi", "  t"}},
		{"你好你好你好", 5, 1, []string{"你好", " 你好", " 你好"}},
		{"abc", 1, 4, []string{"ab", "c"}},
		{"你好", 2, 1, []string{"你", "好"}},
	}
	for _, test := range tests {
		if got := wrap(test.in, test.columns, test.indent); !slices.Equal(got, test.want) {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", test.in, test.columns, test.indent, got, test.want)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("one two  three 你好 ", 7, 3)
	f.Fuzz(func(t *testing.T, s string, columns, indent int) {
		if columns < 0 || columns > 500 || indent < 0 || indent > 500 {
			t.Skip()
		}
		s = Printable(s)
		lines := wrap(s, columns, indent)
		for _, line := range lines {
			if Width(line) > max(columns, 2) {
				t.Errorf("%d columns in %q, want %d", Width(line), line, columns)
			}
		}
		if got := strings.ReplaceAll(strings.Join(lines, ""), " ", ""); got != strings.ReplaceAll(s, " ", "") {
			t.Errorf("wrapping %q lost something: %q", s, lines)
		}
	})
}
