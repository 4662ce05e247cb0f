package malice

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"

	"sealpost/api"
)

// The attacks on what devices submit, on what they are told of it, and on what the
// relay says it remembers.
const (
	// GhostMember puts the device that [Relay.Aim] names on the delivery list of
	// every group whose members change.
	GhostMember Attack = "ghost-member"
	// SilentExclusion takes it off the list.
	SilentExclusion Attack = "silent-exclusion"
	// RollBack: a new line delivers again everything that the device has had, under
	// the old numbers, as a relay does that was put back to a backup.
	RollBack Attack = "roll-back"
	// FalseHello: the relay says that the device acknowledged more than it did.
	FalseHello Attack = "false-hello"
)

// submitted listens to a submit, and changes it.
func (r *Relay) submitted(l *line, submit *api.Submit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.submitted = append(l.submitted, submit)
	commit := submit.GetCommit()
	if commit == nil {
		return
	}
	id, err := hex.DecodeString(strings.TrimPrefix(r.aim, "id:"))
	if err != nil {
		return
	}
	at, listed := slices.BinarySearchFunc(commit.Members, id, bytes.Compare)
	switch {
	case r.on[GhostMember] && !listed:
		r.counts[GhostMember]++
		commit.Members = slices.Insert(commit.Members, at, id)
	case r.on[SilentExclusion] && listed:
		r.counts[SilentExclusion]++
		commit.Members = slices.Delete(commit.Members, at, at+1)
		commit.Welcomed = slices.DeleteFunc(commit.Welcomed, func(w []byte) bool { return bytes.Equal(w, id) })
		if len(commit.Welcomed) == 0 {
			commit.Welcome = nil
		}
	}
}

// answer changes what a device is told about a submit.
func (r *Relay) answer(l *line, frame *api.ServerFrame) *api.ServerFrame {
	r.mu.Lock()
	defer r.mu.Unlock()
	rejected := frame.GetRejected()
	if rejected == nil || !r.on[Fork] || rejected.GetReason() != api.Reason_REASON_STALE_EPOCH {
		return frame
	}
	for _, submit := range l.submitted {
		if bytes.Equal(submit.GetId(), rejected.GetId()) && submit.GetCommit() != nil {
			r.counts[Fork]++
			r.seconds = append(r.seconds, submit)
			return &api.ServerFrame{Frame: &api.ServerFrame_Accepted{Accepted: &api.Accepted{Id: rejected.GetId()}}}
		}
	}
	return frame
}
