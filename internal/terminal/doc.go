// Package terminal is what the front ends share to stay harmless and readable
// on a terminal: escaping of text that others chose, passphrase prompts, and
// the line editor of the plain chat.
package terminal
