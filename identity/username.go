package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Username is the name of an account on its server, in canonical (lower-case)
// form: 2 to 32 characters of [a-z0-9._-], the first a letter or a digit.
type Username string

// MaxUsernameLen is the length of the longest username, in bytes.
const MaxUsernameLen = 32

var usernamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,31}$`)

// ErrUsername reports a malformed username.
var ErrUsername = errors.New("a name has 2 to 32 characters: a-z, 0-9, dot, dash and underscore, and starts with a letter or a digit")

// ErrForeignServer reports an address on another server, which is reserved for
// a later version.
var ErrForeignServer = errors.New("writing to users of other servers is not possible yet")

// ParseUsername folds s to lower case and checks it. The error wraps
// [ErrUsername] and does not repeat s, which may hold control characters.
func ParseUsername(s string) (Username, error) {
	folded := strings.Map(lowerASCII, s)
	if !usernamePattern.MatchString(folded) {
		return "", ErrUsername
	}
	return Username(folded), nil
}

// ParseAddress reads what a person types to name somebody: "bob" or "@bob". An
// address with a server ("bob@chat.example.org") is well-formed but gives
// [ErrForeignServer].
func ParseAddress(s string) (Username, error) {
	name, server, foreign := strings.Cut(strings.TrimPrefix(s, "@"), "@")
	username, err := ParseUsername(name)
	if err != nil {
		return "", err
	}
	if foreign {
		if server == "" {
			return "", fmt.Errorf("the server after @ is missing: %w", ErrUsername)
		}
		return "", ErrForeignServer
	}
	return username, nil
}

// lowerASCII leaves other letters alone: some of them, like the Kelvin sign,
// have an ASCII letter as their lower case.
func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
