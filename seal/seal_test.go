package seal

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"
	"pgregory.net/rapid"

	"sealpost/identity"
)

// testSigner is a device that signs files.
type testSigner struct {
	certificate identity.Certificate
	key         identity.DevicePrivateKey
}

func newTestSigner(name identity.Username) testSigner {
	account, device := identity.GenerateAccountKey(), identity.GenerateDeviceKey()
	issued := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	return testSigner{
		identity.IssueCertificate(account, name, device.Public(), identity.NewDeviceID(), issued),
		device,
	}
}

func (s testSigner) Certificate() identity.Certificate { return s.certificate }
func (s testSigner) Sign(message []byte) []byte {
	return s.key.Sign(identity.ContextFile, message)
}
func (s testSigner) account() identity.AccountKey { return s.certificate.AccountKey }

func newIdentity(t testing.TB) Identity {
	t.Helper()
	i, err := GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newX25519Identity(t testing.TB) Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	i, err := ParseIdentity(key.String())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func encrypt(t testing.TB, plaintext []byte, options Options, to ...Identity) []byte {
	t.Helper()
	var recipients []Recipient
	for _, i := range to {
		recipients = append(recipients, i.Recipient())
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, recipients, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plaintext); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func decrypt(file []byte, i ...Identity) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(file), i)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// sizes stand around the borders of age's chunks and of signed chunks.
var sizes = []int{0, 1, 20, 21, 22, 64<<10 - 1, 64 << 10, 64<<10 + 1,
	signedChunkSize - 1, signedChunkSize, signedChunkSize + 1, 2 * signedChunkSize, 700_000}

func TestRoundTrip(t *testing.T) {
	alice, bob := newIdentity(t), newX25519Identity(t)
	signer := newTestSigner("carol")
	for _, to := range []Identity{alice, bob} {
		for _, options := range []Options{{}, {Armor: true}, {Signer: signer}, {Armor: true, Signer: signer}} {
			for _, size := range sizes {
				plaintext := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
				got, err := decrypt(encrypt(t, plaintext, options, to), bob, alice)
				if err != nil {
					t.Fatalf("%d bytes, armor %v, signed %v: %v", size, options.Armor, options.Signer != nil, err)
				}
				if !bytes.Equal(got, plaintext) {
					t.Fatalf("%d bytes, armor %v, signed %v: not the plaintext", size, options.Armor, options.Signer != nil)
				}
			}
		}
	}
}

func TestRoundTripInPieces(t *testing.T) {
	alice, signer := newIdentity(t), newTestSigner("carol")
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.IntRange(0, 200_000), 0, 6).Draw(t, "pieces")
		options := Options{Armor: rapid.Bool().Draw(t, "armor")}
		if rapid.Bool().Draw(t, "signed") {
			options.Signer = signer
		}
		var file, plaintext bytes.Buffer
		w, err := NewWriter(&file, []Recipient{alice.Recipient()}, options)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range pieces {
			piece := bytes.Repeat([]byte{byte(i)}, n)
			plaintext.Write(piece)
			if n, err := w.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(iotest.HalfReader(&file), []Identity{alice})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plaintext.Bytes()) {
			t.Fatalf("%d bytes of %d: %v", len(got), plaintext.Len(), err)
		}
	})
}

func TestSigner(t *testing.T) {
	alice, carol, dave := newIdentity(t), newTestSigner("carol"), newTestSigner("dave")
	signed := encrypt(t, []byte("hello"), Options{Signer: carol}, alice)
	unsigned := encrypt(t, []byte("hello"), Options{}, alice)
	tests := []struct {
		name string
		file []byte
		from identity.AccountKey
		want error
	}{
		{"by Carol", signed, carol.account(), nil},
		{"by Carol, from Dave demanded", signed, dave.account(), ErrWrongSigner},
		{"unsigned", unsigned, carol.account(), ErrNotSigned},
	}
	for _, test := range tests {
		r, err := NewReaderFrom(bytes.NewReader(test.file), []Identity{alice}, test.from)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if (err == nil) != (r != nil) {
			t.Errorf("%s: a reader together with an error", test.name)
		}
	}
	r, err := NewReader(bytes.NewReader(signed), []Identity{alice})
	if err != nil {
		t.Fatal(err)
	}
	if certificate, ok := r.Signer(); !ok || certificate != carol.certificate {
		t.Errorf("the signer is %v", certificate)
	}
	if r, err = NewReader(bytes.NewReader(unsigned), []Identity{alice}); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Signer(); ok {
		t.Error("an unsigned file has a signer")
	}
}

// TestSurreptitiousForwarding: Bob, to whom Carol signed a file, encrypts her
// signed plaintext to Alice, as if Carol had written to her.
func TestSurreptitiousForwarding(t *testing.T) {
	alice, bob, carol := newIdentity(t), newIdentity(t), newTestSigner("carol")
	forBob := encrypt(t, []byte("you are fired"), Options{Signer: carol}, bob)
	layer, err := age.Decrypt(bytes.NewReader(forBob), bob.key)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := io.ReadAll(layer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decrypt(encrypt(t, inside, Options{}, bob), bob); err != nil || string(got) != "you are fired" {
		t.Fatalf("to the same recipient: %q, %v", got, err)
	}
	forwarded := encrypt(t, inside, Options{}, alice, bob)
	if got, err := decrypt(forwarded, alice); !errors.Is(err, ErrNotForMe) || got != nil {
		t.Errorf("forwarded: %q, %v", got, err)
	}
	if _, err := NewReaderFrom(bytes.NewReader(forwarded), []Identity{alice}, carol.account()); !errors.Is(err, ErrNotForMe) {
		t.Errorf("forwarded, from Carol demanded: %v", err)
	}
}

// TestStolenDeviceKey: Mallory certifies Carol's device for her own account, to
// pass Carol's file off as hers.
func TestStolenDeviceKey(t *testing.T) {
	alice, carol := newIdentity(t), newTestSigner("carol")
	inside := signedLayer(t, []byte("my idea"), carol, alice)
	mallory := identity.IssueCertificate(identity.GenerateAccountKey(), "carol",
		carol.certificate.DeviceKey, carol.certificate.DeviceID, carol.certificate.IssuedAt)
	forged := bytes.Replace(inside, carol.certificate.Marshal(), mallory.Marshal(), 1)
	if bytes.Equal(forged, inside) {
		t.Fatal("nothing was replaced")
	}
	if got, err := decrypt(encrypt(t, forged, Options{}, alice), alice); !errors.Is(err, ErrForged) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRecipientsOfAFile(t *testing.T) {
	hybrid, classic := newIdentity(t).Recipient(), newX25519Identity(t).Recipient()
	many := make([]Recipient, MaxRecipients+1)
	for i := range many {
		many[i] = newX25519Identity(t).Recipient()
	}
	tests := []struct {
		name string
		to   []Recipient
		want error
	}{
		{"nobody", nil, ErrRecipientCount},
		{"too many", many, ErrRecipientCount},
		{"as many as can be", many[1:], nil},
		{"mixed", []Recipient{hybrid, classic}, ErrMixedRecipients},
		{"mixed the other way", []Recipient{classic, hybrid}, ErrMixedRecipients},
		{"the same twice", slices.Repeat([]Recipient{hybrid}, 2), nil},
	}
	for _, test := range tests {
		var file bytes.Buffer
		w, err := NewWriter(&file, test.to, Options{Signer: newTestSigner("carol")})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err != nil && file.Len() > 0 {
			t.Errorf("%s: %d bytes were written", test.name, file.Len())
		}
		if err == nil && w.Close() != nil {
			t.Errorf("%s: closing: %v", test.name, err)
		}
	}
	var file bytes.Buffer
	if err := writeAll(&file, nil, Options{}, hybrid, hybrid, hybrid); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(file.String(), "-> mlkem768x25519"); n != 1 {
		t.Errorf("one recipient given three times has %d stanzas", n)
	}
}

func TestRefusals(t *testing.T) {
	alice, bob := newIdentity(t), newIdentity(t)
	file := encrypt(t, []byte("hello"), Options{}, bob)
	broken := errors.New("the disk is on fire")
	passphrase := bytes.NewReader(protect(t, "hello", "secret"))
	tests := []struct {
		name string
		file io.Reader
		want error
	}{
		{"empty", strings.NewReader(""), ErrNotAge},
		{"a picture", strings.NewReader("\x89PNG\r\n"), ErrNotAge},
		{"an identity file", strings.NewReader(alice.Secret()), ErrNotAge},
		{"another PEM file", strings.NewReader("-----BEGIN CERTIFICATE-----\n"), ErrNotAge},
		{"another version", strings.NewReader("age-encryption.org/v2\n"), ErrNotAge},
		{"for somebody else", bytes.NewReader(file), ErrNoIdentity},
		{"to a passphrase", passphrase, ErrPassphraseFile},
		{"an unreadable file", iotest.ErrReader(broken), broken},
		{"an unreadable rest", io.MultiReader(bytes.NewReader(file[:100]), iotest.ErrReader(broken)), broken},
		{"a long line of a stranger", strings.NewReader(intro + strings.Repeat("\x1b[2J", 10000) + "\n"), ErrCorrupt},
	}
	for _, test := range tests {
		_, err := NewReader(test.file, []Identity{alice})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err != nil && (len(err.Error()) > 200 || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%s: the error repeats the file: %.100q", test.name, err)
		}
	}
}

// TestWriteErrors: a full disk at any byte is an error, and the file is not
// ended.
func TestWriteErrors(t *testing.T) {
	alice, signer := newX25519Identity(t), newTestSigner("carol")
	plaintext := bytes.Repeat([]byte("x"), 400_000)
	for _, options := range []Options{{}, {Armor: true}, {Signer: signer}} {
		whole := len(encrypt(t, plaintext, options, alice))
		for _, room := range []int{0, 1, 100, whole / 2, whole - 1} {
			disk := &fullDisk{room: room}
			err := writeAll(disk, plaintext, options, alice.Recipient())
			if !errors.Is(err, errFull) {
				t.Errorf("%d bytes of %d: %v", room, whole, err)
			}
		}
	}
}

func writeAll(dst io.Writer, plaintext []byte, options Options, to ...Recipient) error {
	w, err := NewWriter(dst, to, options)
	if err != nil {
		return err
	}
	if _, err := w.Write(plaintext); err != nil {
		return errors.Join(err, mustFail(w.Close()))
	}
	return w.Close()
}

// mustFail panics on a nil error: closing after a failed write must not look like success.
func mustFail(err error) error {
	if err == nil {
		panic("a file that was not written is closed without error")
	}
	return nil
}

var errFull = errors.New("the disk is full")

type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.room {
		return d.room, errFull
	}
	d.room -= len(p)
	return len(p), nil
}

// pattern is a stream of n bytes that no memory holds.
func pattern(n int64) io.Reader {
	block := bytes.Repeat([]byte("sealpost "), 1<<14)
	return io.LimitReader(readerFunc(func(p []byte) (int, error) { return copy(p, block), nil }), n)
}

func BenchmarkEncrypt(b *testing.B) {
	for name, options := range benchOptions() {
		b.Run(name, func(b *testing.B) {
			const size = 64 << 20
			to := newIdentity(b).Recipient()
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				w, err := NewWriter(io.Discard, []Recipient{to}, options)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(w, pattern(size)); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecrypt(b *testing.B) {
	for name, options := range benchOptions() {
		b.Run(name, func(b *testing.B) {
			const size = 64 << 20
			i := newIdentity(b)
			plaintext, err := io.ReadAll(pattern(size))
			if err != nil {
				b.Fatal(err)
			}
			file := encrypt(b, plaintext, options, i)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(bytes.NewReader(file), []Identity{i})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != size || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func benchOptions() map[string]Options {
	signer := newTestSigner("carol")
	return map[string]Options{
		"binary": {},
		"armor":  {Armor: true},
		"signed": {Signer: signer},
	}
}
