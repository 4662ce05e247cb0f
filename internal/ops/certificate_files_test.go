package ops

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A pair is a certificate file and a key file.
type pair struct {
	t                testing.TB
	certificate, key string
	authority        *x509.Certificate
	authorityKey     *ecdsa.PrivateKey
}

func newPair(t testing.TB) *pair {
	dir := t.TempDir()
	p := &pair{t: t, certificate: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), authorityKey: newKey(t)}
	p.authority = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}}
	return p
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write replaces the certificate by one that the authority issues, or by one that
// its key signs itself.
func (p *pair) write(key *ecdsa.PrivateKey, selfSigned bool, expires time.Time) {
	p.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "relay"}, DNSNames: []string{"chat.example.org"}, NotAfter: expires,
	}
	issuer, issuerKey := p.authority, p.authorityKey
	if selfSigned {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.writeFile(p.certificate, "CERTIFICATE", der)
	p.writeFile(p.key, "PRIVATE KEY", private)
}

func (p *pair) writeFile(path, kind string, content []byte) {
	p.t.Helper()
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

var (
	soon  = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	later = time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)
)

func TestCertificateFilesAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		selfSigned bool
		domain     string
		want       error
	}{
		"issued":                {false, "chat.example.org", nil},
		"self-signed":           {true, "", nil},
		"issued, no domain":     {false, "", ErrNeedsDomain},
		"self-signed, a domain": {true, "chat.example.org", ErrSelfSigned},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.write(newKey(t), test.selfSigned, soon)
			if _, err := LoadCertificateFiles(p.certificate, p.key, test.domain); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	p := newPair(t)
	p.write(newKey(t), false, soon)
	if _, err := LoadCertificateFiles(p.certificate, p.key, "other.example.org"); err == nil {
		t.Error("a certificate for another name was taken")
	}
}

// watched runs Watch on files while change changes them, and returns the log.
func watched(t *testing.T, p *pair, domain string, change func(f *CertificateFiles, pass func())) string {
	t.Helper()
	var logged bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		f, err := LoadCertificateFiles(p.certificate, p.key, domain)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Watch(ctx, slog.New(slog.NewTextHandler(&logged, nil)))
		}()
		change(f, func() {
			time.Sleep(2 * fileInterval) // on the clock of synctest
			synctest.Wait()
		})
		cancel()
		<-done
	})
	return logged.String()
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	p := newPair(t)
	p.write(newKey(t), false, soon)
	log := watched(t, p, "chat.example.org", func(f *CertificateFiles, pass func()) {
		p.write(newKey(t), false, later)
		pass()
		if got, err := f.GetCertificate(nil); err != nil || !got.Leaf.NotAfter.Equal(later) || !f.Expires().Equal(later) {
			t.Errorf("the certificate expires %v, %v", f.Expires(), err)
		}
	})
	if strings.Count(log, "certificate renewed") != 1 {
		t.Errorf("the log says %s", log)
	}
}

func TestCertificateFilesKeepWhatWorks(t *testing.T) {
	p := newPair(t)
	key := newKey(t)
	p.write(key, true, soon)
	log := watched(t, p, "", func(f *CertificateFiles, pass func()) {
		for _, spoil := range []func(){
			func() { p.writeFile(p.certificate, "CERTIFICATE", []byte("half of it")) },
			func() { os.Remove(p.certificate) },
			func() { p.write(newKey(t), true, later) }, // clients pin the other
		} {
			spoil()
			pass()
			if !f.Expires().Equal(soon) {
				t.Error("a bad certificate was taken")
			}
		}
		p.write(key, true, later)
		pass()
		if !f.Expires().Equal(later) {
			t.Error("the good certificate was not taken")
		}
	})
	if strings.Count(log, "is not used") != 3 || strings.Count(log, "certificate renewed") != 1 {
		t.Errorf("the log says %s", log)
	}
}
