// Package demo is the teaching mode: a real relay and two real clients in one
// process, over real TLS on loopback, with a tap on everything. It tells the
// journey of a message in numbered steps, and every byte that it shows was read
// from the run itself: from the wire, from the relay's memory, from its files.
//
// It holds no cryptography and fakes nothing. What it does to the wire in the
// last step goes through package malice, as in the tests.
package demo
