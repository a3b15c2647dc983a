"""Functions composed of steps: drawing chains that belong to a split, writing them in two languages, and testing them.

The hash of a chain of step names decides its split, whatever its numbers. Training also leaves out chains that hold a held-out
chain, so nothing of a held-out combination was ever seen put together. Expected values come from the steps' closures.
"""

import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kwen.nanoworld.code_step import HELPERS, CodeLanguage, Kind, Step
from kwen.nanoworld.code_steps_lists import LIST_STEPS, PAIR_STEPS
from kwen.nanoworld.code_steps_others import NUMBER_STEPS, TEXT_STEPS, WORD_STEPS
from kwen.nanoworld.names import THINGS, Split, pick

STEPS: tuple[Step, ...] = LIST_STEPS + PAIR_STEPS + NUMBER_STEPS + TEXT_STEPS + WORD_STEPS
HELD_OUT_CHAINS = 6
"""One chain in this many is held out."""
VISIBLE, HIDDEN = 3, 6
"""Tests of each kind that a composed function has."""

_STARTS: tuple[Kind, ...] = ("list", "list", "list", "list", "number", "number", "text", "text", "text", "pair")
_INPUT_DRAWS, _LARGEST, _LONGEST = 8, 10**9, 24
_WORDS = (*(thing for thing in THINGS if len(thing) < 7), "noon", "level", "civic", "eve", "the", "a", "old", "moon")
# The names of the parameters by kind; the first where a request names none.
PARAMETERS: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "list": (("items",), ("values",), ("numbers",)),
    "pair": (("left", "right"), ("first", "second")),
    "number": (("n",), ("number",), ("value",)),
    "text": (("text",), ("line",), ("phrase",)),
}
_INNER: dict[Kind, str] = {"list": "items", "number": "n", "text": "text", "words": "words", "counts": "counts"}


@dataclass(frozen=True)
class Link:
    """A step and its number (0 where it has none)."""

    step: Step
    number: int


Chain = tuple[Link, ...]


def _by_group(kind: Kind) -> dict[str, list[Step]]:
    groups: dict[str, list[Step]] = {}
    for step in STEPS:
        if step.takes == kind:
            groups.setdefault(step.group, []).append(step)
    return groups


_GROUPS: dict[Kind, dict[str, list[Step]]] = {
    kind: _by_group(kind) for kind in ("list", "pair", "number", "text", "words", "counts", "truth")
}


# The variables that a step's lines declare in JavaScript, where no name may be declared twice.
_DECLARED = {
    step.name: frozenset(name for line in step.before[1] for name in re.findall(r"^(?:let|const) \[?(\w+)", line)) for step in STEPS
}


def chain_key(steps: Sequence[Step]) -> str:
    """The name of a combination, which decides its split."""
    return "/".join(step.name for step in steps)


def _is_held_out(steps: Sequence[Step]) -> bool:
    return zlib.crc32(f"chain {chain_key(steps)}".encode()) % HELD_OUT_CHAINS == 0


def split_of_chain(steps: Sequence[Step]) -> Split | None:
    """The split that a combination of two or three steps belongs to for ever; None for one that only holds a held-out one."""
    if _is_held_out(steps):
        return "held_out"
    parts = [steps[i:j] for i in range(len(steps)) for j in range(i + 2, len(steps) + 1) if j - i < len(steps)]
    return None if any(_is_held_out(part) for part in parts) else "train"


def _walk(rng: random.Random, weight: int) -> list[Step]:
    """Steps that follow one another, of that weight in all; empty where the walk ended too early."""
    kind, steps = pick(rng, _STARTS), list[Step]()
    while weight:
        groups = _GROUPS[kind]
        if not groups:
            return []
        group = rng.choices(list(groups), [len(members) ** 0.5 for members in groups.values()])[0]
        step = pick(rng, groups[group])
        if step.weight > weight or any(step.name == other.name or _DECLARED[step.name] & _DECLARED[other.name] for other in steps):
            return []
        steps.append(step)
        kind, weight = step.gives, weight - step.weight
    return steps if len(steps) > 1 else []


def draw_chain(rng: random.Random, level: int, split: Split) -> tuple[Chain, list[Any]]:
    """A chain of level 2 or 3 of a split, with `VISIBLE + HIDDEN` inputs that tell it from itself without any one step."""
    while True:
        steps = _walk(rng, level)
        if not steps or split_of_chain(steps) != split:
            continue
        chain = tuple(Link(step, pick(rng, step.numbers) if step.numbers else 0) for step in steps)
        for _ in range(_INPUT_DRAWS):
            inputs = _inputs(rng, steps, VISIBLE + HIDDEN)
            if _tells(chain, inputs):
                return chain, inputs


def run_chain(chain: Chain, value: Any) -> Any:
    """What the function gives for one input (a pair is a list of two lists)."""
    for link in chain:
        value = link.step.run(value, link.number)
    return value


def _tells(chain: Chain, inputs: list[Any]) -> bool:
    """Whether the inputs give different values, and others wherever a step is left out, and every step can do with what it gets."""
    if not all(_goes_through(chain, value) for value in inputs):
        return False
    outputs = [run_chain(chain, value) for value in inputs]
    if len({repr(output) for output in outputs}) < (2 if chain[-1].step.gives == "truth" else 4):
        return False
    for place, link in enumerate(chain):
        if link.step.takes == link.step.gives:
            shorter = chain[:place] + chain[place + 1 :]
            if all(_goes_through(shorter, value) for value in inputs) and [run_chain(shorter, value) for value in inputs] == outputs:
                return False
    return True


def _goes_through(chain: Chain, value: Any) -> bool:
    """Whether all values on the way are small, and of the kind that the next step wants."""
    for link in chain:
        if not (_is_small(value) and _is_wanted(link.step.wants, value)):
            return False
        value = link.step.run(value, link.number)
    return _is_small(value)


def _is_wanted(wants: frozenset[str], value: Any) -> bool:
    for want, most in (("few", 30), ("short", 200)):
        if want in wants and not 0 <= value <= most:
            return False
    least = 1 if "positive" in wants else 0 if "natural" in wants else None
    return least is None or all(number >= least for number in (value if isinstance(value, list) else [value]))


def _is_small(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _LONGEST and all(map(_is_small, value))
    return abs(value) <= _LARGEST if isinstance(value, int) else len(value) < 90


def _inputs(rng: random.Random, steps: Sequence[Step], count: int) -> list[Any]:
    """Different inputs for a chain, the empty list or text among them where it makes sense."""
    wants = frozenset().union(*(step.wants for step in steps))
    kind = steps[0].takes
    make: dict[Kind, Callable[[], Any]] = {
        "list": lambda: _numbers(rng, wants),
        "pair": lambda: _pair(rng, wants),
        "number": lambda: _number(rng, wants),
        "text": lambda: " ".join(pick(rng, _WORDS) for _ in range(1 + int(rng.random() * 5))),
    }
    inputs: list[Any] = []
    while len(inputs) < count:
        value = make[kind]()
        if value not in inputs:
            inputs.append(value)
    if kind in ("list", "text"):
        empty: Any = [] if kind == "list" else ""
        if empty not in inputs:
            inputs[VISIBLE + int(rng.random() * (count - VISIBLE))] = empty
    return inputs


def _numbers(rng: random.Random, wants: frozenset[str]) -> list[int]:
    if "wide" in wants:
        low, high = (1 if "positive" in wants else 0), 150
    else:
        low, high = (0 if "natural" in wants else -6), 15
    values = [low + int(rng.random() * (high - low + 1)) for _ in range(2 + int(rng.random() * 6))]
    for place in range(1, len(values)):
        if rng.random() < 0.25:  # neighbours and repeats, which some steps are about
            values[place] = values[place - 1] if rng.random() < 0.6 else values[0]
        elif "wide" in wants and rng.random() < 0.2:
            values[place] = 11 * (1 + int(rng.random() * 9))
    return sorted(values) if "sorted" in wants else values


def _pair(rng: random.Random, wants: frozenset[str]) -> list[list[int]]:
    left, right = _numbers(rng, wants), _numbers(rng, wants)
    if "sorted" not in wants:
        right[: len(right) // 2] = [pick(rng, left) for _ in range(len(right) // 2)]
    return [left, right]


def _number(rng: random.Random, wants: frozenset[str]) -> int:
    if "few" in wants:
        return 1 + int(rng.random() * 12)
    if "wide" in wants:
        return 11 * (1 + int(rng.random() * 9)) if rng.random() < 0.25 else 1 + int(rng.random() * 999)
    return 1 + int(rng.random() * 24)


def parameters_of(chain: Chain, rng: random.Random | None = None) -> tuple[str, ...]:
    """The parameter names: the usual ones, or, with `rng`, any that requests name."""
    options = PARAMETERS[chain[0].step.takes]
    return pick(rng, options) if rng is not None else options[0]


def write_chain(chain: Chain, name: str, parameters: tuple[str, ...], language: CodeLanguage) -> str:
    """The function in a language, a line or a few for each step, below the helpers that it calls."""
    python = language == "python"
    lines: list[tuple[str, str]] = []  # (variable that the line sets or "", text)
    now = parameters[0]
    for place, link in enumerate(chain):
        step = link.step
        slots = {"{v}": now, "{k}": str(link.number), "{p}": parameters[0], "{q}": parameters[-1]}
        lines += [("", _fill(line, slots)) for line in step.before[0 if python else 1]]
        value = _fill(step.python if python else step.javascript, slots)
        if place == len(chain) - 1:
            lines.append(("", f"return {value}"))
        elif value.isidentifier():  # the lines before have made it
            now = value
        else:
            now = _variable(step.gives, parameters)
            lines.append((now, value))
    helpers = [HELPERS[key] for key in dict.fromkeys(link.step.helper for link in chain) if key]
    if python:
        body = [f"    {variable} = {text}" if variable else f"    {text}" for variable, text in lines]
        parts = ["\n".join(helper.python) for helper in helpers]
        return "\n\n\n".join([*parts, "\n".join([f"def {name}({', '.join(parameters)}):", *body])])
    parts = ["\n".join(helper.javascript) for helper in helpers]
    return "\n\n".join([*parts, "\n".join([f"function {name}({', '.join(parameters)}) {{", *_javascript_body(lines, parameters), "}"])])


def _variable(kind: Kind, parameters: tuple[str, ...]) -> str:
    """The parameter itself where it is of that kind, else the usual name of it."""
    return parameters[0] if parameters in PARAMETERS.get(kind, ()) else _INNER[kind]


def _javascript_body(lines: list[tuple[str, str]], parameters: tuple[str, ...]) -> list[str]:
    """Statements with their declarations: `let` for a variable that is set again, else `const`."""
    known, body = set(parameters), []
    for place, (variable, text) in enumerate(lines):
        if not variable:
            body.append(f"  {text}{';' if text.startswith('return ') else ''}")
            continue
        again = any(later == variable for later, _ in lines[place + 1 :])
        declared = "" if variable in known else "let " if again else "const "
        known.add(variable)
        body.append(f"  {declared}{variable} = {text};")
    return body


def _fill(text: str, slots: dict[str, str]) -> str:
    for slot, value in slots.items():
        text = text.replace(slot, value)
    return text


def literal(value: Any, language: CodeLanguage) -> str:
    """A value as source text; texts in double quotes in both languages."""
    if language == "javascript" or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(literal(item, language) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key, language)}: {literal(item, language)}" for key, item in value.items()) + "}"
    return repr(value)


def check_line(name: str, arguments: Sequence[Any], value: Any, language: CodeLanguage) -> str:
    """One test: `assert f(3) == 9`, or `assertEqual(f(3), 9);`."""
    call = f"{name}({', '.join(literal(argument, language) for argument in arguments)})"
    expected = literal(value, language)
    return f"assert {call} == {expected}" if language == "python" else f"assertEqual({call}, {expected});"


def arguments_of(chain: Chain, value: Any) -> list[Any]:
    """An input as the function's arguments."""
    return list(value) if chain[0].step.takes == "pair" else [value]
