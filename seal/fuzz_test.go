package seal

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzParseRecipient(f *testing.F) {
	f.Add(newIdentity(f).Recipient().String())
	f.Add(newX25519Identity(f).Recipient().String())
	f.Add("age1yubikey1qqqq")
	f.Add("AGE-SECRET-KEY-1")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRecipient(s)
		if err != nil {
			if !errors.Is(err, ErrRecipient) {
				t.Fatal(err)
			}
			return
		}
		if r.String() != s {
			t.Fatalf("%q reads as %q", s, r)
		}
		if _, err := NewWriter(io.Discard, []Recipient{r}, Options{}); err != nil {
			t.Fatalf("%q is no usable recipient: %v", s, err)
		}
	})
}

func FuzzReadIdentities(f *testing.F) {
	f.Add([]byte("# c\n" + newIdentity(f).Secret() + "\n"))
	f.Add([]byte(newX25519Identity(f).Secret()))
	f.Add([]byte(intro + "-> scrypt AAAAAAAAAAAAAAAAAAAAAA 30\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		identities, err := ReadIdentities(bytes.NewReader(file), noPassphrase)
		if (err == nil) != (len(identities) > 0) {
			t.Fatal(len(identities), err)
		}
	})
}

func FuzzSignedHeader(f *testing.F) {
	to := newIdentity(f)
	header := newSignedHeader(newTestSigner("carol").certificate, []Recipient{to.Recipient(), newIdentity(f).Recipient()})
	f.Add(header.marshal())
	f.Add([]byte(signedMagic + "\x01\xff\xff"))
	f.Add([]byte(signedMagic + "\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := readSignedHeader(bytes.NewReader(b))
		if err != nil {
			if !isRefusal(err) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasPrefix(b, h.marshal()) {
			t.Fatal("the header has two encodings")
		}
	})
}

// FuzzVerifyReader looks for any input other than what was signed that reads as
// if it were signed.
func FuzzVerifyReader(f *testing.F) {
	to := newX25519Identity(f)
	plaintext := []byte("pay 100 to Bob")
	layer := signedLayer(f, plaintext, newTestSigner("carol"), to)
	f.Add(layer)
	f.Add(layer[:len(layer)-1])
	f.Add(append(layer, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewVerifyReader(bytes.NewReader(b), to.Recipient())
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil && !bytes.Equal(b, layer) {
			// A stranger's own valid signature would be no forgery, but the fuzzer
			// has no private key.
			t.Fatal("a forged layer verifies")
		}
		if err != nil && !isRefusal(err) {
			t.Fatal(err)
		}
	})
}

// FuzzReader feeds the whole way of a file, the armor included.
func FuzzReader(f *testing.F) {
	i := newX25519Identity(f)
	f.Add(encrypt(f, []byte("hello"), Options{}, i))
	f.Add(encrypt(f, []byte("hello"), Options{Armor: true, Signer: newTestSigner("carol")}, i))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file), []Identity{i})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil && !isRefusal(err) && !errors.Is(err, ErrPassphraseFile) {
			t.Fatal(err)
		}
	})
}
