package seal

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"filippo.io/age"
)

// MaxRecipients is the largest number of recipients of a file. It is age's
// limit on recipient stanzas.
const MaxRecipients = 1024

// A Recipient is a public key that files are encrypted to. The zero value is
// none.
type Recipient struct {
	text string
	key  age.Recipient
}

// The two kinds of recipients in Bech32, of 1216 bytes of key and of 32, and
// what age takes for the recipient of a plugin.
var (
	hybridPattern = regexp.MustCompile(`^age1pq1[ac-hj-np-z02-9]+$`)
	x25519Pattern = regexp.MustCompile(`^age1[ac-hj-np-z02-9]{58}$`)
	pluginPattern = regexp.MustCompile(`^age1([a-z0-9+._-]{1,32})1`)
)

const hybridLen = len("age1pq1") + 1952

// ParseRecipient reads a recipient: "age1pq1..." (hybrid, post-quantum) or
// "age1..." (X25519), in lower case, and nothing around it. The error wraps
// [ErrRecipient]; it never repeats a private key that was given by mistake.
func ParseRecipient(s string) (Recipient, error) {
	var key age.Recipient
	var err error
	switch {
	case len(s) == hybridLen && hybridPattern.MatchString(s):
		key, err = age.ParseHybridRecipient(s)
	case x25519Pattern.MatchString(s):
		key, err = age.ParseX25519Recipient(s)
	default:
		return Recipient{}, refuseRecipient(s)
	}
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: %s is mistyped: its checksum or its key is wrong", ErrRecipient, excerpt(s))
	}
	return Recipient{text: s, key: key}, nil
}

// refuseRecipient says what is wrong with a text that has not the form of a
// recipient.
func refuseRecipient(s string) error {
	upper := strings.ToUpper(strings.TrimSpace(s))
	plugin := pluginPattern.FindStringSubmatch(s)
	var reason string
	switch {
	case strings.HasPrefix(upper, "AGE-SECRET-KEY-"):
		reason = "this is a private key; keep it to yourself, and give the public key that belongs to it"
	case strings.HasPrefix(upper, "AGE-PLUGIN-"):
		reason = "this is a plugin's identity, and plugins are never started"
	case strings.HasPrefix(upper, "SSH-"):
		reason = "SSH keys are not taken"
	case strings.HasPrefix(s, "age1pq1"):
		reason = excerpt(s) + " is cut off or mistyped"
	case plugin != nil:
		reason = fmt.Sprintf("%s belongs to the plugin %q, and plugins are never started", excerpt(s), plugin[1])
	case strings.HasPrefix(s, "age1"):
		reason = excerpt(s) + " is cut off or mistyped"
	default:
		reason = excerpt(s) + ` does not begin with "age1"`
	}
	return fmt.Errorf("%w: %s", ErrRecipient, reason)
}

// excerpt quotes the beginning of what somebody else chose.
func excerpt(s string) string {
	const shown = 24
	if len(s) <= shown {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:shown])
}

// String returns the text form.
func (r Recipient) String() string { return r.text }

// PostQuantum tells whether the recipient is hybrid: safe unless both X25519
// and ML-KEM-768 are broken.
func (r Recipient) PostQuantum() bool {
	_, hybrid := r.key.(*age.HybridRecipient)
	return hybrid
}

// digest is how the signed layer names a recipient.
func (r Recipient) digest() [sha256.Size]byte { return sha256.Sum256([]byte(r.text)) }

// distinct returns the recipients without repetitions, and checks that they go
// together.
func distinct(recipients []Recipient) ([]Recipient, error) {
	seen := make(map[string]bool, len(recipients))
	var unique []Recipient
	for _, r := range recipients {
		if r.PostQuantum() != recipients[0].PostQuantum() {
			return nil, ErrMixedRecipients
		}
		if !seen[r.text] {
			seen[r.text] = true
			unique = append(unique, r)
		}
	}
	if len(unique) == 0 || len(unique) > MaxRecipients {
		return nil, ErrRecipientCount
	}
	return unique, nil
}
