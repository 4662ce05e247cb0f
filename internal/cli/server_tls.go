package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"sealpost/internal/ops"
	"sealpost/relay"
)

// tlsFlags say where the server's certificate comes from.
type tlsFlags struct {
	TLSCert       string `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate in PEM, with its chain, instead of the server's own. It is read again when it changes."`
	TLSKey        string `name:"tls-key" type:"path" placeholder:"FILE" help:"Private key of --tls-cert, in PEM."`
	Domain        string `placeholder:"NAME" help:"Name by which clients know the server, instead of by its key. Without --tls-cert the certificate is had by ACME; the authority connects to port 443 of the name, and its terms are agreed to."`
	ACMEDirectory string `name:"acme-directory" default:"${acme_directory}" placeholder:"URL" help:"ACME authority (default: that of Let's Encrypt)."`
	ACMERoots     string `name:"acme-roots" type:"path" placeholder:"FILE" help:"Certificates in PEM that the authority's own is checked against (default: the system's)."`
}

// A certificateSource is what a server presents to its clients.
type certificateSource struct {
	pinned  tls.Certificate // whose key clients pin, if they do
	get     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	expires func() time.Time
	// keep has the certificate renewed until ctx ends, and returns what to call
	// then.
	keep func(ctx context.Context, listening net.Addr) (stop func(), err error)
}

// domainName is a DNS name as certificates have it (RFC 1123, section 2.1).
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func (f *tlsFlags) certificates(data string, log *slog.Logger) (*certificateSource, error) {
	f.Domain = strings.ToLower(strings.TrimSuffix(f.Domain, "."))
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return nil, &userError{status: exitUsage, code: "USAGE", err: errors.New("--tls-cert and --tls-key go together")}
	case f.Domain != "" && (net.ParseIP(f.Domain) != nil || !domainName.MatchString(f.Domain)):
		return nil, &userError{status: exitUsage, code: "USAGE", err: fmt.Errorf("--domain takes a name, and %q is none", f.Domain),
			hint: "a name is such as chat.example.org; with other letters than a to z it is written xn--..."}
	case (f.Domain == "" || f.TLSCert != "") && (f.ACMEDirectory != ops.LetsEncrypt || f.ACMERoots != ""):
		return nil, &userError{status: exitUsage, code: "USAGE", err: errors.New("--acme-directory and --acme-roots are for --domain without --tls-cert"),
			hint: "name the domain that the authority certifies, or leave them out"}
	case f.TLSCert != "":
		return f.fromFiles(log)
	case f.Domain != "":
		return f.fromACME(data, log)
	}
	own, err := relay.LoadOrCreateCertificate(data)
	if errors.Is(err, relay.ErrCertificate) {
		return nil, &userError{status: exitFailure, code: "CERTIFICATE", err: err,
			hint: "take " + relay.CertificateFile + " from a backup: clients pin its key, and refuse a server with another"}
	}
	if err != nil {
		return nil, explainData(data, err)
	}
	return &certificateSource{pinned: own, expires: func() time.Time { return own.Leaf.NotAfter }, keep: keepNothing}, nil
}

func keepNothing(context.Context, net.Addr) (func(), error) { return func() {}, nil }

func (f *tlsFlags) fromFiles(log *slog.Logger) (*certificateSource, error) {
	files, err := ops.LoadCertificateFiles(f.TLSCert, f.TLSKey, f.Domain)
	if err != nil {
		explained := &userError{status: exitFailure, code: "CERTIFICATE", err: fmt.Errorf("reading the certificate %s: %w", f.TLSCert, err)}
		switch {
		case errors.Is(err, ops.ErrNeedsDomain):
			explained.hint = "clients check such a certificate by its name: say it with --domain"
		case errors.Is(err, ops.ErrSelfSigned):
			explained.hint = "leave out --domain: clients pin the key of a self-signed certificate"
		case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
			explained.hint = "--tls-cert and --tls-key name files that the server may read"
		default:
			explained.hint = "--tls-cert takes the certificate and its chain in PEM, --tls-key its key, for the name of --domain"
		}
		return nil, explained
	}
	return &certificateSource{
		pinned: files.Current(), get: files.GetCertificate, expires: files.Expires,
		keep: func(ctx context.Context, _ net.Addr) (func(), error) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				files.Watch(ctx, log)
			}()
			return func() { <-done }, nil
		},
	}, nil
}

func (f *tlsFlags) fromACME(data string, log *slog.Logger) (*certificateSource, error) {
	if directory, err := url.Parse(f.ACMEDirectory); err != nil || directory.Scheme != "https" || directory.Host == "" {
		return nil, &userError{status: exitUsage, code: "USAGE", err: fmt.Errorf("--acme-directory takes a URL, and %q is none", f.ACMEDirectory),
			hint: "the authority says which, such as " + ops.LetsEncrypt}
	}
	acme, err := ops.NewACME(ops.ACMEConfig{
		Domain: f.Domain, Directory: f.ACMEDirectory, Roots: f.ACMERoots, Dir: data, Log: log,
	})
	if err != nil {
		return nil, &userError{status: exitFailure, code: "ACME", err: fmt.Errorf("preparing for the ACME authority: %w", err),
			hint: "--acme-roots names a file with certificates in PEM that the server may read"}
	}
	return &certificateSource{
		get: acme.GetCertificate, expires: acme.Expires,
		keep: func(ctx context.Context, listening net.Addr) (func(), error) {
			return acme.Close, acme.Obtain(ctx, listening)
		},
	}, nil
}
