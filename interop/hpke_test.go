package interop

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"testing"
)

// hpkeSuites are the HPKE primitives of the cipher suites that both sides have: those of
// RFC 9420 section 17.1, and TBD1 to TBD8 of draft-ietf-mls-pq-ciphersuites-06 at
// private-use code points.
var hpkeSuites = []struct {
	suite int
	kemID uint16
	kem   hpke.KEM
	kdf   hpke.KDF
	aead  hpke.AEAD
}{
	{1, 0x0020, hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES128GCM()},
	{2, 0x0010, hpke.DHKEM(ecdh.P256()), hpke.HKDFSHA256(), hpke.AES128GCM()},
	{3, 0x0020, hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()},
	{5, 0x0012, hpke.DHKEM(ecdh.P521()), hpke.HKDFSHA512(), hpke.AES256GCM()},
	{7, 0x0011, hpke.DHKEM(ecdh.P384()), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF001, 0x647a, hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES128GCM()},
	{0xF002, 0x647a, hpke.MLKEM768X25519(), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF003, 0x0050, hpke.MLKEM768P256(), hpke.HKDFSHA256(), hpke.AES128GCM()},
	{0xF004, 0x0050, hpke.MLKEM768P256(), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF005, 0x0051, hpke.MLKEM1024P384(), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF006, 0x0041, hpke.MLKEM768(), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF007, 0x0041, hpke.MLKEM768(), hpke.HKDFSHA384(), hpke.AES256GCM()},
	{0xF008, 0x0042, hpke.MLKEM1024(), hpke.HKDFSHA384(), hpke.AES256GCM()},
}

// TestHPKE compares the primitives below MLS, so that a disagreement there is not
// searched for in a ratchet tree: the same key pair from the same secret, and each side
// opens what the other sealed.
func TestHPKE(t *testing.T) {
	p := startPeer(t)
	for _, s := range hpkeSuites {
		t.Run(fmt.Sprintf("suite %#04x KEM %#04x", s.suite, s.kemID), func(t *testing.T) {
			if got := s.kem.ID(); got != s.kemID {
				t.Fatalf("KEM id %#04x, want %#04x", got, s.kemID)
			}
			ikm := make([]byte, 48)
			rand.Read(ikm)
			ours, err := s.kem.DeriveKeyPair(ikm)
			if err != nil {
				t.Fatal(err)
			}
			var theirs struct{ PublicKey, PrivateKey []byte }
			if err := p.call("deriveKeyPair", args{"suite": s.suite, "ikm": ikm}, &theirs); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(theirs.PublicKey, ours.PublicKey().Bytes()) {
				t.Fatal("DeriveKeyPair gives different public keys")
			}

			info, data := []byte("info"), []byte("a path secret, as it were")
			var sealed struct{ Enc, CT []byte }
			if err := p.call("seal", args{"suite": s.suite, "publicKey": theirs.PublicKey, "info": info, "data": data}, &sealed); err != nil {
				t.Fatal(err)
			}
			opened, err := hpke.Open(ours, s.kdf, s.aead, info, append(sealed.Enc, sealed.CT...))
			if err != nil || !bytes.Equal(opened, data) {
				t.Fatalf("opening the peer's message: %q, %v", opened, err)
			}

			enc, sender, err := hpke.NewSender(ours.PublicKey(), s.kdf, s.aead, info)
			if err != nil {
				t.Fatal(err)
			}
			ct, err := sender.Seal(nil, data)
			if err != nil {
				t.Fatal(err)
			}
			var theirOpened struct{ Data []byte }
			if err := p.call("open", args{"suite": s.suite, "privateKey": theirs.PrivateKey, "info": info, "enc": enc, "ct": ct}, &theirOpened); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(theirOpened.Data, data) {
				t.Fatalf("the peer opened %q, want %q", theirOpened.Data, data)
			}
		})
	}
}
