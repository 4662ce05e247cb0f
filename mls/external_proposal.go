package mls

import (
	"crypto"
	"fmt"
)

// A GroupAddress says where a proposal from outside of a group is meant for (RFC
// 9420, Section 12.1.8).
type GroupAddress struct {
	CipherSuite CipherSuite
	GroupID     []byte
	Epoch       uint64 // the group's current epoch
}

// ProposeExternally makes a proposal as one of the senders that a group's
// external_senders extension lists, at the place senderIndex (RFC 9420,
// Section 12.1.8).
func (c *Client) ProposeExternally(to GroupAddress, senderIndex uint32, signer crypto.Signer, p Proposal) ([]byte, error) {
	sender := Sender{SenderType: SenderTypeExternal, SenderIndex: senderIndex}
	return c.proposeFromOutside(to, sender, signer, p)
}

// ProposeJoin makes a proposal to be added oneself (RFC 9420, Section 12.1.8). The
// members decide whether to commit it.
func (c *Client) ProposeJoin(to GroupAddress, k *KeyPackage, signer crypto.Signer) ([]byte, error) {
	return c.proposeFromOutside(to, Sender{SenderType: SenderTypeNewMemberProposal}, signer, &Add{k})
}

func (c *Client) proposeFromOutside(to GroupAddress, sender Sender, signer crypto.Signer, p Proposal) ([]byte, error) {
	s, err := to.CipherSuite.suite()
	if err != nil {
		return nil, err
	}
	if err := checkProposalSender(p, sender); err != nil {
		return nil, err
	}
	if psk, ok := p.(*PreSharedKey); ok && len(psk.PSK.PSKNonce) == 0 {
		filled := *psk
		if filled.PSK.PSKNonce, err = c.random(s.nh); err != nil {
			return nil, err
		}
		p = &filled
	}
	a := &authenticatedContent{
		wireFormat: WireFormatPublicMessage,
		content: framedContent{
			groupID: to.GroupID,
			epoch:   to.Epoch,
			sender:  sender,
			content: content{contentType: ContentTypeProposal, proposal: p},
		},
	}
	if err := a.sign(s, signer, nil); err != nil {
		return nil, fmt.Errorf("making proposal: %w", err)
	}
	return a.protectPublic(s, nil, nil), nil
}
