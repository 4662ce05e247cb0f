package mls_test

import (
	"errors"
	"fmt"
	"log"
	"maps"

	"sealpost/mls"
)

// believe stands for the application's directory, which knows the key of each
// user.
func believe(directory map[string]string) mls.AuthenticationService {
	return mls.AuthenticationFunc(func(c mls.CredentialCheck) error {
		name := string(c.Credential.Identity)
		if directory[name] != string(c.SignatureKey) {
			return errors.New("not the key of " + name)
		}
		return nil
	})
}

func newIdentity(directory map[string]string, name string) mls.Identity {
	signer, err := mls.DefaultCipherSuite.GenerateSignatureKey()
	check(err)
	key, err := mls.DefaultCipherSuite.SignaturePublicKey(signer)
	check(err)
	directory[name] = string(key)
	return mls.Identity{Credential: mls.BasicCredential([]byte(name)), Signer: signer}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Alice adds Bob to a group, and they talk.
func Example() {
	directory := make(map[string]string)
	client, err := mls.NewClient(believe(directory), mls.Config{})
	check(err)

	// Bob publishes a key package.
	bob := newIdentity(directory, "bob")
	bobsKeys, err := client.NewKeyPackage(mls.DefaultCipherSuite, bob, mls.KeyPackageOptions{})
	check(err)
	published := bobsKeys.KeyPackage.Message()

	// Alice creates a group and adds him.
	alice := newIdentity(directory, "alice")
	alicesGroup, err := client.CreateGroup(mls.DefaultCipherSuite, alice, mls.GroupOptions{})
	check(err)
	keyPackage, err := mls.ParseKeyPackage(published)
	check(err)
	commit, err := alicesGroup.Commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Add{KeyPackage: keyPackage}}})
	check(err)
	check(alicesGroup.MergePendingCommit()) // nobody else is there who could object

	// Bob joins.
	bobsGroup, _, err := client.Join(commit.Welcome, []*mls.PrivateKeyPackage{bobsKeys}, bob.Signer, mls.JoinOptions{})
	check(err)

	message, err := alicesGroup.Encrypt([]byte("hello, Bob"), nil)
	check(err)
	received, err := bobsGroup.Process(message)
	check(err)
	m := received.(*mls.ApplicationMessage)
	fmt.Printf("%s: %s\n", m.Sender.Credential.Identity, m.Data)
	// Output:
	// alice: hello, Bob
}

// A group of three removes one, who can no longer follow.
func Example_removal() {
	directory := make(map[string]string)
	client, err := mls.NewClient(believe(directory), mls.Config{})
	check(err)

	alice := newIdentity(directory, "alice")
	alicesGroup, err := client.CreateGroup(mls.DefaultCipherSuite, alice, mls.GroupOptions{})
	check(err)
	groups := map[string]*mls.Group{"alice": alicesGroup}
	var adds []mls.Proposal
	keys := make(map[string]*mls.PrivateKeyPackage)
	identities := make(map[string]mls.Identity)
	for _, name := range []string{"bob", "mallory"} {
		identities[name] = newIdentity(directory, name)
		keys[name], err = client.NewKeyPackage(mls.DefaultCipherSuite, identities[name], mls.KeyPackageOptions{})
		check(err)
		adds = append(adds, &mls.Add{KeyPackage: keys[name].KeyPackage})
	}
	commit, err := alicesGroup.Commit(mls.CommitOptions{Proposals: adds})
	check(err)
	check(alicesGroup.MergePendingCommit())
	for name, k := range keys {
		groups[name], _, err = client.Join(commit.Welcome, []*mls.PrivateKeyPackage{k}, identities[name].Signer, mls.JoinOptions{})
		check(err)
	}

	// Bob removes Mallory. The delivery service accepts his commit and brings it to
	// everybody, himself included.
	commit, err = groups["bob"].Commit(mls.CommitOptions{Proposals: []mls.Proposal{&mls.Remove{Removed: groups["mallory"].OwnIndex()}}})
	check(err)
	for _, name := range []string{"alice", "bob", "mallory"} {
		received, err := groups[name].Process(commit.Commit)
		check(err)
		staged := received.(*mls.StagedCommit)
		for _, m := range staged.Removed {
			fmt.Printf("%s sees that %s is removed\n", name, m.Credential.Identity)
		}
		check(groups[name].Merge(staged))
	}

	message, err := alicesGroup.Encrypt([]byte("now we can talk"), nil)
	check(err)
	_, err = groups["mallory"].Process(message)
	fmt.Println(err)
	// Output:
	// alice sees that mallory is removed
	// bob sees that mallory is removed
	// mallory sees that mallory is removed
	// mls: group is no longer active
}

// A group is saved after each change, and loaded after a restart.
func Example_saveAndLoad() {
	directory := make(map[string]string)
	client, err := mls.NewClient(believe(directory), mls.Config{})
	check(err)
	alice := newIdentity(directory, "alice")
	group, err := client.CreateGroup(mls.DefaultCipherSuite, alice, mls.GroupOptions{})
	check(err)

	// The store would be a table of a database, and save a transaction.
	store := make(map[string]string)
	save := func(records []mls.Record) error {
		for _, r := range records {
			if r.Value == nil {
				delete(store, string(r.Key))
			} else {
				store[string(r.Key)] = string(r.Value)
			}
		}
		return nil
	}
	check(group.Save(save))

	_, err = group.Encrypt([]byte("note to self"), nil)
	check(err)
	check(group.Save(save)) // before the message leaves

	records := func(yield func(key, value []byte) bool) {
		for k, v := range maps.All(store) {
			if !yield([]byte(k), []byte(v)) {
				return
			}
		}
	}
	loaded, err := client.LoadGroup(records, alice.Signer)
	check(err)
	fmt.Println(loaded.Epoch() == group.Epoch(), loaded.Size())
	// Output:
	// true 1
}
