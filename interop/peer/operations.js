// The driver's operations: each takes a command and returns its result.
import { Client } from "./client.js";
import { cipherSuite, codePoints } from "./suites.js";

const clients = new Map();

function client({ client: name }) {
  const found = clients.get(name);
  if (found === undefined) throw new Error(`no client ${name}`);
  return found;
}

const bytes = (value) => (value === undefined ? undefined : new Uint8Array(Buffer.from(value, "base64")));

function proposalSpec({ keyPackage, pskId, data, ...rest }) {
  return { ...rest, keyPackage: bytes(keyPackage), pskId: bytes(pskId), data: bytes(data) };
}

export const operations = {
  suites: () => ({ suites: codePoints }),

  async client({ client: name, suite }) {
    clients.set(name, await Client.create(suite, Buffer.from(name)));
  },

  forget: ({ client: name }) => void clients.delete(name),

  async successor({ client: name, of, suite }) {
    clients.set(name, await client({ client: of }).successor(suite));
  },

  openGroup: async (c) => ({ message: await client(c).openGroup(bytes(c.group), c.keyPackages.map(bytes)) }),
  signatureKey: (c) => ({ key: client(c).signatureKeys.publicKey }),

  keyPackage: async (c) => ({ message: await client(c).keyPackage() }),
  create: (c) => client(c).createGroup(bytes(c.group)),
  join: (c) => client(c).join(bytes(c.welcome), bytes(c.tree)),

  joinExternal: async (c) => ({
    commit: await client(c).joinExternal(bytes(c.groupInfo), bytes(c.tree), c.resync === true),
  }),

  proposeJoin: async (c) => ({ message: await client(c).proposeJoin(bytes(c.groupInfo)) }),

  proposeFromOutside: async (c) => ({
    message: await client(c).proposeFromOutside(bytes(c.groupInfo), proposalSpec(c.proposal)),
  }),

  groupInfo: async (c) => ({ message: await client(c).groupInfo(c.withTree === true) }),
  propose: async (c) => ({ message: await client(c).propose(proposalSpec(c.proposal), c.public === true) }),

  commit: (c) =>
    client(c).commit((c.proposals ?? []).map(proposalSpec), c.public === true, c.withTree === true),

  merge: (c) => client(c).merge(),
  send: async (c) => ({ message: await client(c).send(bytes(c.data), bytes(c.aad ?? "")) }),
  process: (c) => client(c).process(bytes(c.message)),
  state: (c) => client(c).describe(),
  tree: (c) => ({ tree: client(c).tree() }),

  psk(c) {
    client(c).psks[c.pskId] = bytes(c.secret);
  },

  export: async (c) => ({ secret: await client(c).export(c.label, bytes(c.context), c.length) }),

  // The suite's HPKE alone, to be compared with the other side's.
  async deriveKeyPair({ suite, ikm }) {
    const { hpke } = await cipherSuite(suite);
    const { publicKey, privateKey } = await hpke.deriveKeyPair(bytes(ikm));
    return {
      publicKey: await hpke.exportPublicKey(publicKey),
      privateKey: await hpke.exportPrivateKey(privateKey),
    };
  },

  async seal({ suite, publicKey, info, data }) {
    const { hpke } = await cipherSuite(suite);
    return hpke.seal(await hpke.importPublicKey(bytes(publicKey)), bytes(data), bytes(info));
  },

  async open({ suite, privateKey, enc, ct, info }) {
    const { hpke } = await cipherSuite(suite);
    const key = await hpke.importPrivateKey(bytes(privateKey));
    return { data: await hpke.open(key, bytes(enc), bytes(ct), bytes(info)) };
  },
};
