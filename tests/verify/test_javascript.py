"""Finding JavaScript in an answer, and what counts as passing its tests under node."""

import shutil

import pytest

from kwen.errors import UserError
from kwen.nanoworld.code_tasks import LEVELS, code_tasks
from kwen.sandbox import describe
from kwen.verify import javascript
from kwen.verify.javascript import extract_code, passes

SQUARE = "assertEqual(f(2), 4);\nassertEqual(f(3), 9);"


@pytest.fixture
def node() -> None:
    try:
        describe()
        javascript.find_node()
    except UserError as error:
        pytest.skip(str(error))


def test_code_is_found_in_its_fence() -> None:
    block = "function f(x) {\n  return x;\n}\n"
    assert extract_code(block) == block
    assert extract_code(f"Sure:\n```javascript\n{block}```\nDone.", "f") == block
    assert extract_code(f"```js\n{block}```\n```js\nf(3);\n```", "f") == block
    assert extract_code(f"```python\npass\n```\n```js\n{block}```") == block
    assert extract_code("```js\nconst f = (x) => x;\n```\n```js\ng();\n```", "f") == "const f = (x) => x;\n"


RIGHT = {
    "function": ("function f(x) { return x * x; }", SQUARE),
    "constant": ("const f = (x) => x * x;", SQUARE),
    "prints": ('console.log("noise"); const f = (x) => { console.error(x); return x * x; };', SQUARE),
    "exports": ("function f(x) { return x * x; }\nmodule.exports = f;", SQUARE),
    "negative_zero": ("const f = (x) => -x;", "assertEqual(f(0), 0);"),
    "nested": ('const f = () => ({ a: [1, { b: "c" }] });', 'assertEqual(f(), {"a": [1, {"b": "c"}]});'),
    "key_order": ("const f = () => ({ b: 1, a: 2 });", 'assertEqual(f(), {"a": 2, "b": 1});'),
    "not_a_number": ("const f = () => NaN;", "assertEqual(f(), NaN);"),
}
WRONG = {
    "wrong": ("const f = (x) => x + 2;", SQUARE),
    "half_right": ("const f = () => 4;", SQUARE),
    "empty": ("", SQUARE),
    "not_javascript": ("Sure, here it is:", SQUARE),
    "text_for_number": ("const f = (x) => String(x * x);", SQUARE),
    "raises": ('const f = () => { throw new Error("x"); };', SQUARE),
    "loops": ("const f = () => { for (;;); };", SQUARE),
    "leaves": ("process.exit(0);", SQUARE),
    "requires": ('const f = require("fs");', SQUARE),
    "replaces_assert": ("function assertEqual() {}\nconst f = () => 0;", SQUARE),
    "assigns_assert": ("globalThis.assertEqual = () => {};\nconst f = () => 0;", SQUARE),
    "asserts_itself": ("const f = () => { assertEqual(1, 1); return 0; };", SQUARE),
    "own_equality": ("const f = () => new Proxy({}, { get: () => 4 });", SQUARE),
    "broken_builtins": ("Array.isArray = () => true; Object.is = () => true; const f = () => [];", SQUARE),
    "prints_marks": ('const f = () => { console.log("passed"); return 0; };', SQUARE),
    "constructor_escape": (
        'const f = (x) => { this.constructor.constructor("return process")().exit(0); };', SQUARE
    ),
    "function_escape": ('const f = () => { (() => {}).constructor("return process")().exit(0); };', SQUARE),
    "eats_memory": ("const f = () => { const a = []; for (;;) a.push(new Array(1e6).fill(1)); };", SQUARE),
    "more_keys": ("const f = () => ({ a: 1, b: 2 });", 'assertEqual(f(), {"a": 1});'),
    "changed_later": (
        "const a = []; const f = (x) => { a[0] = x; return a; };", "assertEqual(f(2), [3]);\nassertEqual(f(3), [3]);"
    ),
}  # fmt: skip


def test_right_code_passes_and_wrong_code_does_not(node: None) -> None:
    cases = {f"right_{name}": case for name, case in RIGHT.items()} | {f"wrong_{name}": case for name, case in WRONG.items()}
    verdicts = dict(zip(cases, passes(list(cases.values()), timeout_s=2.0), strict=True))
    assert {name: passed for name, passed in verdicts.items() if passed != name.startswith("right")} == {}
    assert passes([]) == []
    assert passes([("const f = 1;", "")]) == [False], "no test is no pass"


def test_nanoworlds_references_pass(node: None) -> None:
    made = [task for level in LEVELS for task in code_tasks(1, 5, level, "javascript", "held_out")]
    assert all(passes([(task.code, "\n".join(task.tests + task.hidden)) for task in made]))


@pytest.mark.slow
def test_all_of_nanoworlds_references_pass(node: None) -> None:
    made = [task for level in LEVELS for task in code_tasks(1, 400, level, "javascript", "train")]
    assert all(passes([(task.code, "\n".join(task.tests + task.hidden)) for task in made]))


def test_without_node_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="node is not on the PATH: install it"):
        passes([("const f = 1;", SQUARE)])
