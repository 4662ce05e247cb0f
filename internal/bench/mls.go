package bench

import (
	"errors"
	"fmt"

	"sealpost/mls"
)

// A sealing is an MLS group of the two devices of a pair, of which one seals and
// the other opens. Nil leaves payloads as they are.
type sealing struct{ sender, receiver *mls.Group }

// newSealing makes two devices and their group as messengers do, with the suite
// that they use by default; only the relay does not carry the handshake.
func newSealing() (*sealing, error) {
	client, err := mls.NewClient(mls.AuthenticationFunc(func(mls.CredentialCheck) error { return nil }), mls.Config{})
	if err != nil {
		return nil, err
	}
	var devices [2]mls.Identity
	for i, name := range []string{"sender", "receiver"} {
		signer, err := mls.DefaultCipherSuite.GenerateSignatureKey()
		if err != nil {
			return nil, err
		}
		devices[i] = mls.Identity{Credential: mls.BasicCredential([]byte(name)), Signer: signer}
	}
	keys, err := client.NewKeyPackage(mls.DefaultCipherSuite, devices[1], mls.KeyPackageOptions{})
	if err != nil {
		return nil, err
	}
	sender, err := client.CreateGroup(mls.DefaultCipherSuite, devices[0], mls.GroupOptions{})
	if err != nil {
		return nil, err
	}
	commit, err := sender.Commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Add{KeyPackage: keys.KeyPackage}}})
	if err != nil {
		return nil, err
	}
	if err := sender.MergePendingCommit(); err != nil {
		return nil, err
	}
	receiver, _, err := client.Join(commit.Welcome, []*mls.PrivateKeyPackage{keys}, devices[1].Signer, mls.JoinOptions{})
	return &sealing{sender, receiver}, err
}

// seal makes a payload.
func (s *sealing) seal(text []byte) ([]byte, error) {
	if s == nil {
		return text, nil
	}
	return s.sender.Encrypt(text, nil)
}

// open undoes seal, in the same order.
func (s *sealing) open(payload []byte) ([]byte, error) {
	if s == nil {
		return payload, nil
	}
	received, err := s.receiver.Process(payload)
	if err != nil {
		return nil, fmt.Errorf("opening a message: %w", err)
	}
	message, ok := received.(*mls.ApplicationMessage)
	if !ok {
		return nil, errors.New("opening a message: it is of another kind")
	}
	return message.Data, nil
}
