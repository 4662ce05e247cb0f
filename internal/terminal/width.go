package terminal

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// runeWidth returns how many columns a printable character takes. Terminals
// differ on some emoji; what draws with it has to bear being wrong by a column.
func runeWidth(r rune) int {
	if r < 0x7f {
		return 1
	}
	if r == '\u200d' || unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Width returns how many columns a printable text takes.
func Width(s string) int {
	columns := 0
	for _, r := range s {
		columns += runeWidth(r)
	}
	return columns
}

// Truncate returns s cut to at most columns, with an ellipsis where it was cut.
func Truncate(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	return s[:prefix(s, columns-1)] + "…"
}

// prefix returns the length in bytes of the longest beginning of s that fits
// into columns.
func prefix(s string, columns int) int {
	for i, r := range s {
		if columns -= runeWidth(r); columns < 0 {
			return i
		}
	}
	return len(s)
}

// Wrap breaks printable text, of one line or several, into lines of at most
// columns. Lines that it made begin with indent spaces, so that no text can put
// words where a line of ours would begin.
func Wrap(text string, columns, indent int) string {
	var rows []string
	for line := range strings.SplitSeq(text, "\n") {
		rows = append(rows, wrap(line, columns, indent)...)
	}
	return strings.Join(rows, "\n")
}

// wrap breaks a line at spaces where it can.
func wrap(s string, columns, indent int) []string {
	columns = max(columns, 2)
	if indent > columns/2 || columns-indent < 2 {
		indent = 0
	}
	var lines []string
	margin := ""
	for {
		room := columns - len(margin)
		if Width(s) <= room {
			return append(lines, margin+s)
		}
		cut := prefix(s, room)
		if space := strings.LastIndexByte(s[:min(cut+1, len(s))], ' '); space > 0 {
			cut = space
		}
		lines = append(lines, margin+strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
		margin = strings.Repeat(" ", indent)
	}
}
