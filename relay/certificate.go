package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CertificateFile holds the relay's certificate and its private key, in PEM.
const CertificateFile = "tls.pem"

// ErrCertificate reports a certificate file that is damaged.
var ErrCertificate = errors.New("no certificate with its private key in it")

// Clients pin the key and look at nothing else in the certificate, so it is made
// once for as long as a certificate can say.
var certificateEnd = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// LoadOrCreateCertificate returns the certificate kept in a directory. The first
// time it makes the directory and a self-signed certificate with a new ECDSA
// P-256 key, in a file that only its owner can read. Leaf is set. The error wraps
// ErrCertificate or one of package fs.
func LoadOrCreateCertificate(dir string) (tls.Certificate, error) {
	path := filepath.Join(dir, CertificateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = createCertificate(); err != nil {
			return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
		}
		err = keep(path, text)
	}
	if err == nil {
		err = makePrivate(path)
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keeping the certificate: %w", err)
	}
	certificate, err := tls.X509KeyPair(text, text)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading %s: %w: %w", path, ErrCertificate, err)
	}
	return certificate, nil
}

// makePrivate takes the key from others who may read it, as after a copy by hand.
func makePrivate(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(path, 0o600)
	}
	return err
}

func createCertificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "sealpost"},
		DNSNames:     []string{"sealpost"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     certificateEnd,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := pem.Encode(&text, block); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// keep writes a file that is there whole or not at all, even after a power cut:
// with half a key the relay would have to take a new one, and every client would
// refuse it.
func keep(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, CertificateFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there after the rename
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
