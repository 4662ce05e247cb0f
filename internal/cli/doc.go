// Package cli is what a person types: one file for each command, over the
// packages that do the work. It parses flags, asks, prints, and turns errors
// into one line that says what to do next and an exit status.
//
// It holds no protocol, no key and no state of its own.
package cli
