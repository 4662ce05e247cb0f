package mls

// An ApplicationMessage is data from another member (RFC 9420, Section 15). Where
// the Epoch is a past one, its sender can have been removed since: whoever left can
// go on to send in that epoch, for as long as the group keeps it (see
// [Group.ForgetPastEpochs]).
type ApplicationMessage struct {
	Sender            Member // as it was in the epoch of the message
	Epoch             uint64
	Generation        uint32 // counts the sender's messages of the epoch
	Data              []byte
	AuthenticatedData []byte
}

// Encrypt seals application data for the group (RFC 9420, Section 6.3). The
// authenticated data is sent along in the open, and signed.
//
// Save the group before the message leaves: the key of a message that is sent
// twice with different content would give both away.
func (g *Group) Encrypt(data, authenticatedData []byte) ([]byte, error) {
	if err := g.checkActive(); err != nil {
		return nil, err
	}
	if len(g.proposals) > 0 {
		return nil, ErrProposalsPending
	}
	if len(data) > maxVectorLength/2 || len(authenticatedData) > maxVectorLength/2 {
		return nil, ErrTooLarge
	}
	a := g.newContent(content{contentType: ContentTypeApplication, applicationData: data}, authenticatedData)
	a.wireFormat = WireFormatPrivateMessage
	if err := a.sign(g.suite, g.signer, g.epoch.contextBytes); err != nil {
		return nil, err
	}
	return g.encrypt(a)
}
