// Package malice is the relay as an enemy: a wrapper around the real one, with
// a switch for each attack of docs/threat-model.md that a relay can try. Tests
// and the teaching mode play the very same attacks through it.
//
// It works as gRPC interceptors, on the frames between the real relay and its
// clients, so that everything it does not attack is the real thing. It holds no
// client's key: whatever it does, any relay could do.
package malice
