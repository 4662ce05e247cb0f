package terminal

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// JSONWriter returns a writer for JSON that may reach a terminal or a log
// viewer: it passes JSON on to w with every character that [Printable] would
// escape written as \uXXXX, which a JSON reader takes for the same text. Each
// call of Write has to hold whole characters, as those of encoding/json and
// log/slog do.
func JSONWriter(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	if _, err := j.w.Write(escapeJSON(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// escapeJSON relies on JSON having such characters inside strings only, but for
// the white space around values.
func escapeJSON(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			out.WriteRune(r)
		case r == utf8.RuneError && size == 1:
			out.WriteString(`\ufffd`)
		case printable(r):
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		}
		b = b[size:]
	}
	return out.Bytes()
}
