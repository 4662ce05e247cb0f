package terminal

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s harmless for a terminal and a log: control characters,
// bidirectional overrides, invisible format characters and bytes that are no
// UTF-8 appear as escapes (\x1b, \u202e). Nothing that another person chose
// reaches a screen but through here.
func Printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case printable(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// PrintableText is [Printable] for text of several lines: line feeds stay, tabs
// become spaces.
func PrintableText(s string) string {
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\t", "    "), "\n")
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	return strings.Join(lines, "\n")
}

// printable tells whether a character shows as itself. The one invisible
// character among them joins the parts of an emoji.
func printable(r rune) bool { return r == '\u200d' || unicode.IsPrint(r) }
