// Package identity holds who is who: accounts, their devices, the certificates
// that bind one to the other, and the signatures both may make.
//
// An account is a [Username] and an Ed25519 account key. A device is one client
// with an Ed25519 device key of its own. A [Certificate], signed by the account
// key, binds the two, so that anybody who pinned the account key can check any
// device of it without asking a server. A [DeviceRecord] adds the key
// that files for the account are encrypted to, signed by the device key.
//
// The package promises that every signature is made and checked under a
// [Context] of its own, so that bytes signed for one purpose mean nothing for
// another, and that private keys never print: String, Format and LogValue show
// a placeholder.
//
// It knows no network, no disk and no clock. It does not decide whom to trust:
// pinning and its policy belong to the messenger.
package identity
