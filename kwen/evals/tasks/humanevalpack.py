"""HumanEvalPack's "synthesize", zero-shot (Muennighoff et al., 2023; report section 6, Table 11): 164 problems in six languages.

humanevalpack-python, -js, -java, -go, -cpp, -rust, from DIR/humanevalpack/LANGUAGE.jsonl, packed or not, or as its publisher laid
it out: data/LANGUAGE/data/humanevalpack.jsonl, later LANGUAGE/test-00000-of-00001.parquet. LANGUAGE is python, js, java, go, cpp
or rust.

A chat model is asked for the whole function (Java: class) in a code block; a model without a template continues the prompt, and
its text counts up to the brace that closes the function (Python: up to the next thing at its left edge), as in the published
harness. strict: a block that defines the function, or, without any block, the continuation; flexible: also a block with the body
alone, and a function amid prose. A block may rely on what stands above the function in the prompt.

What the machine's compilers lack counts as failed: Rust has no crates, so that the canonical solutions of 91 (regex) and 162
(md5) fail there; C++ needs boost for 22 and 137 and openssl for 162 (`apt install libboost-dev libssl-dev`). As continuations
three more fail, since helpers below the function are cut off, as published: Go's 72, Rust's 137 and 145.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.code_answers import STOP, CodeProblem, flexible_code, problem_of, strict_code
from kwen.evals.tasks.files import Files
from kwen.evals.tasks.humaneval import length_kind
from kwen.verify import languages
from kwen.verify.code_tests import fenced_blocks
from kwen.verify.programs import close_braces, hide_literals


@dataclass(frozen=True)
class Language:
    """What the task must know of a language: its name in `kwen.verify.languages` and in prose, its labels on code blocks, what is
    asked for, how a definition of NAME looks, how a file begins, and where a continuation has certainly ended."""

    name: str
    title: str
    labels: tuple[str, ...]
    whole: str
    definition: str
    heads: tuple[str, ...]
    stop: tuple[str, ...]


# What the published harness imports for every answer, without numpy, which the sandbox has not.
_PYTHON_IMPORTS = (
    "import math, re, sys, copy, datetime, itertools, collections, heapq, statistics, functools, hashlib, string\n"
    "from typing import *\nfrom collections import *\n"
)
_CLOSED = ("\n}\n", "\n};", "\n```")
LANGUAGES = {
    "python": Language("python", "Python", ("python",), "function", r"def NAME\b", (), STOP),
    "js": Language(
        "javascript",
        "JavaScript",
        ("javascript", "js", "node", "mjs", "ecmascript"),
        "function",
        r"(?:function\*?\s+|(?:const|let|var)\s+)NAME\b",
        ("const ", "let ", "var ", "function ", "async function ", '"use strict"', "'use strict'"),
        (*_CLOSED, "\nconst ", "\nfunction "),
    ),
    "java": Language(
        "java",
        "Java",
        ("java",),
        "class",
        r"[\w>\]](?<!\breturn)[ \t]+NAME\s*\(",
        ("import ", "class ", "public ", "final ", "static ", "package "),
        (*_CLOSED, "\nclass ", "\npublic class "),
    ),
    "go": Language(
        "go",
        "Go",
        ("go", "golang"),
        "function",
        r"func\s+NAME\s*[(\[]",
        ("package ", "import ", "func ", "type ", "const ", "var "),
        (*_CLOSED, "\nfunc ", "\ntype "),
    ),
    "cpp": Language(
        "cpp",
        "C++",
        ("cpp", "c++", "cc", "cxx", "c"),
        "function",
        r"[\w>*&](?<!\breturn)[ \t*&]+NAME\s*\(",
        ("#include", "using ", "template", "struct ", "namespace ", "static ", "typedef "),
        (*_CLOSED, "\nint main", "\n#include"),
    ),
    "rust": Language(
        "rust",
        "Rust",
        ("rust", "rs"),
        "function",
        r"fn\s+NAME\b",
        ("use ", "fn ", "pub ", "struct ", "enum ", "impl ", "const ", "#["),
        (*_CLOSED, "\nfn ", "\npub fn "),
    ),
}
_IMPORTS = re.compile(r"^(?:import|package|using|use|#include)\b.*", re.MULTILINE)
_NAME = {  # the last function that a declaration opens; a problem's "entry_point" is often spelled otherwise
    "js": r"(?m)^(?:const|let|var|function)\s+(\w+)",
    "java": r"(\w+)\s*\([^()]*\)[^(){};]*\{",
    "go": r"func\s+(\w+)",
    "cpp": r"\b(?!(?:for|if|while|switch)\b)(\w+)\s*\([^()]*\)\s*\{",
    "rust": r"fn\s+(\w+)",
}


def _items(key: str, data: Path | None, seed: int) -> list[Item]:
    language = LANGUAGES[key]
    files = Files(data, f"humanevalpack-{key}", "humanevalpack", "bigcode/humanevalpack")
    name = files.first(f"data/{key}/data/humanevalpack.jsonl", f"{key}.jsonl", f"{key}/test-00000-of-00001.parquet")
    found = []
    for row in files.rows(name):
        fields = ("task_id", "prompt", "declaration", "canonical_solution", "entry_point", "test")
        task_id, prompt, declaration, solution, entry_point, test = (row.text(field) for field in fields)
        if key == "python":
            before, mark, rest = prompt.rpartition(f"def {entry_point}(")
            if not mark:
                raise UserError(f'{row.where}: "prompt" does not define {entry_point}')
            problem = CodeProblem(entry_point, before, mark + rest, test)
        else:
            if key == "go":
                test = row.text("test_setup") + "\n" + test
            if key == "cpp" and not ("main" in test and test.rstrip().endswith("}")):
                raise UserError(f'{row.where}: "test" must end with the function main')
            names = list(re.finditer(_NAME[key], hide_literals(language.name, declaration)))
            if not names:
                raise UserError(f'{row.where}: "declaration" opens no {language.title} function')
            line = declaration.rfind("\n", 0, names[-1].start(1)) + 1
            problem = CodeProblem(names[-1].group(1), declaration[:line], prompt.strip(), test)
        ask = f"Complete this {language.title} function. Answer with the whole {language.whole} in one code block."
        said = f"{ask}\n\n```{language.labels[0]}\n{prompt.strip()}\n```"
        item = Item(task_id, [{"role": "user", "content": said}], solution, "en", length_kind(solution), {"problem": problem})
        found.append(item)
    return found


def _raw(key: str, item: Item) -> str:
    """What a base model continues. Without its last line end, as published: a model has seen few texts cut after one."""
    problem = problem_of(item)
    return problem.before + problem.opening if key == "python" else problem.opening


def _continued(key: str, item: Item, text: str) -> str:
    """The program of a continuation."""
    opening = problem_of(item).opening
    text = text if text[:1] in ("", "\n", "\r") else "\n" + text
    return opening + close_braces(LANGUAGES[key].name, opening, text)


def _block(key: str, item: Item, text: str) -> str | None:
    """The code block that counts: the last of the language that defines the function, else the last; None without any."""
    labels = ("", *LANGUAGES[key].labels)
    blocks = fenced_blocks(text)
    known = [code for label, code in blocks if label in labels] or [code for _, code in blocks]
    chosen = [code for code in known if _defines(key, item, code)] or known
    return chosen[-1] if chosen else None


def _defines(key: str, item: Item, code: str) -> bool:
    return _opens(key, problem_of(item).entry_point, hide_literals(LANGUAGES[key].name, code))


def _opens(key: str, name: str, hidden: str) -> bool:
    """Whether code, its literals hidden, defines a function of this name."""
    return re.search(LANGUAGES[key].definition.replace("NAME", re.escape(name)), hidden) is not None


def _whole(key: str, item: Item, code: str) -> str:
    """The program of code that defines the function: what stands above it in the prompt, then the code.

    Only the imports where the code brings the rest with it: Java's class, a helper of the same name.
    """
    above = problem_of(item).before
    hidden = hide_literals(LANGUAGES[key].name, code)
    if key == "java" and not re.search(r"\bclass\s+Solution\b", hidden):
        imports = "\n".join(_IMPORTS.findall(code))
        return f"{imports}\n{above}{_IMPORTS.sub('', code)}\n}}\n"
    helpers = re.findall(_NAME[key], hide_literals(LANGUAGES[key].name, above))
    if key == "java" or any(_opens(key, name, hidden) for name in helpers):
        above = "" if key == "go" else "\n".join(_IMPORTS.findall(above)) + "\n"  # Go's are added where they are used
    if key == "rust":  # names brought in by a star give way to the code's own
        inside = "\n".join(f"pub {line}" for line in _IMPORTS.findall(above))
        return f"mod kwen_above {{\n{inside}\n}}\nuse kwen_above::*;\n{_IMPORTS.sub('', above)}\n{code}"
    return f"{above}\n{code}"


def _strict(key: str, item: Item, text: str) -> str | None:
    if key == "python":
        return strict_code(item, text)
    code = _block(key, item, text)
    if code is None:
        return _continued(key, item, text)
    return _whole(key, item, code) if _defines(key, item, code) else None


def _flexible(key: str, item: Item, text: str) -> str | None:
    if key == "python":
        return flexible_code(item, text)
    block = _block(key, item, text)
    code = _without_prose(key, item, text) if block is None else block
    return _whole(key, item, code) if _defines(key, item, code) else _continued(key, item, text if block is None else block)


def _without_prose(key: str, item: Item, text: str) -> str:
    """From the first line that begins a file, or the function at its left edge, to the last with a closing brace; or nothing."""
    lines = text.splitlines()
    heads = LANGUAGES[key].heads
    begins = (at for at, line in enumerate(lines) if line.startswith(heads) or (line[:1].strip() and _defines(key, item, line)))
    ends = (at for at in range(len(lines), 0, -1) if "}" in lines[at - 1])
    return "\n".join(lines[next(begins, len(lines)) : next(ends, len(lines))])


def _judge(key: str, pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each program passes its problem's tests, all in one go through the sandbox."""
    if key == "python":
        pairs = [(item, _PYTHON_IMPORTS + code) for item, code in pairs]
    return languages.passes(LANGUAGES[key].name, [(code, problem_of(item).tests) for item, code in pairs])


def _require(key: str) -> None:
    if key != "python":
        languages.toolchain(LANGUAGES[key].name)


def _task(key: str) -> Task:
    return Task(
        name=f"humanevalpack-{key}",
        version=1,
        kind="generate",
        items=partial(_items, key),
        strict=partial(_strict, key),
        flexible=partial(_flexible, key),
        judge=partial(_judge, key),
        metric="pass@1",
        settings={"max_new_tokens": 768, "temperature": 0.0},
        needs_sandbox=True,
        require=partial(_require, key),
        base_prompt=partial(_raw, key),
        base_stop=LANGUAGES[key].stop,
    )


TASKS = {f"humanevalpack-{key}": _task(key) for key in LANGUAGES}
