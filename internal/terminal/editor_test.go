package terminal

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// A screen is a terminal that knows printable characters, carriage return and
// line feed, and remembers when it was sent anything else.
type screen struct {
	columns int
	rows    [][]string // cells; a wide character takes two, the second empty
	x       int
	bad     []rune
}

func newScreen(columns int) *screen { return &screen{columns: columns, rows: [][]string{nil}} }

func (s *screen) Write(b []byte) (int, error) {
	for _, r := range string(b) {
		switch {
		case r == '\r':
			s.x = 0
		case r == '\n':
			s.rows = append(s.rows, nil)
		case !printable(r):
			s.bad = append(s.bad, r)
		default:
			s.put(r)
		}
	}
	return len(b), nil
}

func (s *screen) put(r rune) {
	w := runeWidth(r)
	if s.x+w > s.columns {
		s.rows = append(s.rows, nil)
		s.x = 0
	}
	row := &s.rows[len(s.rows)-1]
	for len(*row) < s.x+max(w, 1) {
		*row = append(*row, " ")
	}
	if w == 0 {
		(*row)[max(s.x-1, 0)] += string(r)
		return
	}
	(*row)[s.x] = string(r)
	if w == 2 {
		(*row)[s.x+1] = ""
	}
	s.x += w
}

func (s *screen) text() []string {
	var lines []string
	for _, row := range s.rows {
		lines = append(lines, strings.TrimRight(strings.Join(row, ""), " "))
	}
	return lines
}

func newTestEditor(columns int) (*editor, *screen) {
	s := newScreen(columns)
	return &editor{out: s, columns: func() int { return s.columns }, prompt: "bob> "}, s
}

func typed(t *testing.T, e *editor, keys string) []Input {
	t.Helper()
	inputs, err := e.feed([]byte(keys))
	if err != nil {
		t.Fatal(err)
	}
	return inputs
}

func TestEditorKeys(t *testing.T) {
	tests := []struct {
		name, keys, want string
	}{
		{"plain", "hello\r", "hello"},
		{"line feed ends a line too", "hello\n", "hello"},
		{"backspace", "helpp\x7f\blo\r", "hello"[:3] + "lo"},
		{"home and end", "ello\x01h\x05!\r", "hello!"},
		{"arrows", "hllo\x1b[D\x1b[D\x1b[De\x1b[C\x1b[C\x1b[C!\r", "hello!"},
		{"application arrows", "ac\x1bODb\r", "abc"},
		{"delete", "xabc\x1b[H\x1b[3~\r", "abc"},
		{"Ctrl-D within a line deletes", "xabc\x01\x04\r", "abc"},
		{"word deleted", "one two\x17three\r", "one three"},
		{"words skipped", "two three\x1b[1;5D\x1b[1;5Done \x1b[1;5C!\r", "one two!" + " three"},
		{"to the start", "junk\x15abc\r", "abc"},
		{"to the end", "abcjunk\x1b[D\x1b[D\x1b[D\x1b[D\x0b\r", "abc"},
		{"Ctrl-C clears the line", "junk\x03abc\r", "abc"},
		{"wide and combined", "你x\x7f好e\u0301\r", "你好e\u0301"},
		{"unknown sequences", "a\x1b[99;1Qb\x1b[Zc\x1bxd\r", "abcd"},
		{"bare control characters", "a\x00\x07\x1c\u009bb\r", "ab"},
		{"bytes that are no UTF-8", "a\xff\xfeb\r", "ab"},
		{"paste keeps its lines", "\x1b[200~one\r\ntwo\tx\rthree\n\x1b[201~!\r", "one\ntwo\tx\nthree\n!"},
		{"paste of escape sequences", "\x1b[200~\x1b]52;c;x\x07\x1b[31m\x9b\u009b\x03\x04ok\x1b[201~\r", "]52;c;x[31mok"},
		{"an endless sequence", "a\x1b[" + strings.Repeat("1", 600) + "\r", "a" + strings.Repeat("1", 570)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, s := newTestEditor(40)
			inputs := typed(t, e, test.keys)
			if len(inputs) != 1 || inputs[0].Text != test.want || inputs[0].Err != nil {
				t.Errorf("got %v, want %q", inputs, test.want)
			}
			// The same, a byte at a time.
			e, _ = newTestEditor(40)
			inputs = nil
			for _, b := range []byte(test.keys) {
				inputs = append(inputs, typed(t, e, string([]byte{b}))...)
			}
			if len(inputs) != 1 || inputs[0].Text != test.want {
				t.Errorf("byte by byte: got %v, want %q", inputs, test.want)
			}
			if len(s.bad) > 0 {
				t.Errorf("%q reached the screen", s.bad)
			}
		})
	}
}

func TestEditorEnds(t *testing.T) {
	e, _ := newTestEditor(40)
	if got := typed(t, e, "\x04"); len(got) != 1 || !errors.Is(got[0].Err, io.EOF) {
		t.Errorf("Ctrl-D gave %v", got)
	}
	if got := typed(t, e, "ab\x03\x03"); len(got) != 1 || !errors.Is(got[0].Err, ErrInterrupted) {
		t.Errorf("Ctrl-C on a line and on none gave %v", got)
	}
	if got := typed(t, e, strings.Repeat("x", MaxLine+1)+"\rok\r"); len(got) != 2 || !errors.Is(got[0].Err, ErrLineTooLong) || got[1].Text != "ok" {
		t.Errorf("a line too long gave %d inputs", len(got))
	}
}

func TestEditorHistory(t *testing.T) {
	e, s := newTestEditor(40)
	typed(t, e, "one\rtwo\rtwo\rdraft")
	for _, step := range []struct{ keys, want string }{
		{"\x1b[A", "bob> two"}, {"\x1b[A", "bob> one"}, {"\x1b[A", "bob> one"},
		{"\x1b[B", "bob> two"}, {"\x1b[B", "bob> draft"}, {"\x1b[B", "bob> draft"},
	} {
		typed(t, e, step.keys)
		if got := s.text(); got[len(got)-1] != step.want {
			t.Errorf("after %q the row is %q, want %q", step.keys, got[len(got)-1], step.want)
		}
	}
}

func TestEditorPrintsAboveTheLine(t *testing.T) {
	e, s := newTestEditor(20)
	typed(t, e, "half a li")
	if err := e.print("22:01 alice: are you there, Bob?\nsecond line", 2); err != nil {
		t.Fatal(err)
	}
	typed(t, e, "ne")
	want := []string{"22:01 alice: are", "  you there, Bob?", "second line", "bob> half a line"}
	if got := s.text(); !slices.Equal(got, want) {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
	if s.x != Width("bob> half a line") {
		t.Errorf("the cursor is in column %d", s.x)
	}
}

func TestEditorScrollsSideways(t *testing.T) {
	e, s := newTestEditor(20)
	for _, step := range []struct{ keys, want string }{
		{"0123456789abcdefghij", "bob> …89abcdefghij"},
		{"\x01", "bob> 0123456789abcd"},
		{"\x1b[C\x1b[C", "bob> 0123456789abcd"},
		{"\x05你好", "bob> …cdefghij你好"},
		{"\x15", "bob>"},
		{"a\u202eb\x1b[200~\n\x1b[201~", `bob> a\u202eb↵`},
	} {
		typed(t, e, step.keys)
		if got := s.text(); len(got) != 1 || got[0] != step.want {
			t.Errorf("after %q the screen shows %q, want %q", step.keys, got, step.want)
		}
	}
}

func TestEditorAfterResize(t *testing.T) {
	e, s := newTestEditor(60)
	typed(t, e, "a line that is longer than twenty columns")
	s.columns = 20
	s.rows, s.x = [][]string{nil}, 0 // what a terminal does with old rows is its own affair
	typed(t, e, "!")
	if got := s.text(); len(got) != 1 || got[0] != "bob> …nty columns!" {
		t.Errorf("the screen shows %q", got)
	}
}

// TestAttackF1Editor: whatever is typed, pasted or received, the row stays one
// row, and nothing but text reaches the screen.
func TestAttackF1Editor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, s := newTestEditor(rapid.IntRange(5, 100).Draw(t, "columns"))
		e.prompt = Printable(rapid.String().Draw(t, "prompt"))
		t.Repeat(map[string]func(*rapid.T){
			"keys":  func(t *rapid.T) { e.feed(rapid.SliceOf(rapid.Byte()).Draw(t, "keys")) },
			"text":  func(t *rapid.T) { e.feed([]byte(rapid.String().Draw(t, "text"))) },
			"paste": func(t *rapid.T) { e.feed([]byte(pasteStart + rapid.String().Draw(t, "pasted") + pasteEnd)) },
			"print": func(t *rapid.T) {
				before := len(s.rows)
				text := PrintableText(rapid.String().Draw(t, "printed"))
				e.print(text, 4)
				if len(s.rows) <= before {
					t.Fatal("nothing was printed")
				}
			},
			"": func(t *rapid.T) {
				if len(s.bad) > 0 {
					t.Fatalf("%q reached the screen", s.bad)
				}
				rows := len(s.rows)
				e.feed(nil)
				if len(s.rows) != rows {
					t.Fatal("drawing the row made another row")
				}
				if e.pos < 0 || e.pos > len(e.line) || !utf8.ValidString(string(e.line)) {
					t.Fatalf("the cursor is at %d of %q", e.pos, string(e.line))
				}
			},
		})
	})
}
