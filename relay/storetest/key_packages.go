package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/identity"
	"sealpost/relay"
)

var keyPackageTests = map[string]func(*testing.T, *suite){
	"Claim":                     testClaim,
	"ClaimOfEveryDevice":        testClaimOfEveryDevice,
	"ClaimIsOnce":               testClaimIsOnce,
	"ClaimUnknown":              testClaimUnknown,
	"PublishAgain":              testPublishAgain,
	"PublishTooMany":            testPublishTooMany,
	"LastResort":                testLastResort,
	"ReplaceStock":              testReplaceStock,
	"KeyPackagesExpire":         testKeyPackagesExpire,
	"KeyPackagesAreOfTheDevice": testKeyPackagesAreOfTheDevice,
}

const keyPackageLifetime = 24 * time.Hour

func (s *suite) publication(device identity.DeviceID, packages ...string) relay.Publication {
	p := relay.Publication{Device: device, At: s.now, Expires: s.now.Add(keyPackageLifetime), MaxStock: 3}
	for _, b := range packages {
		p.KeyPackages = append(p.KeyPackages, []byte(b))
	}
	return p
}

// published wants a publication to leave so many in stock.
func (s *suite) published(p relay.Publication, stock int) {
	s.t.Helper()
	got, err := s.store.PublishKeyPackages(s.t.Context(), p)
	if err != nil || got != stock {
		s.t.Fatalf("%d in stock, %v; want %d", got, err, stock)
	}
	status, err := s.store.Status(s.t.Context(), p.Device, s.now)
	if err != nil || status.KeyPackages != stock {
		s.t.Fatalf("the status says %d in stock, %v; want %d", status.KeyPackages, err, stock)
	}
}

// claims wants a claim to give just these, a last resort with a * after it.
func (s *suite) claims(username identity.Username, want ...string) []relay.KeyPackage {
	s.t.Helper()
	claimed, err := s.store.ClaimKeyPackages(s.t.Context(), username, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	got := make([]string, len(claimed))
	for i, c := range claimed {
		got[i] = string(c.KeyPackage)
		if c.LastResort {
			got[i] += "*"
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Fatalf("claimed %q, want %q", got, want)
	}
	return claimed
}

func testClaim(t *testing.T, s *suite) {
	alice := s.device("alice")
	s.claims("alice")
	s.published(s.publication(alice, "one", "two"), 2)
	if claimed := s.claims("alice", "one"); claimed[0].Device != alice {
		t.Fatalf("it is of the device %v", claimed[0].Device)
	}
	s.reopen()
	s.published(s.publication(alice, "three"), 2)
	s.claims("alice", "two")
	s.claims("alice", "three")
	s.claims("alice")
}

func testClaimOfEveryDevice(t *testing.T, s *suite) {
	account := identity.GenerateAccountKey()
	var devices []identity.DeviceID
	for range 3 {
		r := s.registration(account, "alice")
		if err := s.store.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		devices = append(devices, r.Certificate.DeviceID)
	}
	s.published(s.publication(devices[2], "of three"), 1)
	s.published(s.publication(devices[0], "of one", "of one too"), 2)
	claimed := s.claims("alice", "of one", "of three")
	if claimed[0].Device != devices[0] || claimed[1].Device != devices[2] {
		t.Fatalf("they are of %v and %v", claimed[0].Device, claimed[1].Device)
	}
	s.claims("alice", "of one too")
}

func testClaimIsOnce(t *testing.T, s *suite) {
	const stock, claimers = 64, 8
	p := s.publication(s.device("alice"))
	p.MaxStock = stock
	for n := range stock {
		p.KeyPackages = append(p.KeyPackages, fmt.Append(nil, "key package ", n))
	}
	s.published(p, stock)
	var mu sync.Mutex
	seen := make(map[string]int)
	var claiming sync.WaitGroup
	for range claimers {
		claiming.Go(func() {
			for range stock / claimers {
				claimed, err := s.store.ClaimKeyPackages(t.Context(), "alice", s.now)
				if err != nil || len(claimed) != 1 {
					t.Errorf("claimed %d, %v", len(claimed), err)
					return
				}
				mu.Lock()
				seen[string(claimed[0].KeyPackage)]++
				mu.Unlock()
			}
		})
	}
	claiming.Wait()
	if len(seen) != stock {
		t.Fatalf("%d different ones of %d were handed out", len(seen), stock)
	}
}

func testClaimUnknown(t *testing.T, s *suite) {
	_, err := s.store.ClaimKeyPackages(t.Context(), "nobody", s.now)
	wantErr(t, err, relay.ErrUnknownAccount)
	_, err = s.store.PublishKeyPackages(t.Context(), s.publication(identity.NewDeviceID(), "x"))
	wantErr(t, err, relay.ErrUnknownDevice)
}

// testPublishAgain: a publication whose answer was lost is repeated, when one of it
// is claimed already.
func testPublishAgain(_ *testing.T, s *suite) {
	p := s.publication(s.device("alice"), "one", "two", "one")
	s.published(p, 2)
	s.claims("alice", "one")
	s.published(p, 1)
	s.reopen()
	s.published(p, 1)
	s.claims("alice", "two")
	s.claims("alice")
}

func testPublishTooMany(t *testing.T, s *suite) {
	alice := s.device("alice")
	s.published(s.publication(alice, "one", "two"), 2)
	over := s.publication(alice, "three", "four")
	over.LastResort = []byte("last")
	_, err := s.store.PublishKeyPackages(t.Context(), over)
	wantErr(t, err, relay.ErrTooManyKeyPackages)
	s.published(s.publication(alice, "two", "five"), 3) // a repeat does not count
	for _, want := range []string{"one", "two", "five"} {
		s.claims("alice", want)
	}
	s.claims("alice") // nothing of the refused one
}

func testLastResort(_ *testing.T, s *suite) {
	alice := s.device("alice")
	p := s.publication(alice, "one")
	p.LastResort = []byte("last")
	s.published(p, 1)
	s.claims("alice", "one")
	for range 2 {
		s.claims("alice", "last*")
		s.reopen()
	}
	s.published(s.publication(alice, "two"), 1) // keeps the last resort
	s.claims("alice", "two")
	s.claims("alice", "last*")
	p = s.publication(alice)
	p.LastResort = []byte("another")
	s.published(p, 0)
	s.claims("alice", "another*")
}

func testReplaceStock(_ *testing.T, s *suite) {
	alice := s.device("alice")
	s.published(s.publication(alice, "old", "older", "kept"), 3)
	p := s.publication(alice, "new", "kept")
	p.ReplaceStock = true
	s.published(p, 2)
	s.published(p, 2)                           // again, after a lost answer
	s.published(s.publication(alice, "old"), 2) // withdrawn for good
	s.claims("alice", "kept")
	s.claims("alice", "new")
	s.claims("alice")
}

func testKeyPackagesExpire(t *testing.T, s *suite) {
	alice := s.device("alice")
	p := s.publication(alice, "one")
	p.LastResort = []byte("last")
	s.published(p, 1)
	s.now = s.now.Add(keyPackageLifetime - time.Second)
	again := s.publication(alice, "one", "two")
	again.LastResort = []byte("last") // the same does not live longer
	s.published(again, 2)
	s.now = s.now.Add(time.Second)
	for _, want := range []int{2, 0} { // one of the stock, and the last resort
		if status, err := s.store.Status(t.Context(), alice, s.now); err != nil || status.KeyPackages != 1 {
			t.Fatalf("%d in stock, %v", status.KeyPackages, err)
		}
		if gone := s.expire(); gone.KeyPackages != want {
			t.Fatalf("%d key packages expired, want %d", gone.KeyPackages, want)
		}
	}
	s.claims("alice", "two")
	s.claims("alice")
}

func testKeyPackagesAreOfTheDevice(_ *testing.T, s *suite) {
	alice, bob := s.device("alice"), s.device("bob")
	same := strings.Repeat("x", 100)
	s.published(s.publication(alice, same), 1)
	s.published(s.publication(bob, same), 1)
	s.claims("alice", same)
	s.claims("alice")
	s.claims("bob", same)
}
