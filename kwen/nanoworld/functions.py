"""Small Python functions: requests in both languages, code, tests. The name is always new, so it has to be copied."""

import random
from dataclasses import dataclass

from kwen.nanoworld.functions_lists import LISTS, TEXTS
from kwen.nanoworld.functions_numbers import NUMBERS, Family
from kwen.nanoworld.names import Language, Names, pick

FAMILIES: tuple[Family, ...] = NUMBERS + LISTS + TEXTS

# The parameter names that a request may ask for, by the kinds of the parameters; the first stands where the request names none.
PARAMETERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "n": (("n",), ("x",), ("number",), ("value",)),
    "nn": (("a", "b"), ("x", "y"), ("m", "n"), ("first", "second")),
    "nnn": (("a", "b", "c"), ("x", "y", "z"), ("first", "second", "third")),
    "l": (("items",), ("values",), ("numbers",), ("entries",)),
    "ln": (("items", "n"), ("values", "x"), ("numbers", "limit")),
    "s": (("text",), ("s",), ("line",), ("phrase",)),
    "sn": (("text", "n"), ("s", "times"), ("line", "size")),
    "ss": (("text", "other"), ("s", "t"), ("left", "right")),
}
_REQUESTS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write a Python function {f} that {d}.", "Write a function called {f} that {d}.", "Define a function named {f} that {d}.",
        "I need a Python function {f} that {d}.", "Please write a function {f} which {d}.",
        "Can you write a function {f} that {d}?",
        "Give me a Python function {f} which {d}.",
    ),
    "zh": (
        "写一个名为 {f} 的 Python 函数，{d}。", "请写一个函数 {f}，{d}。", "定义函数 {f}，{d}。", "我需要一个函数 {f}，{d}。",
        "用 Python 写函数 {f}，{d}。",
    ),
}  # fmt: skip
_REQUESTS_WITH_PARAMETERS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write the function {f}({p}) that {d}.",
        "Define {f}({p}) which {d}.",
        "Please write {f}({p}), a Python function that {d}.",
    ),
    "zh": ("写函数 {f}({p})，{d}。", "请定义 {f}({p})，{d}。", "用 Python 写 {f}({p})，{d}。"),
}


@dataclass(frozen=True)
class Function:
    """A requested function: what was asked, under which name, the code that does it, its tests and a call to show."""

    family: str
    name: str
    request: str
    description: str
    code: str
    tests: tuple[str, ...]


def write(family: Family, name: str, parameters: tuple[str, ...]) -> str:
    """The code of a family under a name, with these parameter names."""
    slots = dict(zip("abc", parameters, strict=False))
    return "\n".join([f"def {name}({', '.join(parameters)}):", *(f"    {line.format(**slots)}" for line in family.body)])


def asserts_of(family: Family, name: str) -> tuple[str, ...]:
    """The family's tests as assert statements on that name."""
    return tuple(f"assert {name}({arguments}) == {value}" for arguments, value in family.tests)


def function(rng: random.Random, language: Language, names: Names) -> Function:
    """A function of any family under a new name of the split of `names`; two requests in five also name its parameters."""
    family = pick(rng, FAMILIES)
    name = names.function_name(rng)
    description = pick(rng, family.english if language == "en" else family.chinese)
    if rng.random() < 0.4:
        parameters = pick(rng, PARAMETERS[family.parameters])
        request = pick(rng, _REQUESTS_WITH_PARAMETERS[language]).format(f=name, p=", ".join(parameters), d=description)
    else:
        parameters = PARAMETERS[family.parameters][0]
        request = pick(rng, _REQUESTS[language]).format(f=name, d=description)
    return Function(family.name, name, request, description, write(family, name, parameters), asserts_of(family, name))


def as_answer(code: str) -> str:
    """Code as the assistant answers with it: one fenced block and nothing else."""
    return f"```python\n{code}\n```"


def as_document(rng: random.Random, made: Function, language: Language) -> str:
    """A function as text to read: the request as a comment or a line above, the description as a docstring, or a call below."""
    head, _, body = made.code.partition("\n")
    style = rng.random()
    if style < 0.45:
        return f"{made.request}\n{as_answer(made.code)}"
    if style < 0.65:
        return f"# {made.request}\n{made.code}"
    if style < 0.8:
        sentence = made.description[0].upper() + made.description[1:] + ("." if language == "en" else "。")
        return f'# {made.name}\n{head}\n    """{sentence}"""\n{body}'
    return f"# {made.request}\n{made.code}\n\n{pick(rng, made.tests)}"
