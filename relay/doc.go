// Package relay is the server between devices: a directory that knows which
// devices an account has, and a delivery service that takes sealed envelopes in
// and hands them out.
//
// It promises that an envelope it accepted is on disk in the mailbox of every
// recipient, or was in none; that a repeated submit delivers nothing twice; that
// a mailbox keeps its order; and that an acknowledged envelope is deleted. For
// each epoch of a group it accepts one commit, and hands each key package out
// once. Every queue has a bound.
//
// It holds no key that opens an envelope and does not link the code that could.
// What it logs names no person: no usernames, no addresses, no payloads.
//
// What it keeps goes through [Store]; package relay/sqlite is the embedded one.
package relay
