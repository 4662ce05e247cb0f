package terminal

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Errors of reading lines.
var (
	// ErrInterrupted reports Ctrl-C on an empty line.
	ErrInterrupted = errors.New("interrupted")
	// ErrLineTooLong reports a line over [MaxLine]. Nothing of it was taken; the
	// next line can be read.
	ErrLineTooLong = errors.New("the line is too long")
)

// MaxLine is the length in bytes of the longest line that is read.
const MaxLine = 128 << 10

const maxHistory = 100

// An editor lets a person type a line on the last row of a terminal while other
// text appears above it.
//
// It draws on one row, scrolling it sideways, and with nothing but printable
// characters, spaces, carriage return and line feed: so it works on every
// terminal, and whatever another person sends, no escape sequence is ever
// written. The last column stays free, because terminals differ on what happens
// there.
type editor struct {
	columns func() int

	mu      sync.Mutex // guards what follows, and keeps drawings apart
	out     io.Writer
	keys    keyReader
	prompt  string
	line    []rune
	pos     int // of the cursor in line
	tooLong bool
	history []string // oldest first
	recall  int      // index into history, len(history) for the line being typed
	draft   []rune   // the line being typed while an older one is shown
}

// An Input is a finished line, or why there is none.
type Input struct {
	Text string
	Err  error
}

// feed takes bytes from the keyboard and returns the lines they finish.
func (e *editor) feed(b []byte) ([]Input, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var inputs []Input
	for _, press := range e.keys.feed(b) {
		if done, ok := e.press(press); ok {
			inputs = append(inputs, done)
		}
	}
	return inputs, e.write(e.erasing() + e.drawing())
}

// print shows text above the line being typed. It wraps it at spaces and begins
// wrapped lines with indent spaces.
func (e *editor) print(text string, indent int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	rows := strings.ReplaceAll(Wrap(text, e.room(), indent), "\n", "\r\n")
	return e.write(e.erasing() + rows + "\r\n" + e.drawing())
}

// setPrompt changes what stands before the line.
func (e *editor) setPrompt(prompt string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if prompt == e.prompt {
		return nil
	}
	e.prompt = prompt
	return e.write(e.erasing() + e.drawing())
}

// clear takes the line off the screen, for good.
func (e *editor) clear() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write(e.erasing())
}

func (e *editor) write(s string) error {
	_, err := io.WriteString(e.out, s)
	return err
}

// room is how many columns may be drawn on.
func (e *editor) room() int { return max(e.columns()-1, 4) }

func (e *editor) erasing() string { return "\r" + strings.Repeat(" ", e.room()) + "\r" }

// drawing draws the row, which has to be empty, then its beginning again: that
// leaves the cursor where it belongs.
func (e *editor) drawing() string {
	before, after := e.view()
	if after == "" {
		return before
	}
	return before + after + "\r" + before
}

// view returns what the row shows before and after the cursor.
func (e *editor) view() (before, after string) {
	room := e.room()
	before = Truncate(e.prompt, room/2+1)
	room -= Width(before) + 1 // the cursor's own column
	start, columns := e.pos, 0
	for start > 0 && columns+Width(cell(e.line[start-1])) <= room {
		start--
		columns += Width(cell(e.line[start]))
	}
	if start > 0 && start < e.pos { // the ellipsis takes a cell's place
		columns += 1 - Width(cell(e.line[start]))
		start++
		before += "…"
	}
	for _, r := range e.line[start:e.pos] {
		before += cell(r)
	}
	for _, r := range e.line[e.pos:] {
		if columns += Width(cell(r)); columns > room+1 {
			break
		}
		after += cell(r)
	}
	return before, after
}

// cell returns how the row shows a character of the line.
func cell(r rune) string {
	switch r {
	case '\n':
		return "↵"
	case '\t':
		return " "
	}
	return Printable(string(r))
}

// press changes the line as the key says. It returns true when that ends it.
func (e *editor) press(press keyPress) (Input, bool) {
	switch press.code {
	case keyRune:
		e.insert(press.r)
	case keyEnter:
		return e.submit(), true
	case keyEOF:
		if len(e.line) == 0 {
			return Input{Err: io.EOF}, true
		}
		e.delete(e.pos, e.pos+1)
	case keyInterrupt:
		if len(e.line) == 0 {
			return Input{Err: ErrInterrupted}, true
		}
		e.replace(nil)
	case keyUp:
		e.recallLine(e.recall - 1)
	case keyDown:
		e.recallLine(e.recall + 1)
	case keyBackspace:
		e.delete(e.pos-1, e.pos)
	case keyDelete:
		e.delete(e.pos, e.pos+1)
	case keyDeleteWord:
		e.delete(e.wordLeft(), e.pos)
	case keyDeleteToStart:
		e.delete(0, e.pos)
	case keyDeleteToEnd:
		e.delete(e.pos, len(e.line))
	default:
		e.pos = e.target(press.code)
	}
	return Input{}, false
}

// target returns where a key moves the cursor.
func (e *editor) target(code keyCode) int {
	switch code {
	case keyLeft:
		return max(e.pos-1, 0)
	case keyRight:
		return min(e.pos+1, len(e.line))
	case keyHome:
		return 0
	case keyEnd:
		return len(e.line)
	case keyWordLeft:
		return e.wordLeft()
	case keyWordRight:
		return e.wordRight()
	}
	return e.pos
}

func (e *editor) wordLeft() int {
	i := e.pos
	for i > 0 && unicode.IsSpace(e.line[i-1]) {
		i--
	}
	for i > 0 && !unicode.IsSpace(e.line[i-1]) {
		i--
	}
	return i
}

func (e *editor) wordRight() int {
	i := e.pos
	for i < len(e.line) && unicode.IsSpace(e.line[i]) {
		i++
	}
	for i < len(e.line) && !unicode.IsSpace(e.line[i]) {
		i++
	}
	return i
}

func (e *editor) insert(r rune) {
	if len(e.line) >= MaxLine {
		e.tooLong = true
		return
	}
	e.line = slices.Insert(e.line, e.pos, r)
	e.pos++
}

func (e *editor) delete(from, to int) {
	from, to = max(from, 0), min(to, len(e.line))
	e.line = slices.Delete(e.line, from, to)
	e.pos = from
}

func (e *editor) replace(line []rune) {
	e.line = slices.Clone(line)
	e.pos = len(line)
	e.tooLong = false
}

func (e *editor) recallLine(i int) {
	if i < 0 || i > len(e.history) {
		return
	}
	if e.recall == len(e.history) {
		e.draft = e.line
	}
	e.recall = i
	if i == len(e.history) {
		e.replace(e.draft)
		return
	}
	e.replace([]rune(e.history[i]))
}

func (e *editor) submit() Input {
	text, tooLong := string(e.line), e.tooLong || len(string(e.line)) > MaxLine
	e.replace(nil)
	if tooLong {
		return Input{Err: ErrLineTooLong}
	}
	if text != "" && (len(e.history) == 0 || e.history[len(e.history)-1] != text) {
		e.history = append(e.history, text)
		e.history = e.history[max(0, len(e.history)-maxHistory):]
	}
	e.recall = len(e.history)
	return Input{Text: text}
}
