package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A Console asks a person, or a script at the other end of a pipe, for lines.
// One goroutine uses it at a time.
type Console struct {
	in     *os.File
	reader *bufio.Reader // of in; on a terminal it never holds more than a line
	out    io.Writer     // where the questions go
}

// NewConsole returns a console that reads from in and asks on out.
func NewConsole(in *os.File, out io.Writer) *Console {
	return &Console{in: in, reader: bufio.NewReader(in), out: out}
}

// Reader returns what comes after the lines that were read.
func (c *Console) Reader() io.Reader { return c.reader }

// Reads tells whether in is what the console reads from.
func (c *Console) Reads(in *os.File) bool { return c.in == in }

// Ask shows a question and returns the line that answers it, of at most
// [MaxLine] bytes. The error is io.EOF where the input ended, [ErrLineTooLong],
// or that of ctx.
func (c *Console) Ask(ctx context.Context, question string) (string, error) {
	c.show(question)
	return c.wait(ctx, func() (string, error) { return readLine(c.reader) })
}

// AskSecret is Ask without showing on a terminal what is typed.
func (c *Console) AskSecret(ctx context.Context, question string) ([]byte, error) {
	fd := int(c.in.Fd())
	if !term.IsTerminal(fd) {
		answer, err := c.Ask(ctx, question)
		fmt.Fprintln(c.out)
		return []byte(answer), err
	}
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("reading the settings of the terminal: %w", err)
	}
	c.show(question)
	answer, err := c.wait(ctx, func() (string, error) {
		secret, err := term.ReadPassword(fd)
		return string(secret), err
	})
	fmt.Fprintln(c.out)
	if ctx.Err() != nil {
		return nil, errors.Join(err, term.Restore(fd, before)) // the read goes on until the program ends
	}
	return []byte(answer), err
}

// show writes a question, broken at spaces where the terminal is narrow.
func (c *Console) show(question string) {
	text, space := strings.CutSuffix(question, " ")
	if columns := Columns(c.out); columns > 0 {
		text = Wrap(text, columns-1, 0)
	}
	if space {
		text += " "
	}
	fmt.Fprint(c.out, text)
}

// Columns returns the width of the terminal that w writes to, and 0 where it is
// none.
func Columns(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// wait returns when ctx ends even if read does not: a read from a terminal
// cannot be stopped.
func (c *Console) wait(ctx context.Context, read func() (string, error)) (string, error) {
	answers := make(chan Input, 1)
	go func() {
		text, err := read()
		answers <- Input{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case answer := <-answers:
		return answer.Text, answer.Err
	}
}

// readLine reads a line and returns it without its end. The last line needs
// none.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	size := 0
	for {
		part, err := r.ReadSlice('\n')
		if size += len(part); size <= MaxLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || size == 0):
			return "", err
		case size > MaxLine:
			return "", ErrLineTooLong
		}
		return trimLineEnd(string(line)), nil
	}
}

func trimLineEnd(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		s = s[:n-1]
	}
	if n := len(s); n > 0 && s[n-1] == '\r' {
		s = s[:n-1]
	}
	return s
}
