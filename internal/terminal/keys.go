package terminal

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

type keyCode int

const (
	keyRune keyCode = iota // a character, in keyPress.r
	keyIgnored
	keyEnter
	keyBackspace
	keyDelete
	keyLeft
	keyRight
	keyWordLeft
	keyWordRight
	keyHome
	keyEnd
	keyUp
	keyDown
	keyDeleteWord
	keyDeleteToStart
	keyDeleteToEnd
	keyRedraw
	keyInterrupt // Ctrl-C
	keyEOF       // Ctrl-D
)

type keyPress struct {
	code keyCode
	r    rune
}

// controlKeys are the keys that send one control character.
var controlKeys = map[byte]keyCode{
	0x01: keyHome, 0x02: keyLeft, 0x03: keyInterrupt, 0x04: keyEOF, 0x05: keyEnd, 0x06: keyRight,
	0x08: keyBackspace, 0x0a: keyEnter, 0x0b: keyDeleteToEnd, 0x0c: keyRedraw, 0x0d: keyEnter,
	0x0e: keyDown, 0x10: keyUp, 0x15: keyDeleteToStart, 0x17: keyDeleteWord, 0x7f: keyBackspace,
}

// sequenceKeys are the keys that send an escape sequence: what follows ESC.
var sequenceKeys = map[string]keyCode{
	"[A": keyUp, "[B": keyDown, "[C": keyRight, "[D": keyLeft, "[H": keyHome, "[F": keyEnd,
	"OA": keyUp, "OB": keyDown, "OC": keyRight, "OD": keyLeft, "OH": keyHome, "OF": keyEnd,
	"[1~": keyHome, "[3~": keyDelete, "[4~": keyEnd, "[7~": keyHome, "[8~": keyEnd,
	"[1;3C": keyWordRight, "[1;3D": keyWordLeft, "[1;5C": keyWordRight, "[1;5D": keyWordLeft,
	"b": keyWordLeft, "f": keyWordRight, "\x7f": keyDeleteWord,
}

const (
	pasteStart        = "\x1b[200~"
	pasteEnd          = "\x1b[201~"
	maxSequenceLength = 32 // bytes; a longer one is no key
)

// A keyReader makes keys of the bytes that a terminal in raw mode sends. Pasted
// text (in bracketed paste mode) gives characters only: line ends in it do not
// press Enter, and its control characters are dropped.
type keyReader struct {
	pending []byte // the beginning of a key
	pasting bool
}

func (k *keyReader) feed(b []byte) []keyPress {
	k.pending = append(k.pending, b...)
	var presses []keyPress
	for len(k.pending) > 0 {
		press, size := k.next(k.pending)
		if size == 0 {
			break
		}
		k.pending = k.pending[size:]
		if press.code != keyIgnored {
			presses = append(presses, press)
		}
	}
	k.pending = bytes.Clone(k.pending)
	return presses
}

// next reads the key at the beginning of b and returns its length, or 0 where b
// ends within it.
func (k *keyReader) next(b []byte) (keyPress, int) {
	switch {
	case k.pasting:
		return k.nextPasted(b)
	case b[0] == 0x1b:
		return k.nextSequence(b)
	case b[0] < 0x20 || b[0] == 0x7f:
		if code, ok := controlKeys[b[0]]; ok {
			return keyPress{code: code}, 1
		}
		return keyPress{code: keyIgnored}, 1
	}
	return nextRune(b)
}

func nextRune(b []byte) (keyPress, int) {
	if !utf8.FullRune(b) {
		return keyPress{}, 0
	}
	r, size := utf8.DecodeRune(b)
	if unicode.IsControl(r) || r == utf8.RuneError {
		return keyPress{code: keyIgnored}, size
	}
	return keyPress{code: keyRune, r: r}, size
}

func (k *keyReader) nextSequence(b []byte) (keyPress, int) {
	size := sequenceLength(b)
	if size == 0 {
		return keyPress{}, 0
	}
	if string(b[:size]) == pasteStart {
		k.pasting = true
	} else if code, ok := sequenceKeys[string(b[1:size])]; ok {
		return keyPress{code: code}, size
	}
	return keyPress{code: keyIgnored}, size
}

// sequenceLength returns the length of the escape sequence at the beginning of
// b, or 0 where b ends within it.
func sequenceLength(b []byte) int {
	if len(b) == 1 {
		return 0
	}
	i := 2
	switch b[1] {
	case '[':
		for i < min(len(b), maxSequenceLength) && b[i] >= 0x20 && b[i] < 0x40 {
			i++
		}
	case 'O':
	case 0x1b:
		return 1
	default:
		return 2
	}
	switch {
	case i == maxSequenceLength:
		return i
	case i == len(b):
		return 0
	case b[i] < 0x40 || b[i] == 0x7f: // no sequence goes on like this
		return i
	}
	return i + 1
}

func (k *keyReader) nextPasted(b []byte) (keyPress, int) {
	switch {
	case bytes.HasPrefix(b, []byte(pasteEnd)):
		k.pasting = false
		return keyPress{code: keyIgnored}, len(pasteEnd)
	case bytes.HasPrefix([]byte(pasteEnd), b):
		return keyPress{}, 0
	case b[0] == '\r' && len(b) == 1:
		return keyPress{}, 0
	case b[0] == '\r' && b[1] == '\n':
		return keyPress{code: keyRune, r: '\n'}, 2
	case b[0] == '\r' || b[0] == '\n':
		return keyPress{code: keyRune, r: '\n'}, 1
	case b[0] == '\t':
		return keyPress{code: keyRune, r: '\t'}, 1
	}
	return nextRune(b)
}
