package identity

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

var issued = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRecord(t testing.TB, username Username) (AccountPrivateKey, DevicePrivateKey, DeviceRecord) {
	t.Helper()
	account, device := GenerateAccountKey(), GenerateDeviceKey()
	certificate := IssueCertificate(account, username, device.Public(), NewDeviceID(), issued)
	record, err := SignDeviceRecord(device, certificate, "age1pq1example")
	if err != nil {
		t.Fatal(err)
	}
	return account, device, record
}

func TestDeviceRecordRoundTrip(t *testing.T) {
	_, _, record := newRecord(t, "bob")
	got, err := ParseDeviceRecord(record.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if got.Certificate != record.Certificate || got.FileRecipient != record.FileRecipient {
		t.Errorf("got %+v, want %+v", got, record)
	}
}

// Every bit of a record is under a signature, a length or the strict grammar.
func TestDeviceRecordRefusesEveryBitFlip(t *testing.T) {
	_, _, record := newRecord(t, "bob")
	encoded := record.Marshal()
	for i := range encoded {
		for bit := range 8 {
			if i > 200 && i < len(encoded)-100 && (i%97 != 0 || bit != i%8) {
				continue // the middle is one long key: a sample of it is enough
			}
			mutant := bytes.Clone(encoded)
			mutant[i] ^= 1 << bit
			if _, err := ParseDeviceRecord(mutant); err == nil {
				t.Errorf("bit %d of byte %d flipped: accepted", bit, i)
			}
		}
	}
}

func TestDeviceRecordRefusesOtherLengths(t *testing.T) {
	_, _, record := newRecord(t, "bob")
	encoded := record.Marshal()
	for n := range encoded {
		if _, err := ParseDeviceRecord(encoded[:n]); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
	for _, longer := range [][]byte{append(bytes.Clone(encoded), 0), append(bytes.Clone(encoded), make([]byte, MaxDeviceRecordLen)...)} {
		if _, err := ParseDeviceRecord(longer); !errors.Is(err, ErrCertificate) {
			t.Errorf("%d bytes more: got %v, want %v", len(longer)-len(encoded), err, ErrCertificate)
		}
	}
}

func TestCertificateOfAnotherAccountKey(t *testing.T) {
	_, device, record := newRecord(t, "bob")
	mallory := GenerateAccountKey()
	forged := record.Certificate
	forged.AccountKey = mallory.Public()
	if _, err := ParseCertificate(forged.Marshal()); !errors.Is(err, ErrSignature) {
		t.Errorf("account key swapped: got %v, want %v", err, ErrSignature)
	}
	other := IssueCertificate(mallory, "bob", GenerateDeviceKey().Public(), NewDeviceID(), issued)
	if _, err := SignDeviceRecord(device, other, "age1pq1example"); err == nil {
		t.Error("a record over a certificate for another device key was signed")
	}
}

func TestCertificateNameMustBeCanonical(t *testing.T) {
	account, device := GenerateAccountKey(), GenerateDeviceKey()
	for _, name := range []Username{"Bob", "b", "bob\x1b[2J", "", "-bob", Username(strings.Repeat("b", 33))} {
		c := IssueCertificate(account, name, device.Public(), NewDeviceID(), issued)
		if _, err := ParseCertificate(c.Marshal()); err == nil {
			t.Errorf("name %q: accepted", name)
		}
	}
}

func TestPrivateKeysPrintAsPlaceholder(t *testing.T) {
	key := GenerateDeviceKey()
	account := GenerateAccountKey()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "device", key, "account", account)
	out := fmt.Sprintf("%v %+v %#v %s %x %d %v %x", key, key, key, key, key, key, account, account) + log.String()
	for _, secret := range [][]byte{key.Seed(), account.Seed()} {
		for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%d", secret[:8]), fmt.Sprintf("%#v", secret[:4])} {
			if strings.Contains(out, strings.Trim(form, "[]")) {
				t.Errorf("a private key shows in %q", out)
			}
		}
	}
}

// A signature for one purpose is worth nothing for another, even where an
// attacker chooses the bytes (attack B19).
func TestAttackB19ContextsDoNotMix(t *testing.T) {
	key := GenerateDeviceKey()
	contexts := []Context{ContextCertificate, ContextDeviceRecord, ContextRequest, ContextRejoin, ContextFile}
	message := []byte("the same bytes")
	for _, made := range contexts {
		signature := key.Sign(made, message)
		for _, checked := range contexts {
			err := key.Public().Verify(checked, message, signature)
			if (err == nil) != (made == checked) {
				t.Errorf("signed as %q, checked as %q: %v", made, checked, err)
			}
		}
	}
	// The border between context and message cannot be moved.
	signature := key.Sign("sealpost", []byte(" request v1"))
	if key.Public().Verify("sealpost request", []byte(" v1"), signature) == nil {
		t.Error("the border between context and message moved")
	}
	// A request that a server makes a device sign is no certificate.
	request := NewRequest(ServerID{}, "/x", NewDeviceID(), issued)
	if key.Public().Verify(ContextRejoin, request.signed(), request.Sign(key)) == nil {
		t.Error("a request signature passed as a message signature")
	}
}

// An id is no key and a key is no id, in any of their forms (attack A15).
func TestAttackA15IDsAndKeysDoNotMix(t *testing.T) {
	account := GenerateAccountKey().Public()
	device := GenerateDeviceKey().Public()
	id := NewDeviceID()
	for _, s := range []string{device.String(), id.String(), account.String()[len("account:"):], strings.ToUpper(account.String())} {
		if _, err := ParseAccountKey(s); err == nil {
			t.Errorf("%q read as an account key", s)
		}
	}
	for _, s := range []string{account.String(), device.String(), "id:" + account.String()[len("account:"):]} {
		if _, err := ParseDeviceID(s); err == nil {
			t.Errorf("%q read as a device id", s)
		}
	}
	if _, err := DeviceIDFromBytes(account[:]); err == nil {
		t.Error("the bytes of an account key read as a device id")
	}
	if got, err := ParseAccountKey(account.String()); err != nil || got != account {
		t.Errorf("account key: got %v, %v", got, err)
	}
	if got, err := ParseDeviceID(id.String()); err != nil || got != id {
		t.Errorf("device id: got %v, %v", got, err)
	}
}

func TestPublicKeysOfSmallOrderAreRefused(t *testing.T) {
	var identity, order4, nonCanonical AccountKey
	identity[0] = 1
	for i := range nonCanonical {
		nonCanonical[i] = 0xff
	}
	nonCanonical[31] = 0x7f
	nonCanonical[0] = 0xee // p+1: the identity again, not reduced
	for name, key := range map[string]AccountKey{"identity": identity, "order 4": order4, "not reduced": nonCanonical} {
		if _, err := ParseAccountKey(key.String()); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want %v", name, err, ErrKey)
		}
	}
}

func FuzzParseDeviceRecord(f *testing.F) {
	_, _, record := newRecord(f, "bob")
	f.Add(record.Marshal())
	f.Add(record.Certificate.Marshal())
	f.Add([]byte{1, 3, 'b', 'o', 'b'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseDeviceRecord(b); err == nil && !bytes.Equal(r.Marshal(), b) {
			t.Errorf("read and written again, %x differs", b)
		}
		if c, err := ParseCertificate(b); err == nil && !bytes.Equal(c.Marshal(), b) {
			t.Errorf("read and written again, %x differs", b)
		}
	})
}
