package malice

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"sealpost/api"
)

// The attacks on what the directory answers. All are about the account that
// [Relay.Victim] names.
const (
	// SwapKey (A2): Lookup answers with a device of the enemy's own making under
	// the victim's name.
	SwapKey Attack = "A2"
	// GhostDevice (A3): Lookup adds such a device to the genuine ones.
	GhostDevice Attack = "A3"
	// WrongAccount (A15): Lookup answers with the genuine record of another account.
	WrongAccount Attack = "A15"
	// GhostKeyPackage (A3): a claim gets a key package of the enemy's beside the
	// genuine ones.
	GhostKeyPackage Attack = "A3-key-package"
	// SwapKeyPackage (B4): a claim gets a key package of the enemy's instead.
	SwapKeyPackage Attack = "B4"
	// BreakKeyPackage (B4): one bit of a genuine key package changes.
	BreakKeyPackage Attack = "B4-signature"
	// HandOutTwice: every claim gets what the first one got.
	HandOutTwice Attack = "hand-out-twice"
)

// Victim sets whose directory entry changes, and for Lookup the encoded device
// records that take part in it.
func (r *Relay) Victim(username string, records ...[]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.victim, r.records = username, records
}

// KeyPackages sets the key packages that GhostKeyPackage and SwapKeyPackage use.
func (r *Relay) KeyPackages(packages ...*api.ClaimedKeyPackage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keyPackages = packages
}

// lookup changes the directory's answer about the victim.
func (r *Relay) lookup(request *api.LookupRequest, response *api.LookupResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.GetUsername() != r.victim {
		return
	}
	switch {
	case r.on[SwapKey]:
		r.counts[SwapKey]++
		response.DeviceRecords = slices.Clone(r.records)
	case r.on[WrongAccount]:
		r.counts[WrongAccount]++
		response.DeviceRecords = slices.Clone(r.records)
	case r.on[GhostDevice]:
		r.counts[GhostDevice]++
		response.DeviceRecords = append(response.DeviceRecords, r.records...)
	}
}

// claim changes what a claim of the victim's key packages gets.
func (r *Relay) claim(request *api.ClaimKeyPackagesRequest, response *api.ClaimKeyPackagesResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.GetUsername() != r.victim {
		return
	}
	switch {
	case r.on[GhostKeyPackage]:
		r.counts[GhostKeyPackage]++
		response.KeyPackages = append(response.KeyPackages, r.keyPackages...)
	case r.on[SwapKeyPackage]:
		r.counts[SwapKeyPackage]++
		response.KeyPackages = slices.Clone(r.keyPackages)
	case r.on[BreakKeyPackage]:
		for _, k := range response.KeyPackages {
			r.counts[BreakKeyPackage]++
			k.KeyPackage = bytes.Clone(k.KeyPackage)
			k.KeyPackage[len(k.KeyPackage)-1] ^= 1
		}
	case r.on[HandOutTwice]:
		if r.firstClaim == nil {
			r.firstClaim = proto.CloneOf(response)
			return
		}
		r.counts[HandOutTwice]++
		response.KeyPackages = proto.CloneOf(r.firstClaim).GetKeyPackages()
	}
}
