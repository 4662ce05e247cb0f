package terminal

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestAttackF1Printable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "hello", "hello"},
		{"letters of the world", "Grüße, 你好, שלום", "Grüße, 你好, שלום"},
		{"an emoji family", "👩\u200d👧", "👩\u200d👧"},
		{"colour", "\x1b[31mred", `\x1b[31mred`},
		{"clear the screen", "\x1b[2J\x1b[H", `\x1b[2J\x1b[H`},
		{"window title", "\x1b]0;root\x07", `\x1b]0;root\x07`},
		{"clipboard (OSC 52)", "\x1b]52;c;ZXZpbA==\x07", `\x1b]52;c;ZXZpbA==\x07`},
		{"device status, whose answer is typed in", "\x1b[6n", `\x1b[6n`},
		{"8-bit CSI as UTF-8", "\u009b31m", `\u009b31m`},
		{"8-bit CSI raw", "\x9b31m", `\x9b31m`},
		{"carriage return over the line", "evil\rgood", `evil\x0dgood`},
		{"backspace", "evil\b\b\b\bgood", `evil\x08\x08\x08\x08good`},
		{"line feed", "one\ntwo", `one\x0atwo`},
		{"delete", "a\x7f", `a\x7f`},
		{"bidi override", "\u202egpj.exe", `\u202egpj.exe`},
		{"bidi isolate", "\u2066a\u2069", `\u2066a\u2069`},
		{"bidi mark", "a\u200fb", `a\u200fb`},
		{"zero width space", "a\u200bb", `a\u200bb`},
		{"byte order mark", "\ufeffa", `\ufeffa`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"tag characters", "a\U000e0041", `a\U000e0041`},
		{"soft hyphen", "a\u00adb", `a\u00adb`},
		{"cut UTF-8", "a\xe4\xbd", `a\xe4\xbd`},
		{"the replacement character itself", "\ufffd", "\ufffd"},
		{"no break space", "a\u00a0b", `a\u00a0b`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Printable(test.in); got != test.want {
				t.Errorf("Printable(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b]52;c;ZXZpbA==\x07 \u202e \xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		checkHarmless(t, got)
		if Printable(got) != got {
			t.Errorf("not stable: %q", got)
		}
		if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) && utf8.ValidString(s) && got != s {
			t.Errorf("harmless text %q changed to %q", s, got)
		}
	})
}

// checkHarmless fails the test where s could do more to a terminal than show
// characters in their order.
func checkHarmless(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			t.Errorf("%U in %q", r, s)
		}
	}
}
