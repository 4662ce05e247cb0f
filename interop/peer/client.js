// A Client is one member, or member to be, of one group.
import {
  acceptAll,
  branchGroup,
  createApplicationMessage,
  createCommit,
  createGroup,
  createGroupInfoWithExternalPub,
  createGroupInfoWithExternalPubAndRatchetTree,
  createProposal,
  decodeMlsMessage,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  joinGroup,
  joinGroupExternal,
  makePskIndex,
  mlsExporter,
  processPrivateMessage,
  processPublicMessage,
  proposeAddExternal,
  proposeExternal,
  reinitCreateNewGroup,
} from "ts-mls";
import { defaultClientConfig } from "ts-mls/clientConfig.js";
import { encodeRatchetTree, decodeRatchetTree } from "ts-mls/ratchetTree.js";
import { extensionTypeName } from "./repairs.js";
import { signLeafNodeCommit } from "ts-mls/leafNode.js";
import { leafToNodeIndex } from "ts-mls/treemath.js";
import { cipherSuite } from "./suites.js";

const hour = 3600n;
const maximumTotalLifetime = 28n * 24n * hour;
const clientConfig = {
  ...defaultClientConfig,
  lifetimeConfig: { maximumTotalLifetime, validateLifetimeOnReceive: true },
};

// Extension type 0xf0f0 is for private use; the rest that ts-mls does not know are GREASE
// values (RFC 9420 section 13.5), to be ignored by the other side.
function capabilities(cs) {
  return {
    versions: ["mls10"],
    ciphersuites: ["2570", cs.name],
    extensions: [0x1a1a, 0xf0f0],
    proposals: [0x2a2a],
    credentials: ["basic", "14906"],
  };
}

function lifetime() {
  const now = BigInt(Math.floor(Date.now() / 1000));
  return { notBefore: now - hour, notAfter: now - hour + maximumTotalLifetime };
}

function decode(message, wireformat) {
  const decoded = decodeMlsMessage(message, 0);
  if (decoded === undefined || decoded[1] !== message.length) throw new Error("not an MLSMessage");
  if (wireformat !== undefined && decoded[0].wireformat !== wireformat) {
    throw new Error(`got an ${decoded[0].wireformat}, want an ${wireformat}`);
  }
  return decoded[0];
}

export class Client {
  static async create(suite, identity) {
    const client = new Client();
    client.cs = await cipherSuite(suite);
    client.identity = identity;
    client.signatureKeys = await client.cs.signature.keygen();
    client.psks = {};
    return client;
  }

  // successor returns a client of the same person, for a group that continues this one
  // or branches off it.
  async successor(suite) {
    const client = await Client.create(suite, this.identity);
    if (client.cs.name === this.cs.name) client.signatureKeys = this.signatureKeys;
    client.parent = this.state;
    return client;
  }

  // openGroup begins such a group with the others, and returns their Welcome.
  async openGroup(groupId, messages) {
    await this.keyPackage();
    const { publicPackage, privatePackage } = this.keys;
    const others = messages.map((message) => decode(message, "mls_key_package").keyPackage);
    const { reinit } = this.parent.groupActiveState;
    const { newState, welcome } = reinit
      ? await reinitCreateNewGroup(
          this.parent,
          publicPackage,
          privatePackage,
          others,
          reinit.groupId,
          reinit.cipherSuite,
          reinit.extensions,
          { getCiphersuiteImpl: async () => this.cs },
        )
      : await branchGroup(this.parent, publicPackage, privatePackage, others, groupId, this.cs);
    this.enter({ ...newState, clientConfig });
    return encodeMlsMessage({ version: "mls10", wireformat: "mls_welcome", welcome });
  }

  // keyPackage makes a fresh KeyPackage and remembers it as the one to join with.
  async keyPackage() {
    const credential = { credentialType: "basic", identity: this.identity };
    this.keys = await generateKeyPackageWithKey(
      credential,
      capabilities(this.cs),
      lifetime(),
      [],
      this.signatureKeys,
      this.cs,
    );
    return encodeMlsMessage({
      version: "mls10",
      wireformat: "mls_key_package",
      keyPackage: this.keys.publicPackage,
    });
  }

  enter(state) {
    this.state = state;
    this.pending = undefined;
    this.updateKeys = new Map(); // own Update proposals of this epoch: public key → private key
  }

  async createGroup(groupId) {
    await this.keyPackage();
    const { publicPackage, privatePackage } = this.keys;
    this.enter(await createGroup(groupId, publicPackage, privatePackage, [], this.cs, clientConfig));
  }

  async join(message, tree) {
    const { welcome } = decode(message, "mls_welcome");
    const { publicPackage, privatePackage } = this.keys;
    const ratchetTree = tree === undefined ? undefined : decodeRatchetTree(tree, 0)[0];
    this.enter(
      await joinGroup(
        welcome,
        publicPackage,
        privatePackage,
        makePskIndex(this.parent, this.psks),
        this.cs,
        ratchetTree,
        this.parent,
        clientConfig,
      ),
    );
  }

  // joinExternal returns the commit; merge() enters the group.
  async joinExternal(message, tree, resync) {
    const { groupInfo } = decode(message, "mls_group_info");
    await this.keyPackage();
    const { publicPackage, privatePackage } = this.keys;
    const ratchetTree = tree === undefined ? undefined : decodeRatchetTree(tree, 0)[0];
    const { publicMessage, newState } = await joinGroupExternal(
      groupInfo,
      publicPackage,
      privatePackage,
      resync,
      this.cs,
      ratchetTree,
      clientConfig,
    );
    this.pending = newState;
    return encodeMlsMessage({ version: "mls10", wireformat: "mls_public_message", publicMessage });
  }

  // proposeJoin asks, from outside, to be added.
  async proposeJoin(message) {
    const { groupInfo } = decode(message, "mls_group_info");
    await this.keyPackage();
    const { publicPackage, privatePackage } = this.keys;
    return encodeMlsMessage(await proposeAddExternal(groupInfo, publicPackage, privatePackage, this.cs));
  }

  // proposeFromOutside speaks as one of the group's external senders.
  async proposeFromOutside(message, spec) {
    const { groupInfo } = decode(message, "mls_group_info");
    const { publicKey, signKey } = this.signatureKeys;
    return encodeMlsMessage(await proposeExternal(groupInfo, await this.proposal(spec), publicKey, signKey, this.cs));
  }

  async groupInfo(withTree) {
    const make = withTree ? createGroupInfoWithExternalPubAndRatchetTree : createGroupInfoWithExternalPub;
    const groupInfo = await make(this.state, [], this.cs);
    return encodeMlsMessage({ version: "mls10", wireformat: "mls_group_info", groupInfo });
  }

  async proposal(spec) {
    switch (spec.type) {
      case "add":
        return { proposalType: "add", add: { keyPackage: decode(spec.keyPackage, "mls_key_package").keyPackage } };
      case "remove":
        return { proposalType: "remove", remove: { removed: spec.leaf } };
      case "psk":
        return {
          proposalType: "psk",
          psk: {
            preSharedKeyId: {
              psktype: "external",
              pskId: spec.pskId,
              pskNonce: this.cs.rng.randomBytes(this.cs.kdf.size),
            },
          },
        };
      case "extensions":
        return {
          proposalType: "group_context_extensions",
          groupContextExtensions: {
            extensions: [{ extensionType: extensionTypeName(spec.extension), extensionData: spec.data }],
          },
        };
      case "reinit": {
        const { name } = await cipherSuite(spec.suite);
        return {
          proposalType: "reinit",
          reinit: { groupId: spec.data, version: "mls10", cipherSuite: name, extensions: [] },
        };
      }
      case "update":
        return { proposalType: "update", update: { leafNode: await this.updatedLeaf() } };
      default:
        throw new Error(`no proposal type ${spec.type}`);
    }
  }

  // ts-mls takes Update proposals but does not make them.
  async updatedLeaf() {
    const { leafIndex } = this.state.privatePath;
    const { leaf } = this.state.ratchetTree[leafToNodeIndex(leafIndex)];
    const keys = await this.cs.hpke.generateKeyPair();
    const hpkePublicKey = await this.cs.hpke.exportPublicKey(keys.publicKey);
    this.updateKeys.set(
      Buffer.from(hpkePublicKey).toString("base64"),
      await this.cs.hpke.exportPrivateKey(keys.privateKey),
    );
    return signLeafNodeCommit(
      {
        leafNodeSource: "update",
        hpkePublicKey,
        signaturePublicKey: leaf.signaturePublicKey,
        credential: leaf.credential,
        capabilities: leaf.capabilities,
        extensions: leaf.extensions,
        groupId: this.state.groupContext.groupId,
        leafIndex,
      },
      this.state.signaturePrivateKey,
      this.cs.signature,
    );
  }

  async propose(spec, asPublic) {
    const { newState, message } = await createProposal(this.state, asPublic, await this.proposal(spec), this.cs);
    this.state = newState;
    return encodeMlsMessage(message);
  }

  // commit covers the proposals received or made in this epoch and those given by
  // value. The state moves on with merge().
  async commit(specs, asPublic, withTree) {
    const extraProposals = await Promise.all(specs.map((spec) => this.proposal(spec)));
    const { newState, commit, welcome } = await createCommit(
      {
        state: { ...this.state, unappliedProposals: this.committable(extraProposals) },
        pskIndex: makePskIndex(this.state, this.psks),
        cipherSuite: this.cs,
      },
      { wireAsPublicMessage: asPublic, extraProposals, ratchetTreeExtension: withTree },
    );
    this.pending = newState;
    return {
      commit: encodeMlsMessage(commit),
      welcome: welcome && encodeMlsMessage({ version: "mls10", wireformat: "mls_welcome", welcome }),
    };
  }

  // committable leaves out the Updates that section 12.2 forbids: the committer's own,
  // and those of members that the commit removes.
  committable(extraProposals) {
    const own = this.state.privatePath.leafIndex;
    const all = Object.entries(this.state.unappliedProposals);
    const removed = new Set(
      [...all.map(([, { proposal }]) => proposal), ...extraProposals]
        .filter((p) => p.proposalType === "remove")
        .map((p) => p.remove.removed),
    );
    return Object.fromEntries(
      all.filter(
        ([, { proposal, senderLeafIndex }]) =>
          proposal.proposalType !== "update" || (senderLeafIndex !== own && !removed.has(senderLeafIndex)),
      ),
    );
  }

  merge() {
    if (this.pending === undefined) throw new Error("no pending commit");
    this.enter(this.pending);
  }

  async send(data, authenticatedData) {
    const { newState, privateMessage } = await createApplicationMessage(this.state, data, this.cs, authenticatedData);
    this.state = newState;
    return encodeMlsMessage({ version: "mls10", wireformat: "mls_private_message", privateMessage });
  }

  async process(bytes) {
    const message = decode(bytes);
    let proposals;
    const look = (incoming) => {
      if (incoming.kind === "commit") proposals = incoming.proposals;
      return "reject";
    };
    let state = this.state;
    if (this.updateKeys.size > 0) {
      // Looks at the proposals first: an own Update among them changes the leaf's key
      // before the path is decrypted.
      await this.open(message, state, look);
      state = this.withOwnUpdate(proposals ?? []);
    }
    const result = await this.open(message, state, (incoming) => {
      if (incoming.kind === "commit") proposals = incoming.proposals;
      return acceptAll(incoming);
    });
    if (result.kind === "applicationMessage") {
      this.state = result.newState;
      return { kind: "application", data: result.message };
    }
    if (proposals === undefined) {
      this.state = result.newState;
      return { kind: "proposal" };
    }
    this.enter(result.newState);
    return { kind: this.removed() ? "removed" : "commit" };
  }

  open(message, state, callback) {
    const psks = makePskIndex(state, this.psks);
    switch (message.wireformat) {
      case "mls_private_message":
        return processPrivateMessage(state, message.privateMessage, psks, this.cs, callback);
      case "mls_public_message":
        return processPublicMessage(state, message.publicMessage, psks, this.cs, callback);
      default:
        throw new Error(`got an ${message.wireformat} to process`);
    }
  }

  withOwnUpdate(proposals) {
    const own = this.state.privatePath.leafIndex;
    const update = proposals.find((p) => p.proposal.proposalType === "update" && p.senderLeafIndex === own);
    if (update === undefined) return this.state;
    const publicKey = Buffer.from(update.proposal.update.leafNode.hpkePublicKey).toString("base64");
    const privateKeys = { ...this.state.privatePath.privateKeys };
    privateKeys[leafToNodeIndex(own)] = this.updateKeys.get(publicKey);
    return { ...this.state, privatePath: { ...this.state.privatePath, privateKeys } };
  }

  removed() {
    return this.state.groupActiveState.kind === "removedFromGroup";
  }

  tree() {
    return encodeRatchetTree(this.state.ratchetTree);
  }

  export(label, context, length) {
    return mlsExporter(this.state.keySchedule.exporterSecret, label, context, length, this.cs);
  }

  describe() {
    const { groupContext, keySchedule, privatePath, ratchetTree } = this.state;
    return {
      groupId: groupContext.groupId,
      epoch: Number(groupContext.epoch),
      leaf: privatePath.leafIndex,
      removed: this.removed(),
      epochAuthenticator: keySchedule.epochAuthenticator,
      treeHash: groupContext.treeHash,
      confirmedTranscriptHash: groupContext.confirmedTranscriptHash,
      members: ratchetTree.flatMap((node, index) =>
        node?.nodeType === "leaf" ? [{ leaf: index / 2, identity: node.leaf.credential.identity }] : [],
      ),
    };
  }
}
