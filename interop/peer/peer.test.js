// The peer against itself, so that a disagreement with another implementation is not
// the driver's.
import "./register.js";
import assert from "node:assert/strict";
import { test } from "node:test";

const { Client } = await import("./client.js");
const { codePoints, cipherSuite } = await import("./suites.js");

const bytes = (text) => new TextEncoder().encode(text);

// A conversation delivers every message to every member, and checks that all agree.
class Conversation {
  constructor(suite) {
    this.suite = suite;
    this.members = new Map();
  }

  static async create(suite, name) {
    const conversation = new Conversation(suite);
    const creator = await Client.create(suite, bytes(name));
    await creator.createGroup(bytes("group"));
    conversation.members.set(name, creator);
    return conversation;
  }

  others(name) {
    return [...this.members].filter(([other]) => other !== name).map(([, client]) => client);
  }

  leaf(name) {
    return this.members.get(name).describe().leaf;
  }

  async propose(name, spec, { asPublic = false } = {}) {
    const message = await this.members.get(name).propose(spec, asPublic);
    for (const other of this.others(name)) assert.equal((await other.process(message)).kind, "proposal");
  }

  async commit(name, { add = [], remove = [], specs = [], asPublic = false, withTree = true } = {}) {
    const joiners = await Promise.all(add.map((joiner) => Client.create(this.suite, bytes(joiner))));
    const all = [...specs, ...remove.map((gone) => ({ type: "remove", leaf: this.leaf(gone) }))];
    for (const joiner of joiners) all.push({ type: "add", keyPackage: await joiner.keyPackage() });
    const committer = this.members.get(name);
    const { commit, welcome } = await committer.commit(all, asPublic, withTree);
    committer.merge();
    const tree = withTree ? undefined : committer.tree();
    for (const [other, client] of [...this.members]) {
      if (other === name) continue;
      const { kind } = await client.process(commit);
      assert.equal(kind, remove.includes(other) ? "removed" : "commit");
      if (kind === "removed") this.members.delete(other);
    }
    for (const [i, joiner] of joiners.entries()) {
      await joiner.join(welcome, tree);
      this.members.set(add[i], joiner);
    }
    await this.agree();
  }

  async joinExternally(name, from, { withTree = true, resync = false } = {}) {
    const joiner = resync ? this.members.get(name) : await Client.create(this.suite, bytes(name));
    const source = this.members.get(from);
    const tree = withTree ? undefined : source.tree();
    const commit = await joiner.joinExternal(await source.groupInfo(withTree), tree, resync);
    for (const member of this.others(name)) assert.equal((await member.process(commit)).kind, "commit");
    joiner.merge();
    this.members.set(name, joiner);
    await this.agree();
  }

  async agree() {
    const views = [];
    for (const client of this.members.values()) {
      const { leaf, ...shared } = client.describe();
      const exported = await client.export("label", bytes("context"), 40);
      views.push({ ...shared, exported });
    }
    for (const view of views) assert.deepEqual(view, views[0]);
  }

  async talk() {
    for (const [name, client] of this.members) {
      const message = await client.send(bytes(`from ${name}`), bytes("aad"));
      for (const other of this.others(name)) {
        const { kind, data } = await other.process(message);
        assert.equal(kind, "application");
        assert.deepEqual(new Uint8Array(data), bytes(`from ${name}`));
      }
    }
  }
}

for (const suite of codePoints) {
  test(`a group lives, suite ${suite}`, async () => {
    const group = await Conversation.create(suite, "a");
    await group.commit("a", { add: ["b", "c"] });
    await group.commit("b");
    await group.talk();
    await group.commit("c", { add: ["d"], withTree: false, asPublic: true });
    await group.commit("d", { remove: ["b"] });
    await group.talk();
  });

  test(`HPKE opens what it seals, suite ${suite}`, async () => {
    const { hpke } = await cipherSuite(suite);
    const { publicKey, privateKey } = await hpke.deriveKeyPair(new Uint8Array(48));
    const { ct, enc } = await hpke.seal(publicKey, bytes("data"), bytes("info"));
    assert.deepEqual(await hpke.open(privateKey, enc, ct, bytes("info")), bytes("data"));
  });
}

test("a blank half of the tree", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c", "d", "e", "f", "g", "h"] });
  for (const name of ["a", "c", "e", "g"]) await group.commit(name);
  // Leaf 7 stays, so that the right half is not cut off, then goes last.
  await group.commit("a", { remove: ["e", "f", "g"] });
  await group.commit("b");
  await group.commit("h");
  // The left half goes blank: h's path holds no node but the root, then none.
  await group.commit("h", { remove: ["a", "b", "c"] });
  await group.commit("h");
  await group.commit("d");
  await group.commit("d", { add: ["i", "j"] });
  await group.commit("i");
  await group.talk();
});

test("the root is filtered out of the path", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c", "d", "e", "f"] });
  await group.commit("f");
  // e and f alone in the right half, the left half blank.
  await group.commit("e", { remove: ["a", "b", "c", "d"] });
  await group.commit("f");
  await group.commit("e");
  await group.talk();
  await group.joinExternally("g", "f");
  await group.talk();
});

test("unmerged leaves below parents that were set at different times", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c", "d", "e", "f", "g", "h"] });
  for (const name of ["a", "c", "e", "g"]) await group.commit(name);
  await group.commit("a", { remove: ["d"] });
  await group.commit("c");
  await group.commit("a", { add: ["i"] }); // leaf 3, unmerged up to the root
  await group.commit("h"); // the root merges it, the nodes under it do not
  await group.commit("a", { add: ["j"] });
  await group.talk();
});

test("proposals by reference", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c", "d"] });
  await group.propose("b", { type: "update" });
  await group.propose("a", { type: "update" }, { asPublic: true });
  await group.propose("c", { type: "remove", leaf: group.leaf("d") });
  const removed = group.members.get("d");
  await group.commit("a", { remove: [] }).catch((error) => assert.match(error.message, /removed/));
  assert.equal(removed.removed(), true);
});

test("an update by reference is the sender's new key", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c"] });
  await group.propose("b", { type: "update" });
  await group.commit("c");
  await group.commit("a");
  await group.commit("b");
  await group.talk();
});

test("external joins", async () => {
  const group = await Conversation.create(1, "a");
  await group.joinExternally("b", "a");
  await group.joinExternally("c", "b", { withTree: false });
  await group.joinExternally("a", "b", { resync: true });
  await group.commit("b", { remove: ["c"] });
  await group.joinExternally("d", "a");
  await group.talk();
});

test("pre-shared keys and group context extensions", async () => {
  const group = await Conversation.create(1, "a");
  await group.commit("a", { add: ["b", "c"] });
  const pskId = bytes("psk");
  for (const member of group.members.values()) member.psks[Buffer.from(pskId).toString("base64")] = bytes("secret");
  await group.commit("b", { specs: [{ type: "psk", pskId }] });
  await group.commit("c", { specs: [{ type: "extensions", extension: 0xf0f0, data: bytes("x") }] });
  await group.commit("a", { add: ["d"] });
  await group.talk();
});

test("a random life, 60 steps", async () => {
  let seed = 20260901;
  const random = (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  const group = await Conversation.create(1, "m0");
  let born = 1;
  const pick = () => [...group.members.keys()][random(group.members.size)];
  for (let step = 0; step < 60; step++) {
    const committer = pick();
    const add = Array.from({ length: group.members.size < 12 ? random(3) : 0 }, () => `m${born++}`);
    const remove = [...group.members.keys()].filter((name) => name !== committer && random(5) === 0);
    if (random(6) === 0) await group.joinExternally(`m${born++}`, pick());
    else await group.commit(committer, { add, remove, asPublic: random(2) === 0 });
  }
  await group.talk();
});
