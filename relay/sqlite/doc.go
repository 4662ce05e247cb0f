// Package sqlite is the embedded store of the relay: one SQLite database in
// write-ahead mode, one connection that writes and a pool that reads.
//
// It promises what relay.Store asks. A commit is synced to disk before Write
// returns. Readers do not block the writer. Only one process has a data
// directory open at a time.
//
// It keeps envelopes as it gets them and knows nothing of their content.
package sqlite
