package mls

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"
)

// newCertificate returns a self-signed certificate of a key.
func newCertificate(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	return must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
}

// TestCertificates has members with X.509 credentials, and refuses those whose
// certificate is of another key than their signature key (RFC 9420, Section 5.3).
func TestCertificates(t *testing.T) {
	for _, cs := range []CipherSuite{classic, MLS_128_DHKEMP256_AES128GCM_SHA256_P256} {
		holder := func(name string, chain ...[]byte) *person {
			p := newPerson(t, name, cs, Config{})
			p.id.Credential = Credential{CredentialType: CredentialTypeX509, Certificates: chain}
			return p
		}
		alice, bob := holder("alice"), holder("bob")
		for _, p := range []*person{alice, bob} {
			root := newCertificate(t, otherSigner(t, cs))
			p.id.Credential.Certificates = [][]byte{newCertificate(t, p.id.Signer), root}
		}
		alice.create(GroupOptions{})
		r := &room{t: t, members: []*person{alice}}
		r.commit(alice, CommitOptions{Proposals: []Proposal{&Add{bob.keyPackage()}}}, bob)
		r.say(bob, "certified")

		own := alice.id.Credential.Certificates[0]
		for name, chain := range map[string][][]byte{
			"none":           nil,
			"of another key": {newCertificate(t, otherSigner(t, cs))},
			"second":         {bob.id.Credential.Certificates[0], own},
			"empty":          {{}},
			"cut short":      {own[:len(own)/2]},
			"left over":      {append(slices.Clone(own), 0)},
			"no certificate": {[]byte("\x30\x03\x02\x01\x01")},
		} {
			t.Run(cs.String()+"/"+name, func(t *testing.T) {
				p := holder("carol", chain...)
				p.id.Signer = alice.id.Signer
				_, err := p.client.NewKeyPackage(cs, p.id, KeyPackageOptions{})
				checkRefusal(t, err, brokenRule{"5.3", "X.509"})
			})
		}
	}
}

// FuzzCertificate finds the key of what may be a certificate where crypto/x509 does.
func FuzzCertificate(f *testing.F) {
	f.Add(newCertificate(f, otherSigner(f, classic)))
	f.Add(newCertificate(f, otherSigner(f, MLS_128_DHKEMP256_AES128GCM_SHA256_P256)))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			_ = certificateKey(der)
			return
		}
		for _, s := range []*suite{must(classic.suite()), must(MLS_128_DHKEMP256_AES128GCM_SHA256_P256.suite())} {
			if key, err := s.scheme.encode(c.PublicKey); err == nil && !bytes.Equal(certificateKey(der), key) {
				t.Errorf("key is %x, want %x", certificateKey(der), key)
			}
		}
	})
}
