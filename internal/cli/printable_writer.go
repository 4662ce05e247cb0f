package cli

import (
	"io"
	"slices"
	"unicode/utf8"

	"sealpost/internal/terminal"
)

// A printableWriter shows on a terminal what another person wrote, with
// everything escaped that could command the terminal.
type printableWriter struct {
	w    io.Writer
	held []byte // the beginning of a character, or a carriage return
}

func (p *printableWriter) Write(b []byte) (int, error) {
	text := slices.Concat(p.held, b)
	n := len(text) - unfinished(text)
	p.held = text[n:]
	if _, err := io.WriteString(p.w, terminal.PrintableText(string(text[:n]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// flush shows what is left.
func (p *printableWriter) flush() error {
	_, err := io.WriteString(p.w, terminal.PrintableText(string(p.held)))
	p.held = nil
	return err
}

// unfinished returns how many bytes at the end need what comes after them.
func unfinished(text []byte) int {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		return 1
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		tail := text[len(text)-n:]
		if utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
