package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Errors of LoadCertificateFiles, for a person to read.
var (
	// ErrNeedsDomain: an authority issued the certificate, and clients check such
	// by name.
	ErrNeedsDomain = errors.New("an authority issued the certificate, but no domain is set")
	// ErrSelfSigned: nobody vouches for the certificate, so it proves no domain.
	ErrSelfSigned = errors.New("the certificate is self-signed, and cannot prove a domain")
)

// fileInterval is how often the files are looked at.
const fileInterval = time.Second

// CertificateFiles are a certificate and its key in two PEM files that somebody
// else renews.
type CertificateFiles struct {
	certificate, key, domain string

	current atomic.Pointer[tls.Certificate]
	seen    [2]fileVersion // belongs to Watch
}

// fileVersion changes when a file does.
type fileVersion struct {
	modified time.Time
	size     int64
}

// LoadCertificateFiles reads the files. A certificate that an authority issued
// must be for domain; a self-signed one must come without a domain, and its key
// stays the same, since clients pin it. The error may be ErrNeedsDomain,
// ErrSelfSigned, or one of package fs or crypto/x509.
func LoadCertificateFiles(certificate, key, domain string) (*CertificateFiles, error) {
	f := &CertificateFiles{certificate: certificate, key: key, domain: domain}
	f.seen = f.versions() // before the reading, so that no change is missed
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *CertificateFiles) load() error {
	loaded, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return err
	}
	if err := f.check(loaded.Leaf); err != nil {
		return err
	}
	f.current.Store(&loaded)
	return nil
}

func (f *CertificateFiles) check(leaf *x509.Certificate) error {
	selfSigned := bytes.Equal(leaf.RawIssuer, leaf.RawSubject)
	switch {
	case f.domain == "" && !selfSigned:
		return ErrNeedsDomain
	case f.domain != "" && selfSigned:
		return ErrSelfSigned
	case f.domain != "":
		return leaf.VerifyHostname(f.domain)
	}
	if before := f.current.Load(); before != nil && !bytes.Equal(before.Leaf.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
		return errors.New("its key is another than before, and clients pin it; a restart takes it, and every client will refuse it")
	}
	return nil
}

// Current returns the certificate in use.
func (f *CertificateFiles) Current() tls.Certificate { return *f.current.Load() }

// GetCertificate is for tls.Config.
func (f *CertificateFiles) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// Expires returns when the certificate in use does.
func (f *CertificateFiles) Expires() time.Time { return f.current.Load().Leaf.NotAfter }

// Watch takes a new certificate soon after the files change, until ctx ends. One
// that cannot be used, as while only one of the files is new, is logged, and the
// one in use stays.
func (f *CertificateFiles) Watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(fileInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		versions := f.versions()
		if versions == f.seen {
			continue
		}
		f.seen = versions
		if err := f.load(); err != nil {
			log.Error("the new certificate is not used", "error", err)
		} else {
			log.Info("certificate renewed", "expires", f.Expires())
		}
	}
}

func (f *CertificateFiles) versions() (v [2]fileVersion) {
	for i, path := range []string{f.certificate, f.key} {
		if info, err := os.Stat(path); err == nil {
			v[i] = fileVersion{info.ModTime(), info.Size()}
		}
	}
	return v
}
