// Package seal encrypts files and text to public keys in the age format
// (age-encryption.org/v1), and can prove who encrypted them.
//
// It is thin over filippo.io/age: [NewWriter] makes files that age opens, and
// [NewReader] opens files that age made, for hybrid post-quantum
// (ML-KEM-768 with X25519, "age1pq1...") and X25519 ("age1...") keys. New keys are hybrid.
// Plugins, SSH keys and whatever else would start a program or ask a service are
// refused by the grammar of recipients and identities.
//
// What age leaves out is a layer inside its payload, see [NewSignWriter]: the
// plaintext in chunks that a device signs, for recipients that it names. It
// is described byte by byte in docs/protocol.md.
//
// The package promises that a reader hands out nothing that was not
// authenticated first, and that a reader which ends with io.EOF has given
// everything there was. Everything runs in constant memory. It knows no
// network, no disk and no clock, and it decides on no trust: which account key is somebody's is
// for the caller to know.
package seal
