"""Near misses of functions, wrong by construction: each fails the tests of its family, which a test runs once for all of them."""

from functools import cache

from kwen.nanoworld import functions
from kwen.nanoworld.faults import Fault, Scene
from kwen.nanoworld.functions_numbers import Family
from kwen.nanoworld.names import pick
from kwen.nanoworld.prompt_makers import FAMILY, one_vowel_away

# What is written in place of what, in a body whose `{a}` `{b}` `{c}` are not filled in; where the left stands, it is exchanged once.
_SWAPS: tuple[tuple[str, str], ...] = (
    (" + ", " - "), (" - ", " + "), (" * ", " + "), (" / ", " * "), (" // ", " % "), (" ** ", " * "), (" % 2 == 0", " % 2 == 1"),
    (" % 2 == 1", " % 2 == 0"), (" % {b} == 0", " % {b} == 1"), (" > ", " < "), (" < ", " > "), (" <= ", " >= "), (" == ", " != "),
    ("max(", "min("), ("min(", "max("), ("[0]", "[-1]"), ("[0]", "[1]"), ("[-1]", "[0]"), ("[1:]", "[:-1]"), ("[:{b}]", "[{b}:]"),
    ("[::-1]", "[1:]"), ("upper", "lower"), ("lower", "upper"), (", reverse=True", ""), ("sorted({a})", "sorted({a}, reverse=True)"),
    ("sorted({a})", "{a}"), ("set({a})", "{a}"), ("range(1, {a} + 1)", "range(1, {a})"), ("range(2, {a} + 1)", "range(2, {a})"),
    ("range({a}, 0, -1)", "range({a}, 1, -1)"), ("range({a})", "range(1, {a})"), ("startswith", "endswith"), ("endswith", "startswith"),
    (" 2", " 3"), (" 3", " 2"), (" 10", " 100"), (" 60", " 100"), (" 1000", " 100"), (" 32", " 30"), (" + 1", " + 2"), (" - 1", " - 2"),
    (" % 10", " // 10"), ("return -{a}", "return {a}"), ("len(", "sum("), ("sum(", "len("), ("sum(", "max("), ("len({a})", "len({a}) - 1"),
    ("result = 1", "result = 0"), ("count = 0", "count = 1"), (" *= ", " += "), ("result *= i", "result = i"), ("item * 2", "item"),
    ("item * item", "item * 2"), (" in {a}", " not in {a}"), ('"aeiou"', '"aeio"'), ("{a}.split()", "{a}"), ('" ", ""', '" ", "_"'),
    ('"!"', '"?"'), (", key=len", ""), (' + " " + ', " + "), ("{a} + [{b}]", "[{b}] + {a}"), (".count({b})", ".index({b})"), ("abs({a} - {b})", "{a} - {b}"),
    ("{a} * {a}", "{a} * 2"), ("{a} ** 3", "{a} * 3"), ("{a} - {b}", "{b} - {a}"), ("{a} // {b}", "{b} // {a}"), ("{a} % {b}", "{b} % {a}"),
    ("{a} ** {b}", "{b} ** {a}"), ("int(str({a})[::-1])", "str({a})[::-1]"), ("2 * ({a} + {b})", "{a} * {b}"), ("({a} + {b}) / 2", "{a} + {b} / 2"),
)  # fmt: skip
# Exchanges (family, old, new) that change nothing.
_HARMLESS = frozenset({("distance", "{a} - {b}", "{b} - {a}")})


@cache
def mutants(family: str) -> tuple[tuple[str, ...], ...]:
    """Every body of a family with one thing exchanged, `{a}` `{b}` `{c}` for its parameters; all of them fail its tests."""
    body = FAMILY[family].body
    made: dict[tuple[str, ...], None] = {}
    for old, new in _SWAPS:
        for place, line in enumerate(body):
            if old in line and (family, old, new) not in _HARMLESS:
                made[(*body[:place], line.replace(old, new, 1), *body[place + 1 :])] = None
    returns = body[-1]
    made[(*body[:-1], returns.replace("return ", "", 1))] = None
    return tuple(made)


def _parameters(code: str) -> tuple[str, ...]:
    """The parameter names of a function's first line."""
    return tuple(code.split("(", 1)[1].split(")", 1)[0].split(", "))


def _code(scene: Scene) -> str:
    return scene.prompt.answer.removeprefix("```python\n").removesuffix("\n```")


def _written(scene: Scene, family: Family) -> str:
    """A family's code under the name and parameters that were asked for, as an answer."""
    return functions.as_answer(functions.write(family, scene.prompt.entry_point, _parameters(_code(scene))))


def wrong_operator(scene: Scene) -> str:
    """One operator, bound, index or call exchanged, or the return forgotten."""
    asked = FAMILY[scene.prompt.kind]
    body = pick(scene.rng, mutants(asked.name))
    return _written(scene, Family(asked.name, asked.parameters, body, (), (), ()))


def another_function(scene: Scene) -> str | None:
    """The code of another family with the same parameters: no family passes the tests of another."""
    asked = FAMILY[scene.prompt.kind]
    others = [family for family in functions.FAMILIES if family.parameters == asked.parameters and family is not asked]
    return _written(scene, pick(scene.rng, others)) if others else None


def wrong_name(scene: Scene) -> str | None:
    """Right code under a name with one wrong vowel, or with a part of it gone."""
    name = scene.prompt.entry_point
    parts = name.split("_")
    wrong = pick(scene.rng, parts) if len(parts) > 1 and scene.rng.random() < 0.3 else one_vowel_away(scene.rng, name, "en")
    return scene.prompt.answer.replace(f"def {name}(", f"def {wrong}(") if wrong != name else None


def wrong_parameter(scene: Scene) -> str | None:
    """A parameter by another name than the body uses."""
    code = _code(scene)
    head, _, body = code.partition("\n")
    parameters = _parameters(code)
    asked = FAMILY[scene.prompt.kind].parameters
    others = [names for names in functions.PARAMETERS[asked] if not set(names) & set(parameters)]
    if not others:
        return None
    changed = head.replace(f"({', '.join(parameters)})", f"({', '.join(pick(scene.rng, others))})")
    return functions.as_answer(f"{changed}\n{body}")


def words_only(scene: Scene) -> str:
    """What the function does in words, and no code."""
    family = FAMILY[scene.prompt.kind]
    name, english = scene.prompt.entry_point, scene.prompt.language == "en"
    description = pick(scene.rng, family.english if english else family.chinese)
    return f"The function {name} {description}." if english else f"函数 {name} {description}。"


FUNCTIONS: dict[str, Fault] = {
    "wrong_operator": wrong_operator, "another_function": another_function, "wrong_name": wrong_name, "wrong_parameter": wrong_parameter,
    "words_only": words_only,
}  # fmt: skip
"""The faults of functions, by name."""
