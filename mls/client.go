package mls

import (
	"errors"
	"io"
	"time"
)

const (
	// DefaultLifetime is how long a key package may be used if nothing else is asked
	// for (RFC 9420, Section 7.2).
	DefaultLifetime = 90 * 24 * time.Hour

	// DefaultMaxLifetime is the longest lifetime that is accepted in a key package
	// of others if nothing else is set (RFC 9420, Section 7.2).
	DefaultMaxLifetime = 100 * 24 * time.Hour
)

// Config holds what a [Client] may be told beyond its AuthenticationService. The
// zero value is right for most.
type Config struct {
	// Time is the clock that lifetimes are compared with; time.Now if nil.
	Time func() time.Time

	// Rand is where keys, secrets and nonces come from; crypto/rand if nil. It is
	// meant for tests. The encapsulations of HPKE and ECDSA's nonces always come
	// from Go's own source, since crypto/hpke and crypto/ecdsa take no other; a
	// test that needs them fixed, too, calls cryptotest.SetGlobalRandom.
	Rand io.Reader

	// MaxLifetime is the longest lifetime accepted in a key package;
	// [DefaultMaxLifetime] if zero, without a bound if negative.
	MaxLifetime time.Duration

	// PSKs looks up pre-shared keys; nil if the application has none.
	PSKs PSKStore

	// PublicHandshakes sends proposals and commits as PublicMessage, which a
	// delivery service can read, instead of as PrivateMessage.
	PublicHandshakes bool

	// Padding returns the number of zero bytes that are added to a plaintext of n
	// bytes before it is encrypted; [DefaultPadding] if nil.
	Padding func(n int) int

	// CipherSuites are the suites that leaf nodes list as supported, apart from
	// the suite they are for; all of [CipherSuites] if nil.
	CipherSuites []CipherSuite
}

// DefaultPadding rounds plaintexts up to a multiple of 32 bytes below 256 bytes, and
// to one of an eighth of their size rounded down to a power of two above, so that a
// size tells little and costs at most an eighth (RFC 9420, Section 15.1).
func DefaultPadding(n int) int {
	step := 32
	for step*16 <= n {
		step *= 2
	}
	return (step - n%step) % step
}

// A Client is one participant in the protocol, possibly a member of many groups
// (RFC 9420, Section 2). It can be used from several goroutines.
type Client struct {
	auth   AuthenticationService
	config Config
}

// NewClient returns a client that believes the credentials that auth accepts (RFC
// 9420, Section 2).
func NewClient(auth AuthenticationService, config Config) (*Client, error) {
	if auth == nil {
		return nil, errors.New("mls: a client needs an AuthenticationService")
	}
	if config.MaxLifetime == 0 {
		config.MaxLifetime = DefaultMaxLifetime
	}
	if config.Padding == nil {
		config.Padding = DefaultPadding
	}
	if config.CipherSuites == nil {
		config.CipherSuites = CipherSuites()
	}
	return &Client{auth: auth, config: config}, nil
}

func (c *Client) now() time.Time {
	if c.config.Time == nil {
		return time.Now()
	}
	return c.config.Time()
}

// otherSuites lists the supported suites but for s.
func (c *Client) otherSuites(s *suite) []CipherSuite {
	var ids []CipherSuite
	for _, id := range c.config.CipherSuites {
		if id != s.id {
			ids = append(ids, id)
		}
	}
	return ids
}
