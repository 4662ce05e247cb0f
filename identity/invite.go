package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// InviteCodeSize is the size of an invite code in bytes.
const InviteCodeSize = 20

const (
	invitePrefix    = "invite:"
	inviteIDLen     = 4 // characters
	inviteGroupLen  = 4
	inviteHashLabel = "Sealpost invite code, version 1\x00"
)

// ErrInviteCode reports a text that is no invite code. It does not repeat it.
var ErrInviteCode = errors.New(`an invite code is "invite:" and eight groups of four letters and digits`)

// inviteEncoding leaves out i, l, o and u, which are misread (Crockford).
var inviteEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// An InviteCode lets somebody register at a server: 20 random bytes. Its text form
// is "invite:" and eight groups of four characters with dashes between them; the
// first group names the invitation and is no secret, the rest is. Formatting
// shows the first group alone; see [InviteCode.Reveal].
type InviteCode [InviteCodeSize]byte

// NewInviteCode makes a code.
func NewInviteCode() InviteCode {
	var c InviteCode
	rand.Read(c[:]) // never fails (crypto/rand)
	return c
}

// ParseInviteCode reads the text form as a person may have typed it: case and
// dashes do not matter, and i, l and o stand for the digits that they look like.
// The error is [ErrInviteCode].
func ParseInviteCode(s string) (InviteCode, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), invitePrefix)
	digits = strings.NewReplacer("-", "", "i", "1", "l", "1", "o", "0").Replace(digits)
	b, err := inviteEncoding.DecodeString(digits)
	if !ok || err != nil || inviteEncoding.EncodeToString(b) != digits { // decoding skips line ends
		return InviteCode{}, ErrInviteCode
	}
	return InviteCodeFromBytes(b)
}

// InviteCodeFromBytes reads a code of exactly 20 bytes.
func InviteCodeFromBytes(b []byte) (InviteCode, error) {
	if len(b) != InviteCodeSize {
		return InviteCode{}, ErrInviteCode
	}
	return InviteCode(b), nil
}

// Reveal returns the text form.
func (c InviteCode) Reveal() string {
	digits := inviteEncoding.EncodeToString(c[:])
	groups := make([]string, 0, len(digits)/inviteGroupLen)
	for ; len(digits) > 0; digits = digits[inviteGroupLen:] {
		groups = append(groups, digits[:inviteGroupLen])
	}
	return invitePrefix + strings.Join(groups, "-")
}

// ID returns the first group, by which the operator of a server names the
// invitation.
func (c InviteCode) ID() string { return inviteEncoding.EncodeToString(c[:])[:inviteIDLen] }

// Hash returns what a server keeps instead of the code. 140 unknown bits need no
// slow hash.
func (c InviteCode) Hash() [sha256.Size]byte {
	return sha256.Sum256(append([]byte(inviteHashLabel), c[:]...))
}

// String returns the first group alone.
func (c InviteCode) String() string { return invitePrefix + c.ID() + "-..." }

// Format prints the same for every verb.
func (c InviteCode) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue logs the same.
func (c InviteCode) LogValue() slog.Value { return slog.StringValue(c.String()) }
