package mls

import (
	"fmt"
	"slices"
)

// MergePendingCommit applies our pending commit, once the delivery service accepted
// it (RFC 9420, Section 14).
func (g *Group) MergePendingCommit() error {
	if g.pending == nil {
		return fmt.Errorf("%w: there is none", ErrPendingCommit)
	}
	g.advance(g.pending.next)
	return nil
}

// DiscardPendingCommit drops our pending commit (RFC 9420, Section 14). Do that only
// if it was not sent, or is certain not to be accepted.
func (g *Group) DiscardPendingCommit() {
	if g.pending != nil {
		g.pending.next.wipe()
		g.pending = nil
	}
}

// Merge applies a commit that Process returned (RFC 9420, Section 12.4.2). A pending
// commit of our own, which has lost the race, is dropped.
func (g *Group) Merge(s *StagedCommit) error {
	if s.base != g.epoch || g.status != groupActive {
		return ErrStagedCommit
	}
	if s.own && (g.pending == nil || g.pending.next != s.next) {
		return ErrStagedCommit
	}
	if s.use != nil {
		// The key may be gone since, if another message took the ratchet on.
		if use, err := g.epoch.messages.find(s.use.sender, s.use.kind, s.use.generation); err == nil {
			g.epoch.messages.consume(use)
		}
	}
	if s.next.removed {
		g.leave()
		return nil
	}
	g.advance(s.next)
	return nil
}

// leave forgets all keys of a group that we were removed from (RFC 9420,
// Section 12.4.2). What it was stays known.
func (g *Group) leave() {
	g.DiscardPendingCommit()
	g.forget(len(g.past))
	g.saved.deletions = append(g.saved.deletions, g.epoch.messages.keys(g.epoch.context.Epoch)...)
	g.epoch.messages.wipe()
	g.epoch.secrets.wipe()
	g.private.wipe(&privateTree{})
	clear(g.private.keys)
	g.proposals = nil
	g.status = groupRemoved
}

// advance begins the next epoch.
func (g *Group) advance(next *nextState) {
	if g.pending != nil && g.pending.next != next {
		g.pending.next.wipe()
	}
	old := g.epoch
	old.secrets.retire()
	g.past = append(slices.Clone(g.past), old)
	g.forget(len(g.past) - MaxPastEpochs)

	g.private.wipe(next.private)
	next.index.merge()
	g.epoch, g.index, g.private, g.signer = next.epoch, next.index, next.private, next.signer
	g.interim, g.tag = next.interim, next.tag
	g.proposals, g.pending = nil, nil
	if next.reInit != nil {
		g.status, g.reInit = groupReinitialised, next.reInit
	}
}

// wipe forgets all secrets.
func (e *epochSecrets) wipe() {
	for _, f := range e.fields() {
		clear(*f)
		*f = nil
	}
	e.senderDataExpander = nil
}

// retire forgets the secrets that a past epoch does not need (RFC 9420,
// Section 9.2). Slices handed to nobody else are zeroed.
func (e *epochSecrets) retire() {
	for _, f := range e.fields() {
		if f != &e.senderDataSecret && f != &e.resumptionPSK {
			clear(*f)
			*f = nil
		}
	}
}

// forget drops the n oldest past epochs.
func (g *Group) forget(n int) {
	for range n {
		old := g.past[0]
		g.saved.deletions = append(g.saved.deletions, old.messages.keys(old.context.Epoch)...)
		g.saved.deletions = append(g.saved.deletions, recordKey(recordEpoch, old.context.Epoch))
		old.messages.wipe()
		old.secrets.wipe()
		g.past = g.past[1:]
	}
}

// ForgetPastEpochs drops what is kept to open late messages of epochs before the
// given one, and their resumption PSKs (RFC 9420, Section 9.2). [MaxPastEpochs] are
// kept at most; an application calls this to keep them for a limited time, too.
func (g *Group) ForgetPastEpochs(before uint64) {
	n := 0
	for n < len(g.past) && g.past[n].context.Epoch < before {
		n++
	}
	g.forget(n)
}

// epochAt returns the current epoch or one of the past ones that are kept.
func (g *Group) epochAt(n uint64) *epochState {
	if n == g.Epoch() {
		return g.epoch
	}
	for _, e := range g.past {
		if e.context.Epoch == n {
			return e
		}
	}
	return nil
}
