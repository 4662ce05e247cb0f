// What the replaced lines of ts-mls call (see hooks.js).
import { encode } from "ts-mls/codec/tlsEncoder.js";
import { decodeVarLenData, varLenDataEncoder } from "ts-mls/codec/variableLength.js";

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
