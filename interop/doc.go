// Package interop holds tests only: live conversations between [sealpost/mls] and a
// foreign implementation of RFC 9420, ts-mls, which runs in Node as a child process
// and is spoken to over pipes. See README.md.
package interop
