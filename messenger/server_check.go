package messenger

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"sealpost/identity"
)

// A serverCheck decides whether a TLS connection leads to the right server.
type serverCheck func(tls.ConnectionState) error

// checkServer returns the check for a server that is known by id: by its domain
// name where id is that of the address, otherwise by its pinned key.
func checkServer(address string, id identity.ServerID) serverCheck {
	if host := hostOf(address); id == identity.ServerIDOfDomain(host) {
		return func(state tls.ConnectionState) error { return checkDomain(address, host, state) }
	}
	return func(state tls.ConnectionState) error {
		offered := identity.ServerIDOf(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if subtle.ConstantTimeCompare(offered[:], id[:]) == 1 {
			return nil
		}
		return &ServerChangedError{Address: address, Pinned: id, Offered: offered}
	}
}

// checkDomain checks a certificate against the certificate authorities of this
// computer, for a name and for now.
func checkDomain(address, host string, state tls.ConnectionState) error {
	options := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &CertificateError{Address: address, Err: err}
	}
	return nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// tlsConfig has check decide about the server.
//
// InsecureSkipVerify switches off the check that crypto/tls makes by itself: no
// authority vouches for a relay's own certificate, and none is trusted to. What
// takes its place sees every handshake, resumed ones too, and TLS 1.3 has the
// server prove that it holds the key of the certificate.
func tlsConfig(check serverCheck) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // check does it, see above
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("the server shows no certificate")
			}
			return check(state)
		},
	}
}

// A ServerProof is what a server proved to be.
type ServerProof struct {
	// ID is what requests to the server are bound to, see [NewProfile].
	ID identity.ServerID
	// Domain is the server's name, for which it has a valid certificate. It is ""
	// where the server has a certificate of its own making: then ID is the
	// fingerprint of its key, for a person to compare.
	Domain string
}

// IdentifyServer makes one TLS handshake with the server at host:port and
// returns what it proved to be. A nil dial means TCP. The error wraps
// [ErrServerUnavailable] or is a [*CertificateError].
func IdentifyServer(ctx context.Context, dial DialFunc, address string) (ServerProof, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := dialOrTCP(dial)(ctx, address)
	if err != nil {
		return ServerProof{}, unreached(ctx, address, err)
	}
	host := hostOf(address)
	var proof ServerProof
	config := tlsConfig(func(state tls.ConnectionState) error {
		leaf := state.PeerCertificates[0]
		if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
			proof = ServerProof{ID: identity.ServerIDOf(leaf.RawSubjectPublicKeyInfo)}
			return nil
		}
		// Whoever has a certificate of an authority must show one that is valid: to
		// look at its key instead would help only somebody in between.
		proof = ServerProof{ID: identity.ServerIDOfDomain(host), Domain: host}
		return checkDomain(address, host, state)
	})
	config.NextProtos, config.ServerName = []string{"h2"}, host
	conn := tls.Client(raw, config)
	defer conn.Close() //nolint:errcheck // nothing was sent over it
	err = conn.HandshakeContext(ctx)
	if refused, ok := errors.AsType[*CertificateError](err); ok {
		return ServerProof{}, refused
	}
	if err != nil {
		return ServerProof{}, unreached(ctx, address, err)
	}
	return proof, nil
}

// unreached says why a server cannot be reached, without the names of the calls that
// found it out.
func unreached(ctx context.Context, address string, err error) error {
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return cause // which what follows hides
	}
	if unknown, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New(unknown.Err)
	} else if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		err = errors.New("what answers there does not speak TLS")
	}
	return fmt.Errorf("%w at %s: %w", ErrServerUnavailable, address, err)
}
