package messenger

// A ProtectionKind says what keeps the database key of a profile.
type ProtectionKind string

// The kinds of protection.
const (
	// ProtectionPassphrase: the key is encrypted under a passphrase (Argon2id).
	ProtectionPassphrase ProtectionKind = "passphrase"
	// ProtectionKeyring: the key is in the operating system's keyring.
	ProtectionKeyring ProtectionKind = "keyring"
	// ProtectionKeyFile: the key is in a file beside the database that only its
	// owner may read. Who gets the directory can read the messages.
	ProtectionKeyFile ProtectionKind = "keyfile"
)

// An Unlocker protects the random key of a profile's database when the profile
// is made, and gives it back when it is opened. [Passphrase], [Keyring] and
// [KeyFile] make one.
type Unlocker interface {
	// Kind says which protection it is.
	Kind() ProtectionKind
	// protect keeps key for the profile in dir and returns what must be written
	// down to find it again, which is no secret.
	protect(dir string, key []byte) (protection, error)
	// unprotect returns the key.
	unprotect(dir string, p protection) ([]byte, error)
	// forget removes what protect kept elsewhere.
	forget(dir string, p protection) error
}
