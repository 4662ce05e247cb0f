package mls

import "bytes"

// A CommittedProposal is a proposal that a commit covers, and who sent it (RFC 9420,
// Section 12.4).
type CommittedProposal struct {
	Proposal Proposal
	Sender   Sender

	ref    []byte          // if committed by reference
	stored *storedProposal // likewise
}

// A storedProposal waits for a commit that refers to it.
type storedProposal struct {
	ref      []byte
	proposal Proposal
	sender   Sender
	leafKey  *keyPair // of our own Update
	number   uint64   // grows from each proposal of an epoch to the next
	size     int      // of the encoded proposal, in bytes
}

// checkProposal applies the rules for a single proposal (RFC 9420, Section 12.1),
// but for those that only the whole list decides.
func (c *Client) checkProposal(e *epochState, p Proposal, sender Sender) error {
	if err := checkProposalSender(p, sender); err != nil {
		return err
	}
	s, groupID := e.tree.suite, e.context.GroupID
	switch p := p.(type) {
	case *Add:
		return c.checkKeyPackage(p.KeyPackage, s, groupID)
	case *Update:
		return c.checkUpdate(e, p.LeafNode, sender.LeafIndex)
	case *Remove:
		if e.tree.leaf(p.Removed) == nil {
			return invalid("12.1.3", "Remove of a blank leaf")
		}
	case *PreSharedKey:
		if len(p.PSK.PSKNonce) != s.nh {
			return invalid("12.1.4", "PSK nonce of a wrong length")
		}
	case *ReInit:
		if p.Version < e.context.Version {
			return invalid("12.1.5", "ReInit to a lower protocol version")
		}
		return checkExtensions(p.Extensions, inGroupContext)
	case *GroupContextExtensions:
		return c.checkGroupExtensions(groupID, p.Extensions)
	}
	return nil
}

// checkProposalSender applies the rules about who may send a proposal (RFC 9420,
// Sections 6.1, 12.1.8 and 12.2).
func checkProposalSender(p Proposal, sender Sender) error {
	t := p.ProposalType()
	switch sender.SenderType {
	case SenderTypeMember:
		if t == ProposalTypeExternalInit {
			return invalid("12.1.6", "ExternalInit outside of an external commit")
		}
	case SenderTypeExternal:
		if !t.allowedExternally() {
			return invalid("12.1.8", "proposal type 0x%04X from an external sender", uint16(t))
		}
	}
	return nil
}

// checkUpdate checks the leaf of an Update (RFC 9420, Section 7.3).
func (c *Client) checkUpdate(e *epochState, leaf *LeafNode, sender LeafIndex) error {
	if leaf.LeafNodeSource != LeafNodeSourceUpdate {
		return invalid("7.3", "leaf node in an Update has another source")
	}
	old := e.tree.leaf(sender) // not blank, since it has sent the Update
	if bytes.Equal(old.EncryptionKey, leaf.EncryptionKey) {
		return invalid("7.3", "Update keeps the encryption key")
	}
	if err := leaf.checkAlone(e.tree.suite); err != nil {
		return err
	}
	if err := leaf.verify(e.tree.suite, e.context.GroupID, sender); err != nil {
		return err
	}
	return c.authenticate(leaf.credentialCheck(e.context.GroupID, CredentialInUpdate, old))
}

// checkGroupExtensions checks the form of a GroupContext's extensions, and that
// the application knows the external senders.
func (c *Client) checkGroupExtensions(groupID []byte, extensions []Extension) error {
	if err := checkExtensions(extensions, inGroupContext); err != nil {
		return err
	}
	senders, err := externalSenders(extensions)
	if err != nil {
		return err
	}
	for _, sender := range senders {
		err := c.authenticate(CredentialCheck{
			GroupID: groupID, Use: CredentialOfExternalSender,
			Credential: sender.Credential, SignatureKey: sender.SignatureKey,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkList applies the rules for the list of proposals of a commit that is not
// external (RFC 9420, Section 12.2).
func (t *transition) checkList(list []CommittedProposal, committer LeafIndex) error {
	touched := make(map[LeafIndex]bool)
	psks := make(map[string]bool)
	extensions := 0
	for _, p := range list {
		switch q := p.Proposal.(type) {
		case *Update:
			if p.Sender.isMember(committer) {
				return invalid("12.2", "Update of the committer")
			}
			if touched[p.Sender.LeafIndex] {
				return invalid("12.2", "two Updates or Removes for leaf %d", p.Sender.LeafIndex)
			}
			touched[p.Sender.LeafIndex] = true
		case *Remove:
			if q.Removed == committer {
				return invalid("12.2", "Remove of the committer")
			}
			if touched[q.Removed] {
				return invalid("12.2", "two Updates or Removes for leaf %d", q.Removed)
			}
			touched[q.Removed] = true
		case *PreSharedKey:
			if err := t.checkPSK(q.PSK, psks); err != nil {
				return err
			}
		case *GroupContextExtensions:
			if extensions++; extensions > 1 {
				return invalid("12.2", "two GroupContextExtensions proposals")
			}
		case *ReInit:
			if len(list) > 1 {
				return invalid("12.2", "ReInit together with another proposal")
			}
		case *ExternalInit:
			return invalid("12.2", "ExternalInit outside of an external commit")
		}
	}
	return nil
}

// checkPSK refuses a PSK that stands in the list already (RFC 9420, Section 12.2),
// which seen remembers, and the resumption PSKs that only the creation of a group
// may use (Section 12.1.4).
func (t *transition) checkPSK(id PreSharedKeyID, seen map[string]bool) error {
	if seen[id.name()] {
		return invalid("12.2", "two PreSharedKey proposals for one PreSharedKeyID")
	}
	seen[id.name()] = true
	if id.PSKType == PSKTypeResumption && id.Usage != ResumptionPSKUsageApplication && id.Usage != t.creationUsage {
		return invalid("12.1.4", "resumption PSK for a reinitialisation or branch")
	}
	return nil
}

// checkExternalList applies the rules for the list of proposals of an external
// commit (RFC 9420, Section 12.2).
func (t *transition) checkExternalList(list []CommittedProposal) error {
	inits, removes := 0, 0
	psks := make(map[string]bool)
	for _, p := range list {
		if p.ref != nil {
			return invalid("12.4.3.2", "external commit with a proposal by reference")
		}
		switch q := p.Proposal.(type) {
		case *ExternalInit:
			inits++
		case *Remove:
			removes++
		case *PreSharedKey:
			if err := t.checkPSK(q.PSK, psks); err != nil {
				return err
			}
		default:
			return invalid("12.2", "external commit with a proposal of type 0x%04X", uint16(p.Proposal.ProposalType()))
		}
	}
	if inits != 1 {
		return invalid("12.2", "external commit with %d ExternalInit proposals", inits)
	}
	if removes > 1 {
		return invalid("12.2", "external commit with %d Remove proposals", removes)
	}
	return nil
}
