// Answers commands, one JSON object a line on standard input, with one JSON object a
// line on standard output: {"id":1,"result":...} or {"id":1,"error":"..."}. Bytes are
// base64. Many clients live in one process, each under the name that the command gives.
import "./register.js";
import { createInterface } from "node:readline";

const { operations } = await import("./operations.js");

const base64 = (value) => Buffer.from(value).toString("base64");

function encodeBytes(value) {
  if (value instanceof Uint8Array) return base64(value);
  if (Array.isArray(value)) return value.map(encodeBytes);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, encodeBytes(v)]));
}

async function answer(line) {
  let id;
  try {
    const command = JSON.parse(line);
    id = command.id;
    if (!Object.hasOwn(operations, command.op)) throw new Error(`no operation ${command.op}`);
    return { id, result: encodeBytes((await operations[command.op](command)) ?? {}) };
  } catch (error) {
    return { id, error: `${error.name}: ${error.message}` };
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
