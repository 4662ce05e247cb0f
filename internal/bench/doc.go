// Package bench measures a relay under load, over real TLS and onto a real disk,
// with payloads that mean nothing, or with MLS messages: how much it takes, how
// fast, what a connection costs, what a backlog changes. The relay is any server,
// or one that it starts in this process; then what is measured includes the
// clients' own work.
//
// Where messages have a rate, latency counts from when a message was due, not from
// when it was sent: a stall counts for all that it holds up.
package bench
