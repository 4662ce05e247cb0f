package relay_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"sealpost/api"
	"sealpost/relay"
)

func (d *device) publish(packages []string, lastResort string) (uint32, error) {
	request := &api.PublishKeyPackagesRequest{LastResort: []byte(lastResort)}
	for _, b := range packages {
		request.KeyPackages = append(request.KeyPackages, []byte(b))
	}
	ctx := d.signed(d.relay.t.Context(), d.request(api.Directory_PublishKeyPackages_FullMethodName))
	response, err := api.NewDirectoryClient(d.conn).PublishKeyPackages(ctx, request)
	return response.GetStock(), err
}

func (d *device) claim(name string) ([]*api.ClaimedKeyPackage, error) {
	ctx := d.signed(d.relay.t.Context(), d.request(api.Directory_ClaimKeyPackages_FullMethodName))
	response, err := api.NewDirectoryClient(d.conn).ClaimKeyPackages(ctx, &api.ClaimKeyPackagesRequest{Username: name})
	return response.GetKeyPackages(), err
}

func TestKeyPackages(t *testing.T) {
	r := startRelay(t, t.TempDir(), nil)
	alice, bob := r.registered("alice"), r.registered("bob")
	if stock, err := bob.publish([]string{"one"}, "last"); err != nil || stock != 1 {
		t.Fatalf("%d in stock, %v", stock, err)
	}
	for _, want := range []struct {
		keyPackage string
		lastResort bool
	}{{"one", false}, {"last", true}, {"last", true}} {
		claimed, err := alice.claim("bob")
		id := bob.id()
		if err != nil || len(claimed) != 1 || string(claimed[0].GetKeyPackage()) != want.keyPackage ||
			claimed[0].GetLastResort() != want.lastResort || string(claimed[0].GetDevice()) != string(id[:]) {
			t.Fatalf("claimed %v, %v; want %v", claimed, err, want)
		}
	}
	r.clock.move(relay.DefaultLimits().KeyPackageLifetime)
	r.Sweep(t.Context())
	if claimed, err := alice.claim("bob"); err != nil || len(claimed) != 0 {
		t.Fatalf("claimed %v, %v", claimed, err)
	}
	for _, name := range []string{"", "Bob", "b", "bob\n", "bob@example.org"} {
		_, err := alice.claim(name)
		wantReason(t, err, api.Reason_REASON_MALFORMED)
	}
}

func TestKeyPackageLimits(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.KeyPackages = 3 })
	alice := r.registered("alice")
	largest := strings.Repeat("x", 16<<10)
	for _, test := range []struct {
		packages   []string
		lastResort string
		want       api.Reason
	}{
		{[]string{""}, "", api.Reason_REASON_MALFORMED},
		{[]string{largest + "x"}, "", api.Reason_REASON_TOO_LARGE},
		{nil, largest + "x", api.Reason_REASON_TOO_LARGE},
		{[]string{"1", "2", "3", "4"}, "", api.Reason_REASON_KEY_PACKAGE_LIMIT},
	} {
		_, err := alice.publish(test.packages, test.lastResort)
		wantReason(t, err, test.want)
	}
	if stock, err := alice.publish([]string{largest, "2"}, largest); err != nil || stock != 2 {
		t.Fatalf("%d in stock, %v", stock, err)
	}
	_, err := alice.publish([]string{"3", "4"}, "")
	wantReason(t, err, api.Reason_REASON_KEY_PACKAGE_LIMIT)
}

// TestClaimsAreLimited: nobody drains the stock of another, nor tries out names
// without end, with however many devices.
func TestClaimsAreLimited(t *testing.T) {
	r := startRelay(t, t.TempDir(), func(c *relay.Config) { c.Limits.Claims, c.Limits.ClaimsOfOne = 5, 2 })
	alice, bob, mallory := r.registered("alice"), r.registered("bob"), r.registered("mallory")
	if _, err := bob.publish([]string{"1", "2", "3", "4"}, "last"); err != nil {
		t.Fatal(err)
	}
	limited := func(name string) {
		t.Helper()
		_, err := mallory.claim(name)
		wantReason(t, err, api.Reason_REASON_KEY_PACKAGE_LIMIT)
		retry, ok := status.Convert(err).Details()[1].(*errdetails.RetryInfo)
		if !ok || retry.GetRetryDelay().AsDuration() != 50*time.Minute {
			t.Fatalf("the details are %v", status.Convert(err).Details())
		}
	}
	for n := range 2 {
		if claimed, err := mallory.claim("bob"); err != nil || len(claimed) != 1 {
			t.Fatalf("claim %d: %v, %v", n, claimed, err)
		}
	}
	r.clock.move(10 * time.Minute)
	limited("bob")
	for _, name := range []string{"nobody", "noone", "nemo"} {
		_, err := mallory.claim(name)
		wantReason(t, err, api.Reason_REASON_UNKNOWN_ACCOUNT)
	}
	limited("alice")
	if claimed, err := alice.claim("bob"); err != nil || string(claimed[0].GetKeyPackage()) != "3" {
		t.Fatalf("another claims %v, %v", claimed, err)
	}
	r.clock.move(50 * time.Minute)
	if claimed, err := mallory.claim("bob"); err != nil || string(claimed[0].GetKeyPackage()) != "4" {
		t.Fatalf("an hour later: %v, %v", claimed, err)
	}
}
