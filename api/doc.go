// Package api is the wire between client and relay: the generated code of
// sealpost.proto, which documents each message, and the names and limits that
// both sides must agree on. It holds no logic but what takes messages apart.
package api
