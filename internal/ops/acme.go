package ops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// LetsEncrypt is the directory of the authority that is asked by default.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// ACMEConfig says for what, and from whom, a certificate is to be had.
type ACMEConfig struct {
	Domain    string
	Directory string // URL of the authority (RFC 8555, section 7.1.1)
	// Roots is a PEM file with what the authority's own TLS certificate is checked
	// against; "" means what the system trusts.
	Roots string
	Dir   string // where certificates and account are kept
	Log   *slog.Logger
}

// ACME is a certificate that an authority issues and that is renewed in good
// time. The authority convinces itself by the TLS-ALPN challenge (RFC 8737) at
// port 443 of the domain.
type ACME struct {
	domain string
	config *certmagic.Config
	cache  *certmagic.Cache
	issuer certmagic.ACMEIssuer
}

// NewACME asks nobody before Obtain. It ends with Close.
func NewACME(c ACMEConfig) (*ACME, error) {
	a := &ACME{domain: c.Domain, issuer: certmagic.ACMEIssuer{
		CA: c.Directory, Agreed: true, DisableHTTPChallenge: true, Logger: zap.NewNop(),
	}}
	if c.Roots != "" {
		text, err := os.ReadFile(c.Roots)
		if err != nil {
			return nil, err
		}
		a.issuer.TrustedRoots = x509.NewCertPool()
		if !a.issuer.TrustedRoots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("no certificate in %s", c.Roots)
		}
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		Logger:           zap.NewNop(),
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(c.Dir, "acme")},
		Logger:  zap.NewNop(), // it would name who connects; what matters comes as an event
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				c.Log.Info("certificate obtained", "domain", c.Domain, "renewal", data["renewal"])
			case "cert_failed":
				c.Log.Error("no certificate was obtained; it is tried again", "domain", c.Domain, "error", data["error"])
			}
			return nil
		},
	})
	return a, nil
}

// Obtain takes the certificate from disk or asks the authority for it, now and
// whenever it is due, until ctx ends. It does not wait. The relay must serve
// listening with GetCertificate by then, and answers the challenges.
func (a *ACME) Obtain(ctx context.Context, listening net.Addr) error {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return err
	}
	if a.issuer.AltTLSALPNPort, err = strconv.Atoi(port); err != nil {
		return err
	}
	a.issuer.ListenHost = host
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, a.issuer)}
	return a.config.ManageAsync(ctx, []string{a.domain})
}

// GetCertificate is for tls.Config.
func (a *ACME) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.config.GetCertificate(hello)
}

// Expires returns when the certificate does; zero means that there is none yet.
func (a *ACME) Expires() (expires time.Time) {
	for _, c := range a.cache.AllMatchingCertificates(a.domain) {
		if c.Leaf != nil && c.Leaf.NotAfter.After(expires) {
			expires = c.Leaf.NotAfter
		}
	}
	return expires
}

// Close ends the renewing. Obtain's ctx must have ended.
func (a *ACME) Close() { a.cache.Stop() }
