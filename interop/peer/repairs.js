// What the replaced lines of ts-mls call (see hooks.js), and what is put right around calls.
import { encode } from "ts-mls/codec/tlsEncoder.js";
import { decodeVarLenData, decodeVarLenType, varLenDataEncoder } from "ts-mls/codec/variableLength.js";
import { defaultExtensionTypes } from "ts-mls";
import { decodeExternalSender, encodeExternalSender } from "ts-mls/externalSender.js";

export const encodeExternalPub = encode(varLenDataEncoder);

export function decodeExternalPub(extensionData) {
  const [key, length] = decodeVarLenData(extensionData, 0);
  if (length !== extensionData.length) throw new Error("external_pub has trailing bytes");
  return key;
}

// The extensions that the GroupContext has once the proposals in res are applied.
export function provisionalContext(state, res) {
  const changed = res.allProposals.find((p) => p.proposal.proposalType === "group_context_extensions");
  if (changed === undefined) return state.groupContext;
  return { ...state.groupContext, extensions: changed.proposal.groupContextExtensions.extensions };
}

// One external_senders extension for each sender in the list that the real one holds.
export function listedSenders(extensions) {
  const list = extensions.find((extension) => extension.extensionType === "external_senders");
  if (list === undefined) return [];
  const [senders, length] = decodeVarLenType(decodeExternalSender)(list.extensionData, 0);
  if (length !== list.extensionData.length) throw new Error("external_senders has trailing bytes");
  return senders.map((sender) => ({ ...list, extensionData: encodeExternalSender(sender) }));
}

// ts-mls knows the extension types of RFC 9420 by their names only.
export function extensionTypeName(number) {
  return Object.keys(defaultExtensionTypes).find((name) => defaultExtensionTypes[name] === number) ?? number;
}
