// The cipher suites of the peer, by code point.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { CipherSuite } from "@hpke/core";
import { p256, p384, p521 } from "@noble/curves/nist.js";
import { getCiphersuiteFromName, ciphersuites, defaultCryptoProvider } from "ts-mls";
import { makeGenericHpke } from "ts-mls/crypto/implementation/hpke.js";
import { makeAead } from "ts-mls/crypto/implementation/default/makeAead.js";
import { makeKdf } from "ts-mls/crypto/implementation/default/makeKdfImpl.js";
import { makeNobleSignatureImpl } from "ts-mls/crypto/implementation/default/makeNobleSignatureImpl.js";
import { defaultRng } from "ts-mls/crypto/implementation/default/rng.js";
import { MlKem768, MlKem1024, XWing, mlKem768P256, mlKem1024P384 } from "./kem.js";

// draft-ietf-mls-pq-ciphersuites-06, TBD1 to TBD8, at private-use code points.
const postQuantum = {
  0xf001: { kem: () => new XWing(), kdf: "HKDF-SHA256", aead: "AES128GCM", hash: "sha256", signature: "Ed25519" },
  0xf002: { kem: () => new XWing(), kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "Ed25519" },
  0xf003: { kem: mlKem768P256, kdf: "HKDF-SHA256", aead: "AES128GCM", hash: "sha256", signature: "P256" },
  0xf004: { kem: mlKem768P256, kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "P256" },
  0xf005: { kem: mlKem1024P384, kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "P384" },
  0xf006: { kem: () => new MlKem768(), kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "Ed25519" },
  0xf007: { kem: () => new MlKem768(), kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "P256" },
  0xf008: { kem: () => new MlKem1024(), kdf: "HKDF-SHA384", aead: "AES256GCM", hash: "sha384", signature: "P384" },
};

const classical = [1, 2, 3, 5, 7];

export const codePoints = [...classical, ...Object.keys(postQuantum).map(Number)];

const curves = { P256: p256, P384: p384, P521: p521 };

// RFC 9420 section 5.1.1 wants the uncompressed form of an ECDSA public key; ts-mls
// makes the compressed one, but takes both.
async function signatureScheme(name) {
  const scheme = await makeNobleSignatureImpl(name);
  const curve = curves[name];
  if (curve === undefined) return scheme;
  return {
    ...scheme,
    async keygen() {
      const signKey = curve.utils.randomSecretKey();
      return { signKey, publicKey: curve.getPublicKey(signKey, false) };
    },
  };
}

// ts-mls hands every HMAC to another thread, which takes half of the time of a commit;
// these stay on this one.
function hashImpl(hash) {
  const mac = (key, data) => new Uint8Array(createHmac(hash, key).update(data).digest());
  return {
    digest: async (data) => new Uint8Array(createHash(hash).update(data).digest()),
    mac: async (key, data) => mac(key, data),
    verifyMac: async (key, tag, data) => {
      const want = mac(key, data);
      return tag.length === want.length && timingSafeEqual(tag, want);
    },
  };
}

const nodeHash = (name) => name.replace("SHA-", "sha");

// HKDF (RFC 5869).
function kdfImpl(hash) {
  const mac = (key, ...data) => data.reduce((hmac, d) => hmac.update(d), createHmac(hash, key)).digest();
  return {
    size: createHash(hash).digest().length,
    extract: async (salt, ikm) => new Uint8Array(mac(salt, ikm)),
    expand: async (prk, info, length) => {
      const blocks = [];
      let block = Buffer.alloc(0);
      for (let i = 1; blocks.length * block.length < length; i++) {
        block = mac(prk, block, info, Uint8Array.of(i));
        blocks.push(block);
      }
      return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
    },
  };
}

async function makeClassical(codePoint) {
  const name = Object.keys(ciphersuites).find((key) => ciphersuites[key] === codePoint);
  const suite = getCiphersuiteFromName(name);
  const impl = await defaultCryptoProvider.getCiphersuiteImpl(suite);
  return {
    ...impl,
    kdf: kdfImpl(nodeHash(suite.hash)),
    hash: hashImpl(nodeHash(suite.hash)),
    signature: await signatureScheme(suite.signature),
  };
}

async function makePostQuantum(codePoint) {
  const { kem, kdf, aead, hash, signature } = postQuantum[codePoint];
  const [mlsAead, hpkeAead] = await makeAead(aead);
  const hpke = new CipherSuite({ kem: kem(), kdf: makeKdf(kdf), aead: hpkeAead });
  return {
    kdf: kdfImpl(hash),
    hash: hashImpl(hash),
    signature: await signatureScheme(signature),
    hpke: await makeGenericHpke({ kem: "", kdf, aead }, mlsAead, hpke),
    rng: defaultRng,
    name: String(codePoint),
  };
}

const made = new Map();

// cipherSuite returns ts-mls's CiphersuiteImpl for a code point.
export function cipherSuite(codePoint) {
  if (!codePoints.includes(codePoint)) throw new Error(`no cipher suite ${codePoint}`);
  if (!made.has(codePoint)) {
    made.set(codePoint, classical.includes(codePoint) ? makeClassical(codePoint) : makePostQuantum(codePoint));
  }
  return made.get(codePoint);
}
