// Stands in for pathSecrets.js of ts-mls, which derives one secret too many where the
// root is filtered out of an update path (see hooks.js).
import { deriveSecret } from "ts-mls/crypto/kdf.js";
import { directPath, leafWidth, root } from "ts-mls/treemath.js";

export function pathToPathSecrets(pathSecrets) {
  return Object.fromEntries(pathSecrets.map(({ nodeIndex, secret }) => [nodeIndex, secret]));
}

// The path secrets from nodeIndex up, by node. The callers look up the last one under
// the root; where the root is blank it gets the last one's, and nothing is encrypted to
// a blank node.
export async function pathToRoot(tree, nodeIndex, pathSecret, kdf) {
  const width = leafWidth(tree.length);
  const secrets = { [nodeIndex]: pathSecret };
  let last = pathSecret;
  for (const ancestor of directPath(nodeIndex, width)) {
    if (tree[ancestor] === undefined) continue;
    last = await deriveSecret(last, "path", kdf);
    secrets[ancestor] = last;
  }
  secrets[root(width)] ??= last;
  return secrets;
}

export async function getCommitSecret(tree, nodeIndex, pathSecret, kdf) {
  const secrets = await pathToRoot(tree, nodeIndex, pathSecret, kdf);
  return deriveSecret(secrets[root(leafWidth(tree.length))], "path", kdf);
}
