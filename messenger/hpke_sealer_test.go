package messenger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sealpost/identity"
)

var testTime = time.Date(2026, 11, 22, 12, 0, 0, int(345*time.Millisecond), time.UTC)

// party is a sealer with the record that others seal to.
type party struct {
	*hpkeSealer
	record  identity.DeviceRecord
	account identity.AccountPrivateKey
}

func newParty(t testing.TB, name identity.Username) party {
	t.Helper()
	s, account, err := newSelf(NewProfile{Username: name}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	return party{
		hpkeSealer: &hpkeSealer{certificate: s.record.Certificate, deviceKey: s.deviceKey, messageKey: s.messageKey},
		record:     s.record, account: account,
	}
}

func testContent(text string) content {
	return content{kind: contentText, id: newMessageID(), counter: 7, time: testTime, body: []byte(text)}
}

// sealRaw seals any envelope, as anybody can who knows a public key.
func sealRaw(t testing.TB, to identity.DeviceRecord, envelope []byte) []byte {
	t.Helper()
	key, err := hpke.MLKEM768X25519().NewPublicKey(to.MessageKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo), envelope)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{payloadVersion}, sealed...)
}

func (p party) signed(statement []byte) []byte {
	return seal(statement, p.deviceKey.Sign(identity.ContextMessage, statement))
}

func wantRefusal(t testing.TB, s sealer, payload []byte, want refusal) {
	t.Helper()
	_, err := s.Open(payload)
	var got refusal
	if !errors.As(err, &got) || (want != "" && got != want) {
		t.Errorf("got %v, want the refusal %q", err, want)
	}
}

func TestSealOpen(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	receipt := testContent("")
	receipt.kind, receipt.counter, receipt.body = contentReceipt, 0, make([]byte, 32)
	for _, c := range []content{testContent("hi"), testContent(strings.Repeat("ü", MaxTextLen/2)), receipt} {
		payload, err := alice.Seal(bob.record, c)
		if err != nil {
			t.Fatal(err)
		}
		o, err := bob.Open(payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, o.content, cmp.AllowUnexported(content{})); diff != "" {
			t.Error(diff)
		}
		if o.sender != alice.certificate {
			t.Errorf("sent by %v", o.sender)
		}
	}
}

func TestSealedSizesAreBuckets(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat("x", rapid.IntRange(1, MaxTextLen).Draw(t, "length"))
		payload, err := alice.Seal(bob.record, testContent(text))
		if err != nil {
			t.Fatal(err)
		}
		padded := len(payload) - payloadOverhead
		if padded != maxPadded && (padded < minPadded || padded&(padded-1) != 0) {
			t.Fatalf("%d bytes of text give %d", len(text), padded)
		}
	})
}

// fieldOffsets gives a byte in every field of a statement.
func fieldOffsets(p party, to identity.Certificate) map[string]int {
	certificate := len(p.certificate.Marshal())
	fields := map[string]int{"version": 0, "kind": 1, "certificate length": 3, "certificate": 4 + certificate/2}
	at := 4 + certificate
	for _, f := range []struct {
		name string
		size int
	}{
		{"username length", 1}, {"username", len(to.Username)}, {"account key", 32}, {"device key", 32}, {"device id", 16},
		{"conversation", 32}, {"message id", 16}, {"counter", 8}, {"time", 8}, {"body length", 4}, {"body", 2},
	} {
		fields[f.name] = at + f.size - 1
		at += f.size
	}
	return fields
}

func TestChangedFieldIsRefused(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	statement := alice.statement(bob.certificate, testContent("hi"))
	signature := alice.deviceKey.Sign(identity.ContextMessage, statement)
	for field, offset := range fieldOffsets(alice, bob.certificate) {
		t.Run(field, func(t *testing.T) {
			changed := bytes.Clone(statement)
			changed[offset] ^= 1
			wantRefusal(t, bob, sealRaw(t, bob.record, seal(changed, signature)), "")
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		if _, err := bob.Open(sealRaw(t, bob.record, seal(statement, signature))); err != nil {
			t.Error(err)
		}
	})
}

// Whoever writes signs what they like: these statements are all signed well.
func TestFalseStatementIsRefused(t *testing.T) {
	alice, bob, carol := newParty(t, "alice"), newParty(t, "bob"), newParty(t, "carol")
	c := testContent("hi")
	fields := fieldOffsets(alice, bob.certificate)
	edit := func(change func([]byte) []byte) []byte {
		return alice.signed(change(alice.statement(bob.certificate, c)))
	}
	otherDevice := bob.certificate
	otherDevice.DeviceID[0] ^= 1
	otherAccount := bob.certificate
	otherAccount.AccountKey = carol.certificate.AccountKey
	for name, test := range map[string]struct {
		envelope []byte
		want     refusal
	}{
		"AttackB10 reflected":     {bob.signed(bob.statement(bob.certificate, c)), errOwn},
		"to somebody else":        {alice.signed(alice.statement(carol.certificate, c)), errRecipient},
		"to another device":       {alice.signed(alice.statement(otherDevice, c)), errRecipient},
		"to another account":      {alice.signed(alice.statement(otherAccount, c)), errRecipient},
		"another conversation":    {edit(func(b []byte) []byte { b[fields["conversation"]] ^= 1; return b }), errPlace},
		"unknown version":         {edit(func(b []byte) []byte { b[0] = 2; return b }), errMalformed},
		"unknown kind":            {edit(func(b []byte) []byte { b[1] = 9; return b }), errVersion},
		"no time":                 {edit(func(b []byte) []byte { clear(b[fields["time"]-7 : fields["time"]+1]); return b }), errMalformed},
		"no counter":              {edit(func(b []byte) []byte { b[fields["counter"]] = 0; return b }), errMalformed},
		"counter beyond the last": {edit(func(b []byte) []byte { b[fields["counter"]-7] = 0xff; return b }), errMalformed},
		"trailing byte":           {edit(func(b []byte) []byte { return append(b, 0) }), errMalformed},
		"no UTF-8":                {edit(func(b []byte) []byte { b[len(b)-1] = 0xff; return b }), errMalformed},
		"an empty statement":      {alice.signed(nil), errMalformed},
		"signed by another":       {carol.signed(alice.statement(bob.certificate, c)), errSignature},
		"AttackB19 as a request": {seal(alice.statement(bob.certificate, c),
			alice.deviceKey.Sign(identity.ContextRequest, alice.statement(bob.certificate, c))), errSignature},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, bob, sealRaw(t, bob.record, test.envelope), test.want)
		})
	}
}

func TestPaddingIsCanonical(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	envelope := alice.signed(alice.statement(bob.certificate, testContent("hi")))
	for name, test := range map[string]struct {
		change func([]byte) []byte
		want   refusal
	}{
		"not zero":         {func(b []byte) []byte { b[len(b)-1] = 1; return b }, errPadding},
		"next size":        {func(b []byte) []byte { return append(b, make([]byte, len(b))...) }, errPadding},
		"one more":         {func(b []byte) []byte { return append(b, 0) }, errPadding},
		"too short":        {func(b []byte) []byte { return b[:minPadded-1] }, errSize},
		"too long":         {func(b []byte) []byte { return append(b, make([]byte, maxPadded)...) }, errSize},
		"length past end":  {func(b []byte) []byte { b[2] = 0xff; return b }, errMalformed},
		"length wraps":     {func(b []byte) []byte { b[0] = 0xff; return b }, errMalformed},
		"signature cut":    {func(b []byte) []byte { b[2], b[3] = 0x03, 0xf0; return b }, errMalformed},
		"nothing but zero": {func(b []byte) []byte { clear(b); return b }, errMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, bob, sealRaw(t, bob.record, test.change(bytes.Clone(envelope))), test.want)
		})
	}
}

func TestAttackB14ChangedPayloadIsRefused(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	payload, err := alice.Seal(bob.record, testContent("hi"))
	if err != nil {
		t.Fatal(err)
	}
	for offset := 0; offset < len(payload); offset += 13 {
		changed := bytes.Clone(payload)
		changed[offset] ^= 0x10
		wantRefusal(t, bob, changed, "")
	}
	for _, cut := range []int{0, 1, encapsulatedSize, payloadOverhead, len(payload) - tagSize, len(payload) - 1} {
		wantRefusal(t, bob, payload[:cut], "")
	}
	wantRefusal(t, bob, append(bytes.Clone(payload), 0), "")
	wantRefusal(t, newParty(t, "carol"), payload, errUnsealed)
}

func TestAttackB8UnknownVersionIsRefused(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	payload, err := alice.Seal(bob.record, testContent("hi"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []byte{0, 2, 255} {
		changed := bytes.Clone(payload)
		changed[0] = version
		wantRefusal(t, bob, changed, errVersion)
	}
	wantRefusal(t, bob, bytes.Repeat([]byte("plain text "), 300), errVersion)
}

func TestTooLongToSeal(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	_, err := alice.Seal(bob.record, testContent(strings.Repeat("x", maxPadded)))
	wantError[*TooLargeError](t, err)
}

// FuzzParseStatement checks that what parses is written in the one way there is.
func FuzzParseStatement(f *testing.F) {
	alice, bob := newParty(f, "alice"), newParty(f, "bob")
	f.Add(alice.signed(alice.statement(bob.certificate, testContent("hi"))))
	f.Add([]byte{})
	f.Add(make([]byte, minPadded))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		statement, signature, err := unpad(envelope)
		if err != nil {
			return
		}
		if len(signature) != ed25519.SignatureSize || !bytes.Equal(seal(statement, signature), envelope) {
			t.Fatal("a second way to pad")
		}
		parsed, err := parseStatement(statement)
		if err != nil {
			return
		}
		writer := &hpkeSealer{certificate: parsed.sender}
		to := identity.Certificate{
			Username: identity.Username(parsed.username), AccountKey: identity.AccountKey(parsed.account),
			DeviceKey: identity.DeviceKey(parsed.device), DeviceID: identity.DeviceID(parsed.deviceID),
		}
		again := writer.statement(to, parsed.content)
		conversation := conversationOf(parsed.sender.AccountKey, to.AccountKey)
		if bytes.Equal(parsed.conversation, conversation[:]) && !bytes.Equal(again, statement) {
			t.Fatal("a second way to write a statement")
		}
	})
}

// FuzzOpen checks that no payload does more than be refused.
func FuzzOpen(f *testing.F) {
	alice, bob := newParty(f, "alice"), newParty(f, "bob")
	payload, err := alice.Seal(bob.record, testContent("hi"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte{payloadVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := bob.Open(b)
		var why refusal
		if err != nil && !errors.As(err, &why) {
			t.Fatalf("not a refusal: %v", err)
		}
		if err == nil && !bytes.Equal(b, payload) {
			t.Fatal("a forgery opens")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	alice, bob := newParty(b, "alice"), newParty(b, "bob")
	c := testContent(strings.Repeat("x", 200))
	for b.Loop() {
		if _, err := alice.Seal(bob.record, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnseal(b *testing.B) {
	alice, bob := newParty(b, "alice"), newParty(b, "bob")
	payload, err := alice.Seal(bob.record, testContent(strings.Repeat("x", 200)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := bob.Open(payload); err != nil {
			b.Fatal(err)
		}
	}
}
