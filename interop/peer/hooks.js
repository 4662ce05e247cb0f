// Module loader hooks that put the known defects of ts-mls 1.6.4 right while it is
// loaded, so that what npm installed stays as published. Each replacement has to
// match the published text the stated number of times; otherwise loading stops.

const dist = "/node_modules/ts-mls/dist/src/";

// RFC 9420 section 12.4.1: the commit secret follows the LAST path secret, which is
// not the root's where the root is filtered out of the path.
const replacedModules = { "pathSecrets.js": "./path_secrets.js" };

// Section 12.1.8.1: external_senders holds a list; ts-mls takes each extension of that
// type for one sender.
const externalSendersOf = (extensions) => `listedSenders(${extensions})`;

const replacements = {
  "publicMessage.js": [
    {
      from: 'extensions.filter((ex) => ex.extensionType === "external_senders")',
      to: externalSendersOf("extensions"),
      times: 1,
    },
  ],
  "externalProposal.js": [
    {
      from: "groupInfo.groupContext.extensions.findIndex(",
      to: `${externalSendersOf("groupInfo.groupContext.extensions")}.findIndex(`,
      times: 1,
    },
  ],
  "clientState.js": [
    {
      from: 'extensions.filter((e) => e.extensionType === "external_senders")',
      to: externalSendersOf("extensions"),
      times: 1,
    },
    {
      // Section 12.4.3.1: only the non-blank nodes between an unmerged leaf and the
      // parent that lists it have to list it too; not every ancestor alike.
      from: "if (!arraysEqual(dpNode.parent.unmergedLeaves, n.parent.unmergedLeaves))",
      to: "if (dp.indexOf(parentIdx) < dp.indexOf(i) && !dpNode.parent.unmergedLeaves.includes(unmergedLeaf))",
      times: 1,
    },
    {
      // A member is removed also where the same commit gives its leaf to a new member.
      from: "const selfRemoved = mutatedTree[leafToNodeIndex(toLeafIndex(state.privatePath.leafIndex))] === undefined;",
      to: "const selfRemoved = grouped.remove.some((p) => p.proposal.remove.removed === state.privatePath.leafIndex);",
      times: 1,
    },
    {
      // Section 17.4: a GroupContextExtensions proposal needs a path.
      from: "Object.values(grouped.remove).length > 0;",
      to: "Object.values(grouped.remove).length > 0 || grouped.group_context_extensions.length > 0;",
      times: 1,
    },
  ],
  "createCommit.js": [
    {
      // Section 12.4.3.2: ExternalPub is a structure with one HPKEPublicKey, which
      // has a length of its own inside the extension data.
      from: 'extensionType: "external_pub", extensionData: externalPub }',
      to: 'extensionType: "external_pub", extensionData: encodeExternalPub(externalPub) }',
      times: 2,
    },
    {
      from: "exportSecret(externalPub.extensionData, cs)",
      to: "exportSecret(decodeExternalPub(externalPub.extensionData), cs)",
      times: 1,
    },
    {
      // Section 12.4.1: path secrets are encrypted under the provisional GroupContext,
      // which has the extensions of the new epoch.
      from: "toLeafIndex(state.privatePath.leafIndex), state.groupContext, state.signaturePrivateKey",
      to: "toLeafIndex(state.privatePath.leafIndex), provisionalContext(state, res), state.signaturePrivateKey",
      times: 1,
    },
  ],
};

const repairs = JSON.stringify(new URL("./repairs.js", import.meta.url).href);
const prelude = `import { decodeExternalPub, encodeExternalPub, listedSenders, provisionalContext } from ${repairs};\n`;

function fileInTSMLS(url) {
  const at = url?.indexOf(dist) ?? -1;
  return at < 0 ? undefined : url.slice(at + dist.length);
}

export async function resolve(specifier, context, next) {
  const resolved = await next(specifier, context);
  const replaced = replacedModules[fileInTSMLS(resolved.url)];
  if (replaced === undefined) return resolved;
  return { url: new URL(replaced, import.meta.url).href, format: "module", shortCircuit: true };
}

export async function load(url, context, next) {
  const loaded = await next(url, context);
  const file = fileInTSMLS(url);
  if (replacements[file] === undefined) return loaded;
  let source = loaded.source.toString();
  for (const { from, to, times } of replacements[file]) {
    const parts = source.split(from);
    if (parts.length !== times + 1) {
      throw new Error(`ts-mls ${file} is not the one known here: ${JSON.stringify(from)} stands in it ${parts.length - 1} times, want ${times}`);
    }
    source = parts.join(to);
  }
  return { ...loaded, source: prelude + source };
}
