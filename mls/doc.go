// Package mls is the Messaging Layer Security protocol, RFC 9420: end-to-end
// encryption for groups of two to thousands, in which a stolen key opens neither
// what was sent before nor, once its victim has renewed its own, what is sent
// later.
//
// # The life of a group
//
// A [Client] takes part in the protocol. To make one, [NewClient] wants an
// [AuthenticationService], since only the application knows whom to believe: every
// credential of every other client is shown to it before it takes effect.
//
// So that others can add it to groups while it is away, a client publishes key
// packages ([Client.NewKeyPackage]). It keeps the private part of each until the
// Welcome comes.
//
// A group begins with one member ([Client.CreateGroup]). All changes to it are made
// by commits: [Group.Commit] adds and removes members and renews our own keys, in
// one message for the group and a Welcome for those who are new. A commit begins a
// new epoch, and only one can follow each epoch, so that somebody has to decide
// between two that are made at once: the delivery service. Until then ours is
// pending. [Group.MergePendingCommit] applies it when it was accepted;
// [Group.DiscardPendingCommit] drops it; and if the commit of somebody else was
// first, processing that drops ours.
//
// Others receive the commit by [Group.Process], which takes any message and
// returns one of three results. A [StagedCommit] is verified and says what it
// would do; [Group.Merge] does it. An [ApplicationMessage] is what somebody sent
// by [Group.Encrypt]. A [ReceivedProposal] asks for a change, and is kept for the
// next commit, whoever makes it.
//
// New members join by [Client.Join] with the Welcome, or without being added, by
// [Client.JoinExternal], if they have the group's GroupInfo.
//
// A commit without proposals renews the committer's keys. Let each member make one
// now and then: it is what heals the group after a member's state was stolen.
//
// # Saving
//
// A group is state that must not be lost nor go back: [Group.Save] hands out what
// changed, as records of a few hundred bytes to a few kilobytes, to be stored in
// one transaction together with what the application does. Save before a message
// that was encrypted leaves, and together with what a message that was opened
// brought. [Client.LoadGroup] reads it back. [Group.Marshal] gives the whole in
// one piece. Signature keys are not part of the state.
//
// # What it promises
//
// A method that returns an error leaves the group as it was: the next state is
// computed aside, and the one before is dropped once all is verified. A message
// that is refused does not use up its key. Nothing that was read from outside
// panics, and no length that it names is allocated before it is there.
//
// Messages may come late or out of order within bounds: [MaxForwardDistance],
// [MaxSkippedKeys] and [MaxPastEpochs]. Beyond them, Process says so by a
// [*ForwardDistanceError], by [ErrGenerationUsed] or by an [*EpochError]. A message
// that breaks a rule of the RFC gives a [*ValidationError] with the section that
// has the rule. VALIDATION.md lists them, each with the test that breaks it.
//
// Secrets are forgotten as soon as they are used (RFC 9420, Section 9.2), and
// overwritten where Go lets us: its runtime may have copied them, and those inside
// of crypto/hpke are out of our reach.
//
// # The code beside the RFC
//
// Files bear the names of what RFC 9420 defines in its sections:
//
//   - 2.1: syntax.go. 4: ratchet_tree.go, tree_math.go.
//   - 5: cipher_suite.go, crypto.go, signature.go, credential.go.
//   - 6: framing.go, public_message.go, private_message.go; process.go receives.
//   - 7: leaf_node.go, update_path.go, tree_hash.go, parent_hash.go.
//   - 8: key_schedule.go, transcript_hash.go, psk.go. 9: secret_tree.go.
//   - 10: key_package.go. 11: group.go, subgroup.go.
//   - 12.1: proposal.go, propose.go, external_proposal.go. 12.2: proposal_check.go,
//     proposal_select.go. 12.3: transition.go.
//   - 12.4: commit.go makes commits, commit_process.go takes them; welcome.go,
//     group_info.go, external_commit.go, tree_validation.go.
//   - 13: extension.go. 14: group_epoch.go. 15: application_message.go.
//   - What the RFC leaves to us: client.go holds the settings, errors.go the errors,
//     tree_index.go what makes the rules on all members cheap, state.go and
//     state_load.go the records, redact.go what keeps secrets out of logs.
//
// # What it leaves out
//
// The two cipher suites on Curve448, for which the standard library has no
// algorithms. Network, disk and clock: the package takes bytes and gives bytes.
// The order of commits, which is the delivery service's. Policy, such as who may
// add whom: look at a StagedCommit before merging it, and drop what you do not want;
// give a ReceivedProposal that you do not want to [Group.DropProposal].
//
// [Group] is not safe for concurrent use; [Client] is.
package mls
