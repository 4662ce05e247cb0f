// The KEMs of draft-ietf-hpke-pq in the form that @hpke/core takes.
//
// @hpke has 0x647a, 0x0041 and 0x0042, with a DeriveKeyPair of older drafts, which is
// replaced here. It has neither 0x0050 nor 0x0051; they are put together here from
// the primitives of @noble.
import { createHash, randomBytes } from "node:crypto";
import { XWing as HpkeXWing } from "@hpke/hybridkem-x-wing";
import { MlKem768 as HpkeMlKem768, MlKem1024 as HpkeMlKem1024 } from "@hpke/ml-kem";
import { p256, p384 } from "@noble/curves/nist.js";
import { ml_kem768, ml_kem1024 } from "@noble/post-quantum/ml-kem.js";

const text = new TextEncoder();

function concat(...parts) {
  return new Uint8Array(Buffer.concat(parts));
}

function uint16(n) {
  return Uint8Array.of(n >> 8, n & 0xff);
}

function shake256(input, length) {
  return new Uint8Array(createHash("shake256", { outputLength: length }).update(input).digest());
}

// SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", length) under the KEM's suite id.
function deriveSeed(kemId, ikm, length) {
  const label = text.encode("DeriveKeyPair");
  return shake256(
    concat(
      new Uint8Array(ikm),
      text.encode("HPKE-v1"),
      text.encode("KEM"),
      uint16(kemId),
      uint16(label.length),
      label,
      uint16(length),
    ),
    length,
  );
}

export class XWing extends HpkeXWing {
  async deriveKeyPair(ikm) {
    await this._setup();
    return this.generateKeyPairDerand(deriveSeed(this.id, ikm, 32));
  }
}

export class MlKem768 extends HpkeMlKem768 {
  async deriveKeyPair(ikm) {
    return super.deriveKeyPair(deriveSeed(this.id, ikm, 64));
  }
}

export class MlKem1024 extends HpkeMlKem1024 {
  async deriveKeyPair(ikm) {
    return super.deriveKeyPair(deriveSeed(this.id, ikm, 64));
  }
}

class NistHybridKem {
  auth = false;
  secretSize = 32;
  privateKeySize = 32;

  constructor(id, label, pq, curve) {
    const pointSize = 1 + 2 * curve.lengths.secretKey;
    this.id = id;
    this.label = text.encode(label);
    this.pq = pq;
    this.curve = curve;
    this.publicKeySize = pq.lengths.publicKey + pointSize;
    this.encSize = pq.lengths.cipherText + pointSize;
  }

  expand(seed) {
    const scalarSize = this.curve.lengths.secretKey;
    // One candidate in 2^32 (P-256) is no scalar; sixteen are never all bad.
    const expanded = shake256(seed, 64 + 16 * scalarSize);
    const pq = this.pq.keygen(expanded.slice(0, 64));
    for (let at = 64; at < expanded.length; at += scalarSize) {
      const scalar = expanded.slice(at, at + scalarSize);
      if (!this.curve.utils.isValidSecretKey(scalar)) continue;
      return { pq, scalar, point: this.curve.getPublicKey(scalar, false) };
    }
    throw new Error("no scalar in the expanded seed");
  }

  combine(ssPQ, ssT, ctT, ekT) {
    return new Uint8Array(
      createHash("sha3-256").update(concat(ssPQ, ssT, ctT, ekT, this.label)).digest(),
    ).buffer;
  }

  ecdh(scalar, point) {
    return this.curve.getSharedSecret(scalar, point).subarray(1);
  }

  keyPairFromSeed(seed) {
    const { pq, point } = this.expand(seed);
    return {
      privateKey: { type: "private", bytes: seed },
      publicKey: { type: "public", bytes: concat(pq.publicKey, point) },
    };
  }

  async generateKeyPair() {
    return this.keyPairFromSeed(new Uint8Array(randomBytes(32)));
  }

  async deriveKeyPair(ikm) {
    return this.keyPairFromSeed(deriveSeed(this.id, ikm, 32));
  }

  async serializePublicKey(key) {
    return key.bytes.slice().buffer;
  }

  async serializePrivateKey(key) {
    return key.bytes.slice().buffer;
  }

  async deserializePublicKey(bytes) {
    return { type: "public", bytes: sized(bytes, this.publicKeySize) };
  }

  async deserializePrivateKey(bytes) {
    return { type: "private", bytes: sized(bytes, this.privateKeySize) };
  }

  async encap({ recipientPublicKey }) {
    const ekPQ = recipientPublicKey.bytes.slice(0, this.pq.lengths.publicKey);
    const ekT = recipientPublicKey.bytes.slice(this.pq.lengths.publicKey);
    const { cipherText, sharedSecret } = this.pq.encapsulate(ekPQ);
    const scalar = this.curve.utils.randomSecretKey();
    const ctT = this.curve.getPublicKey(scalar, false);
    return {
      sharedSecret: this.combine(sharedSecret, this.ecdh(scalar, ekT), ctT, ekT),
      enc: concat(cipherText, ctT).buffer,
    };
  }

  async decap({ recipientKey, enc }) {
    const ct = sized(enc, this.encSize);
    const ctPQ = ct.slice(0, this.pq.lengths.cipherText);
    const ctT = ct.slice(this.pq.lengths.cipherText);
    const { pq, scalar, point } = this.expand(recipientKey.bytes);
    return this.combine(this.pq.decapsulate(ctPQ, pq.secretKey), this.ecdh(scalar, ctT), ctT, point);
  }
}

function sized(buffer, size) {
  const bytes = new Uint8Array(buffer);
  if (bytes.length !== size) throw new Error(`got ${bytes.length} bytes, want ${size}`);
  return bytes;
}

export const mlKem768P256 = () => new NistHybridKem(0x0050, "MLKEM768-P256", ml_kem768, p256);
export const mlKem1024P384 = () => new NistHybridKem(0x0051, "MLKEM1024-P384", ml_kem1024, p384);
