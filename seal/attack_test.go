package seal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// signedLayer returns what age -d would show of a signed file.
func signedLayer(t testing.TB, plaintext []byte, signer Signer, to Identity) []byte {
	t.Helper()
	var layer bytes.Buffer
	w, err := NewSignWriter(&layer, signer, []Recipient{to.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plaintext); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layer.Bytes()
}

// isRefusal tells whether an error says that a file is not whole and authentic.
func isRefusal(err error) bool {
	for _, known := range []error{ErrTruncated, ErrCorrupt, ErrForged, ErrNotAge, ErrNoIdentity, ErrNotForMe, ErrSignedVersion} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// checkPrefix reads a manipulated file to its end: there must be an error, and
// what came before must be the beginning of the plaintext.
func checkPrefix(t interface {
	Helper()
	Fatalf(string, ...any)
}, file, plaintext []byte, i Identity) {
	t.Helper()
	got, err := decrypt(file, i)
	if !isRefusal(err) {
		t.Fatalf("read %d bytes with error %v", len(got), err)
	}
	if !bytes.HasPrefix(plaintext, got) {
		t.Fatalf("what came out is not the beginning of the plaintext")
	}
}

// TestAttackF9Cut cuts files at many places: all of a header, and around every
// border of a chunk.
func TestAttackF9Cut(t *testing.T) {
	alice, signer := newX25519Identity(t), newTestSigner("carol")
	plaintext := bytes.Repeat([]byte("pay 100 to Bob.\n"), 20_000)
	for _, options := range []Options{{}, {Armor: true}, {Signer: signer}, {Armor: true, Signer: signer}} {
		file := encrypt(t, plaintext, options, alice)
		cuts := []int{len(file) / 2, len(file) - 40, len(file) - 2}
		if !options.Armor {
			cuts = append(cuts, len(file)-1) // of an armored file that is a line feed which age does not demand
		}
		for n := range 400 {
			cuts = append(cuts, n)
		}
		for border := 64<<10 + 16; border < len(file); border += 64<<10 + 16 {
			cuts = append(cuts, border, border+200, border+216)
		}
		for _, n := range cuts {
			checkPrefix(t, file[:n], plaintext, alice)
		}
		if _, err := decrypt(file[:len(file)/2], alice); !errors.Is(err, ErrTruncated) {
			t.Errorf("armor %v, signed %v: cut in the middle: %v", options.Armor, options.Signer != nil, err)
		}
		checkPrefix(t, append(slices.Clone(file), "more"...), plaintext, alice)
	}
}

// TestAttackF9Changed changes one byte anywhere.
func TestAttackF9Changed(t *testing.T) {
	alice, signer := newIdentity(t), newTestSigner("carol")
	plaintext := bytes.Repeat([]byte("pay 100 to Bob.\n"), 20_000)
	unsigned := encrypt(t, plaintext, Options{}, alice)
	signed := encrypt(t, plaintext, Options{Signer: signer}, alice)
	rapid.Check(t, func(t *rapid.T) {
		file := slices.Clone(rapid.SampledFrom([][]byte{unsigned, signed}).Draw(t, "file"))
		at := rapid.IntRange(0, len(file)-1).Draw(t, "at")
		file[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "mask"))
		checkPrefix(t, file, plaintext, alice)
	})
}

// A recipient can open the file, and so can encrypt whatever they make of its
// inside. The signature must hold alone: here the layer is attacked under an
// intact age file.

// TestAttackF9LayerChanged changes, cuts or lengthens the signed layer.
func TestAttackF9LayerChanged(t *testing.T) {
	alice, signer := newX25519Identity(t), newTestSigner("carol")
	plaintext := bytes.Repeat([]byte("pay 100 to Bob.\n"), 40_000)
	layer := signedLayer(t, plaintext, signer, alice)
	read := func(layer []byte) ([]byte, error) {
		r, err := NewVerifyReader(bytes.NewReader(layer), alice.Recipient())
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}
	check := func(t *rapid.T, layer []byte) {
		got, err := read(layer)
		if !isRefusal(err) {
			t.Fatalf("read %d bytes with error %v", len(got), err)
		}
		if !bytes.HasPrefix(plaintext, got) {
			t.Fatalf("what came out is not the beginning of the plaintext")
		}
	}
	if got, err := read(layer); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		// Half of the time somewhere in the header.
		at := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, len(layer)-1)).Draw(t, "at")
		switch rapid.SampledFrom([]string{"change", "cut", "lengthen", "remove", "insert"}).Draw(t, "attack") {
		case "change":
			changed := slices.Clone(layer)
			changed[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "mask"))
			check(t, changed)
		case "cut":
			check(t, layer[:at])
		case "lengthen":
			check(t, append(slices.Clone(layer), layer[at:]...))
		case "remove":
			check(t, slices.Delete(slices.Clone(layer), at, min(at+rapid.IntRange(1, 100).Draw(t, "n"), len(layer))))
		case "insert":
			more := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "bytes")
			check(t, slices.Insert(slices.Clone(layer), at, more...))
		}
	})
}

// chunks takes a layer apart.
func chunks(t *testing.T, layer []byte) (header []byte, parts [][]byte) {
	t.Helper()
	h, _, err := readSignedHeader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	header = h.marshal()
	for rest := layer[len(header):]; len(rest) > 0; {
		n := chunkPrefixSize + int(binary.BigEndian.Uint32(rest[1:])) + ed25519.SignatureSize
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	return header, parts
}

// TestAttackF9LayerShuffled moves whole chunks, each of which is validly signed.
func TestAttackF9LayerShuffled(t *testing.T) {
	alice, signer := newX25519Identity(t), newTestSigner("carol")
	plaintext := bytes.Join([][]byte{
		bytes.Repeat([]byte("a"), signedChunkSize), bytes.Repeat([]byte("b"), signedChunkSize),
		bytes.Repeat([]byte("c"), signedChunkSize), []byte("the end")}, nil)
	header, c := chunks(t, signedLayer(t, plaintext, signer, alice))
	other, o := chunks(t, signedLayer(t, plaintext, signer, alice))
	tests := []struct {
		name   string
		header []byte
		chunks [][]byte
		want   error
		out    int // whole chunks
	}{
		{"as written", header, c, nil, 4},
		{"swapped", header, [][]byte{c[1], c[0], c[2], c[3]}, ErrForged, 0},
		{"swapped later", header, [][]byte{c[0], c[2], c[1], c[3]}, ErrForged, 1},
		{"duplicated", header, [][]byte{c[0], c[1], c[1], c[2], c[3]}, ErrForged, 2},
		{"left out", header, [][]byte{c[0], c[2], c[3]}, ErrForged, 1},
		{"without the last", header, c[:3], ErrTruncated, 3},
		{"the last alone", header, c[3:], ErrForged, 0},
		{"without any", header, nil, ErrTruncated, 0},
		{"more after the last", header, [][]byte{c[0], c[1], c[2], c[3], c[3]}, ErrForged, 3},
		{"a chunk of another file", header, [][]byte{c[0], o[1], c[2], c[3]}, ErrForged, 1},
		{"the header of another file", other, c, ErrForged, 0},
		{"no longer the last", header, [][]byte{c[0], c[1], c[2], unmarked(c[3])}, ErrForged, 3},
	}
	for _, test := range tests {
		layer := slices.Concat(test.header, bytes.Join(test.chunks, nil))
		got, err := decrypt(encrypt(t, layer, Options{}, alice), alice)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if want := plaintext[:min(test.out*signedChunkSize, len(plaintext))]; !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes came out, want %d", test.name, len(got), len(want))
		}
	}
}

func unmarked(chunk []byte) []byte {
	changed := slices.Clone(chunk)
	changed[0] = 0
	return changed
}

// TestAttackF7Recipients: no recipient or identity text starts a program.
func TestAttackF7Recipients(t *testing.T) {
	hybrid, classic := newIdentity(t), newX25519Identity(t)
	for _, i := range []Identity{hybrid, classic} {
		r, err := ParseRecipient(i.Recipient().String())
		if err != nil || r.String() != i.Recipient().String() {
			t.Errorf("%.20s: %v", i.Recipient(), err)
		}
	}
	good := classic.Recipient().String()
	refused := map[string]string{
		"":  "does not begin",
		" ": "does not begin",
		"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t": "plugin",
		"age1../../bin/sh1qqqq":               "mistyped",
		"age1tag1qwt50d05nh5vutpdzmlg5wn80xq": "plugin",
		"age1":                                "mistyped",
		"age1pq1qqqq":                         "mistyped",
		good + " ":                            "mistyped",
		" " + good:                            "does not begin",
		good + "\n":                           "mistyped",
		good + "\x00":                         "mistyped",
		strings.ToUpper(good):                 "does not begin",
		good[:20] + "q" + good[21:len(good)-1] + "q":              "mistyped",
		hybrid.Recipient().String() + "q":                         "mistyped",
		"AGE-PLUGIN-YUBIKEY-1QQQQ":                                "plugin",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5d": "SSH",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB":                    "SSH",
		"github:bob":                                              "does not begin",
		"\x1b]52;c;cm0gLXJm\x07age1":                              "does not begin",
		hybrid.Secret():                                           "private key",
		classic.Secret():                                          "private key",
		strings.ToLower("AGE-SECRET-KEY-1") + "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq": "private key",
	}
	for text, reason := range refused {
		_, err := ParseRecipient(text)
		if !errors.Is(err, ErrRecipient) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.40q: %v, want %s", text, err, reason)
			continue
		}
		if strings.ContainsAny(err.Error(), "\x1b\x07\n\x00") || strings.Contains(err.Error(), "SECRET") || len(err.Error()) > 250 {
			t.Errorf("%.40q: an unfit error: %q", text, err)
		}
	}
}

func TestAttackF7Identities(t *testing.T) {
	i := newIdentity(t)
	for text, reason := range map[string]string{
		"AGE-PLUGIN-YUBIKEY-1QQQQQQQQQQ":                "plugin",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz": "SSH",
		i.Recipient().String():                          "public key",
		"AGE-SECRET-KEY-1QQQQ":                          "mistyped",
		i.Secret()[:len(i.Secret())-1]:                  "mistyped",
		"#!/bin/sh\nrm -rf":                             "begins with",
		"":                                              "no private key",
		"# only a comment\n":                            "no private key",
		strings.Repeat("x", maxIdentityFile+1):          "1 MiB",
		"# c\n" + strings.Repeat("x", 100_000):          "too long",
	} {
		_, err := ReadIdentities(strings.NewReader(text), noPassphrase)
		if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.40q: %v, want %s", text, err, reason)
		}
		if err != nil && (strings.Contains(err.Error(), "QQQQ") || strings.Contains(err.Error(), "rm -rf")) {
			t.Errorf("%.40q: the error repeats the file: %v", text, err)
		}
	}
}

func noPassphrase() ([]byte, error) { return nil, errors.New("no passphrase was expected") }
