package relay

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"sealpost/api"
	"sealpost/identity"
)

// fuzzDirectory is a directory over a store that fails the test on whatever it
// should not get.
func fuzzDirectory(t *testing.T) directory {
	t.Helper()
	limits := DefaultLimits()
	return directory{Server: &Server{
		store: fuzzStore{t}, limits: limits, clock: func() time.Time { return time.UnixMilli(fuzzTime) },
		log: slog.New(slog.DiscardHandler), metrics: NewMetrics(), nonces: newNonces(limits), claims: newClaims(limits), rates: newClientRates(limits), openRegistration: true,
	}}
}

const fuzzTime = 1_700_000_000_000 // milliseconds

func marshal(f *testing.F, message proto.Message) []byte {
	f.Helper()
	b, err := proto.Marshal(message)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzDirectoryCall gives the handlers of a registered device's calls any bytes.
// They must refuse them with an error that clients are told, or pass on what the
// store may get.
func FuzzDirectoryCall(f *testing.F) {
	const lookup, publish, claim, methods = 0, 1, 2, 3
	f.Add(byte(lookup), marshal(f, &api.LookupRequest{Username: "alice"}))
	f.Add(byte(lookup), marshal(f, &api.LookupRequest{Username: "Alice@example.org"}))
	f.Add(byte(publish), marshal(f, &api.PublishKeyPackagesRequest{KeyPackages: [][]byte{[]byte("one"), []byte("two")}, LastResort: []byte("last")}))
	f.Add(byte(publish), marshal(f, &api.PublishKeyPackagesRequest{KeyPackages: [][]byte{{}}, ReplaceStock: true}))
	f.Add(byte(publish), marshal(f, &api.PublishKeyPackagesRequest{LastResort: make([]byte, maxKeyPackage+1)}))
	f.Add(byte(publish), bytes.Repeat([]byte{0x0a, 0x01, 'x'}, 101)) // one more than there may be
	f.Add(byte(claim), marshal(f, &api.ClaimKeyPackagesRequest{Username: "alice"}))
	f.Add(byte(claim), marshal(f, &api.ClaimKeyPackagesRequest{Username: "a\x00"}))
	f.Fuzz(func(t *testing.T, method byte, b []byte) {
		d := fuzzDirectory(t)
		ctx := context.WithValue(t.Context(), deviceContextKey{}, identity.DeviceID{1})
		var err error
		switch method % methods {
		case lookup:
			request := new(api.LookupRequest)
			if proto.Unmarshal(b, request) == nil {
				_, err = d.Lookup(ctx, request)
			}
		case publish:
			request := new(api.PublishKeyPackagesRequest)
			if proto.Unmarshal(b, request) == nil {
				_, err = d.PublishKeyPackages(ctx, request)
			}
		case claim:
			request := new(api.ClaimKeyPackagesRequest)
			if proto.Unmarshal(b, request) == nil {
				_, err = d.ClaimKeyPackages(ctx, request)
			}
		}
		if _, known := answerTo(err); err != nil && !known {
			t.Fatalf("no answer for %v", err)
		}
	})
}

// FuzzRegister gives the only call of strangers any device record, signed as it
// should be by the device of the first seed. Only the very record may pass.
func FuzzRegister(f *testing.F) {
	account, key, device := identity.GenerateAccountKey(), identity.GenerateDeviceKey(), identity.NewDeviceID()
	certificate := identity.IssueCertificate(account, "alice", key.Public(), device, time.UnixMilli(fuzzTime))
	record, err := identity.SignDeviceRecord(key, certificate, "age1pq1test")
	if err != nil {
		f.Fatal(err)
	}
	genuine := record.Marshal()
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add([]byte{})
	f.Add(make([]byte, identity.MaxDeviceRecordLen+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := fuzzDirectory(t)
		request := identity.NewRequest(d.id, api.Directory_Register_FullMethodName, device, d.clock())
		ctx := metadata.NewIncomingContext(peer.NewContext(t.Context(), &peer.Peer{}), metadata.Pairs(
			api.MetadataDevice, device.String(), api.MetadataTime, strconv.FormatInt(fuzzTime, 10),
			api.MetadataNonce, string(request.Nonce[:]), api.MetadataSignature, string(request.Sign(key))))
		_, err := d.Register(ctx, &api.RegisterRequest{DeviceRecord: b})
		switch {
		case err == nil && !bytes.Equal(b, genuine):
			t.Fatalf("a record passes that nobody signed: %x", b)
		case err != nil && bytes.Equal(b, genuine):
			t.Fatal(err)
		case err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errUnauthenticated):
			t.Fatal(err)
		}
	})
}
