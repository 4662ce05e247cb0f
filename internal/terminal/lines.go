package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

const (
	bracketedPasteOn  = "\x1b[?2004h"
	bracketedPasteOff = "\x1b[?2004l"
	defaultColumns    = 80
)

// Lines is the console of a line chat: it reads lines, and prints text that
// comes meanwhile. On a terminal the text appears above the line being typed;
// elsewhere it is written as it comes, and there is no prompt.
//
// Its methods may be called from several goroutines.
type Lines struct {
	inputs  chan Input
	editor  *editor // nil where there is no terminal
	restore func() error

	mu  sync.Mutex // guards out where there is no editor
	out io.Writer
}

// Lines starts reading lines. Close has to be called to get the terminal back
// as it was.
func (c *Console) Lines(out io.Writer) (*Lines, error) {
	l := &Lines{inputs: make(chan Input), out: out, restore: func() error { return nil }}
	screen, ok := out.(*os.File)
	if ok && term.IsTerminal(int(c.in.Fd())) && term.IsTerminal(int(screen.Fd())) {
		if err := l.takeTerminal(int(c.in.Fd()), screen); err != nil {
			return nil, err
		}
		go l.readKeys(c.reader)
		return l, nil
	}
	go l.readLines(c)
	return l, nil
}

// takeTerminal sets the terminal to give every key as it is pressed.
func (l *Lines) takeTerminal(fd int, screen *os.File) error {
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("setting the terminal: %w", err)
	}
	paste := os.Getenv("TERM") != "dumb"
	l.restore = sync.OnceValue(func() error {
		err := l.editor.clear()
		if paste {
			_, pasteErr := io.WriteString(screen, bracketedPasteOff)
			err = errors.Join(err, pasteErr)
		}
		return errors.Join(err, term.Restore(fd, before))
	})
	l.editor = &editor{out: screen, columns: func() int {
		if columns := Columns(screen); columns > 0 {
			return columns
		}
		return defaultColumns
	}}
	if paste {
		_, err = io.WriteString(screen, bracketedPasteOn)
	}
	return err
}

// Interactive tells whether a person at a terminal sees the prompt.
func (l *Lines) Interactive() bool { return l.editor != nil }

// Close gives the terminal back.
func (l *Lines) Close() error { return l.restore() }

// Inputs returns where the lines come. The last Err is io.EOF at the end of the
// input (Ctrl-D), [ErrInterrupted] (Ctrl-C), or what broke; after
// [ErrLineTooLong] more lines come. Somebody has to take them all.
func (l *Lines) Inputs() <-chan Input { return l.inputs }

func (l *Lines) readKeys(in io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := in.Read(buffer)
		inputs, drawErr := l.editor.feed(buffer[:n])
		for _, done := range inputs {
			l.inputs <- done
		}
		if err == nil {
			err = drawErr
		}
		if err != nil {
			l.inputs <- Input{Err: err}
			return
		}
	}
}

func (l *Lines) readLines(c *Console) {
	for {
		text, err := readLine(c.reader)
		l.inputs <- Input{text, err}
		if err != nil && !errors.Is(err, ErrLineTooLong) {
			return
		}
	}
}

// Print shows text, which has to be harmless (see [PrintableText]) and may have
// several lines. On a terminal it is wrapped at spaces, and what is wrapped
// begins with indent spaces.
func (l *Lines) Print(text string, indent int) error {
	if l.editor != nil {
		return l.editor.print(text, indent)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := io.WriteString(l.out, text+"\n")
	return err
}

// SetPrompt changes what stands before the line being typed. It has to be
// harmless.
func (l *Lines) SetPrompt(prompt string) error {
	if l.editor == nil {
		return nil
	}
	return l.editor.setPrompt(prompt)
}
