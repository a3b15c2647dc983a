"""Tasks for a code interpreter (the shapes of the report's Tables 7 and 8): sums, lists and words, plots of numbers that are given,
and plots of a file whose columns have to be looked at first.

A plot is known by its data: its form and the values that it shows.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from kwen.errors import UserError
from kwen.nanoworld.names import Language, Names, Split, pick
from kwen.nanoworld.tool_setting import Call
from kwen.nanoworld.tool_tasks import conversation
from kwen.nanoworld.tools_programs import program
from kwen.nanoworld.tools_wordings import RESULT, Requests
from kwen.nanoworld.world import build_world

InterpreterKind = Literal["maths", "general", "plot-easy", "plot-hard"]
INTERPRETER_KINDS: tuple[InterpreterKind, ...] = get_args(InterpreterKind)
Form = Literal["line", "bars", "points"]
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "maths": ("sum", "power", "remainder", "divisors", "common"), "general": ("sorted", "largest", "upper"),
}  # fmt: skip
_DRAW: dict[Form, str] = {"line": "plt.plot(y)", "bars": "plt.bar(range(len(y)), y)", "points": "plt.scatter(range(len(y)), y)"}
_FORMS: dict[Form, tuple[str, str]] = {"line": ("a line", "折线"), "bars": ("bars", "柱子"), "points": ("points", "点")}
_PLACES = (("first", "一"), ("second", "二"), ("third", "三"))
_EASY = Requests(
    ("Use Python to draw {list} as {form}.", "Plot {list} as {form}."), ("用 Python 把{list}画成{form}。", "把{list}画成{form}。"),
    ("Could you draw {list} as {form} in Python?",), ("你可以用 Python 把{list}画成{form}吗？",),
)  # fmt: skip
_HARD = Requests(
    ("Draw the {place} column of {file} as {form}.", "Plot {file}: the {place} column as {form}."), ("把 {file} 的第{place}列画成{form}。", "画出 {file} 第{place}列，画成{form}。"),
    ("Could you draw the {place} column of {file} as {form}?",), ("你可以把 {file} 的第{place}列画成{form}吗？",),
)  # fmt: skip
DRAWN: dict[Language, str] = {"en": "Here is the plot.", "zh": "图画好了。"}
SHOWN = "[1 image shown to the user]"
"""What the interpreter says to a cell that draws and prints nothing."""
READ = 'import pandas as pd\ndata = pd.read_csv("{file}")\nprint(data.columns[{place}])'


@dataclass(frozen=True, slots=True)
class Plot:
    """What a right plot shows: its form, and the values in their order."""

    form: Form
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InterpreterTask:
    """A request, the files in the workspace (name to text), the cells of a good solution with what they show, and what a right one
    ends in: a value, or a plot."""

    id: str
    language: Language
    kind: InterpreterKind
    request: str
    calls: tuple[Call, ...]
    ideal: str
    answer: str = ""
    plot: Plot | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The ideal conversation in OpenAI's form."""
        return conversation(self.request, self.calls, self.ideal)


def interpreter_tasks(
    seed: int, count: int, split: Split = "train", kinds: Sequence[InterpreterKind] = INTERPRETER_KINDS, world_seed: int = 0
) -> Iterator[InterpreterTask]:
    """`count` tasks, each a pure function of (seed, its number, split, kinds, world); kinds take turns, two in five are in Chinese.

    Held-out tasks have names and phrasings that training never has. Raises UserError for an unknown kind and for none.
    """
    unknown = [kind for kind in kinds if kind not in INTERPRETER_KINDS]
    if unknown or not kinds:
        raise UserError(
            f"nanoworld interpreter tasks: no kind '{unknown[0] if unknown else ''}'; the kinds are {', '.join(INTERPRETER_KINDS)}"
        )
    names = Names(split, build_world(world_seed).taken_names)
    for number in range(count):
        turn, place = divmod(number, len(kinds))
        language: Language = "zh" if 2 * (turn + place) % 5 < 2 else "en"
        rng = random.Random(f"{seed}/interpreter_tasks/{split}/{kinds[place]}/{number}")
        yield draw_interpreter_task(rng, kinds[place], language, names, f"{split}-{seed}-{kinds[place]}-{number}")


def draw_interpreter_task(
    rng: random.Random, kind: InterpreterKind, language: Language, names: Names, name: str = ""
) -> InterpreterTask:
    """One task of a kind, `name` its id."""
    if kind in _PROGRAMS:
        made = program(rng, language, names, pick(rng, _PROGRAMS[kind]))
        call = Call("python", {"code": made.code}, made.output)
        return InterpreterTask(name, language, kind, made.request, (call,), RESULT[language].format(v=made.output), made.output)
    draw = _easy if kind == "plot-easy" else _hard
    form = pick(rng, tuple(_FORMS))
    request, calls, values, files = draw(rng, language, names, form)
    return InterpreterTask(name, language, kind, request, calls, DRAWN[language], "", Plot(form, tuple(values)), files)


_Drawn = tuple[str, tuple[Call, ...], list[int], dict[str, str]]


def _easy(rng: random.Random, language: Language, names: Names, form: Form) -> _Drawn:
    values = rng.sample(range(2, 99), pick(rng, (3, 4, 5)))
    slots = {"list": ", ".join(map(str, values)), "form": _FORMS[form][language == "zh"]}
    request = pick(rng, _EASY.requests(language, names.split)).format(**slots)
    return request, (_drawing(form, str(values)),), values, {}


def _hard(rng: random.Random, language: Language, names: Names, form: Form) -> _Drawn:
    columns = [name.lower() for name in names.some(rng, "en", 4)]
    file, rows = f"{columns.pop()}.csv", pick(rng, (4, 5, 6))
    table = [rng.sample(range(2, 99), rows) for _ in columns]
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*table, strict=True))]
    place = pick(rng, range(3))
    slots = {"file": file, "place": _PLACES[place][language == "zh"], "form": _FORMS[form][language == "zh"]}
    request = pick(rng, _HARD.requests(language, names.split)).format(**slots)
    looked = Call("python", {"code": READ.format(file=file, place=place)}, columns[place])
    drawn = _drawing(form, f'data["{columns[place]}"]')
    return request, (looked, drawn), table[place], {file: "\n".join(lines) + "\n"}


def _drawing(form: Form, values: str) -> Call:
    return Call("python", {"code": f"import matplotlib.pyplot as plt\ny = {values}\n{_DRAW[form]}\nplt.show()"}, SHOWN)
