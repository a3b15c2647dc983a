// Runs inside the sandbox under node: candidate code, then tests, then a token on stdout if, and only if, all tests passed.
//
// stdin holds, each after its length in bytes and a line end: the candidate; the tests, one statement a line; the token.
// Candidate and tests run in a context of their own, which has the language and nothing of node: no require, no process, no
// timers. What assertEqual was given is compared out here, with functions that the candidate never saw.
"use strict";
const fs = require("node:fs");
const vm = require("node:vm");
const { isProxy } = require("node:util").types;

const read = (count) => {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; ) {
    const got = fs.readSync(0, bytes, at, count - at, null);
    if (got === 0) process.exit(3);
    at += got;
  }
  return bytes;
};
const part = () => {
  let digits = "";
  for (let byte = read(1)[0]; byte !== 10; byte = read(1)[0]) digits += String.fromCharCode(byte);
  return read(Number(digits)).toString("utf8");
};

// Whether two values are the same: numbers by ===, so that 0 is -0, and NaN is NaN; arrays and plain objects by their parts.
const same = (left, right, depth) => {
  if (left === right || (left !== left && right !== right)) return true;
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null || depth > 20) return false;
  if (isProxy(left) || isProxy(right) || Array.isArray(left) !== Array.isArray(right)) return false;
  const keys = Reflect.ownKeys(left);
  const others = Reflect.ownKeys(right);
  if (keys.length !== others.length) return false;
  return keys.every((key) => {
    const [mine, theirs] = [left, right].map((value) => Reflect.getOwnPropertyDescriptor(value, key));
    return theirs !== undefined && "value" in mine && "value" in theirs && same(mine.value, theirs.value, depth + 1);
  });
};

const candidate = part();
const context = vm.createContext(Object.create(null), { microtaskMode: "afterEvaluate" });
const run = (source, filename) => vm.runInContext(source, context, { filename });
const take = run(
  `(() => {
    "use strict";
    let told = null;
    const quiet = { log() {}, error() {}, warn() {}, info() {}, debug() {} };
    const assertEqual = (actual, expected) => {
      if (told !== null) throw new Error("one assertEqual a line");
      told = { __proto__: null, actual, expected };
    };
    Object.defineProperty(globalThis, "assertEqual", { value: Object.freeze(assertEqual) });
    globalThis.console = quiet;
    globalThis.module = { exports: {} }; // where answers that end in an export put it
    return () => { const now = told; told = null; return now; };
  })()`,
  "setup.js",
);
run(candidate, "candidate.js");
take();
const lines = part().split("\n").filter((line) => line.trim());
for (const line of lines) {
  run(line, "tests.js");
  const told = take();
  if (told === null || !same(told.actual, told.expected, 0)) process.exit(1);
}
if (lines.length > 0) fs.writeSync(1, part());
process.exit(0);
