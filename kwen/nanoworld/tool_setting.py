"""What tasks for tools are made from: a box of tools, and a setting of random numbers, language and names."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import Language, Names, Split, pick
from kwen.nanoworld.tools import TOOLS, WorldTool, of_record, tool_names
from kwen.nanoworld.tools_records import HELD_OUT_RECORDS, TRAINING_RECORDS, Record
from kwen.nanoworld.tools_wordings import NOUN_FRAMES, PLANS
from kwen.nanoworld.world import COLOURS, JOBS, World

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?: ?[a-z]+| ?[一-鿿]+)?")
_INVENTED_VALUES = (
    "number 2 99 coins 元",
    "person",
    "word " + " ".join("/".join(pair) for pair in COLOURS),
    "number 2 99 kg 公斤",
)

# Questions about a tool that exists for once: for training, and the one that is held out.
_ASKED = (
    ("What is the {item} of the {job} {x}?", "What {item} is there for the {job} {x}?", "{x} has what {item}?",
     "How about the {item} of {x}?", "Do you know which {item} {x} has?", "Look up {x}: what {item}?"),
    "Which {item} has the {job} {x}?",
)  # fmt: skip
_ASKED_CHINESE = (
    ("{job}{x}的{item}是什么？", "{x}的{item}是哪个？", "{x}用哪种{item}？", "你知道{x}的{item}吗？", "{item}呢，{job}{x}的？"),
    "{job}{x}有什么{item}？",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool and what the tool answers."""

    name: str
    arguments: dict[str, Any]
    result: str


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that tasks are about (`asked`: what a first step may call) and all that may be called or offered."""

    asked: tuple[str, ...]
    tools: Mapping[str, WorldTool] = field(repr=False)
    records: Mapping[str, Record] = field(repr=False)

    def asked_records(self, *values: str) -> list[Record]:
        """The records among `asked` whose values are of one of these sorts; numbers only where they have a unit."""
        return [record for name in self.asked if (record := self.records.get(name)) and record_sort(record) in values]


def record_sort(record: Record) -> str:
    """What a record tells: "number", "code" for a number without unit (one does not reckon with room numbers), and so on."""
    return "code" if record.values.endswith(" - -") else record.values.split()[0]


def toolbox(split: Split) -> Toolbox:
    """The training tools, or the held-out ones with, for later steps, all others."""
    records = TRAINING_RECORDS if split == "train" else HELD_OUT_RECORDS + TRAINING_RECORDS
    tools = {name: tool for name, tool in TOOLS.items() if split == "held_out" or tool.split == "train"}
    return Toolbox(tool_names(split), tools, {record.name: record for record in records})


def with_invented(box: Toolbox, rng: random.Random, count: int) -> Toolbox:
    """The toolbox with `count` record tools that exist for once ("lamp of a baker"), and only these asked about.

    They teach to choose by what a description says: nobody has seen them before.
    """
    made: dict[str, Record] = {}
    for place, item in enumerate(rng.sample([item for item in ITEMS if item.one not in TOOLS], count)):
        job, chinese_job = pick(rng, JOBS)
        values = _INVENTED_VALUES[place % len(_INVENTED_VALUES)]
        asked, asked_chinese = (
            (pick(rng, ways[0]).format(item=thing, job=who, x="{x}"), ways[1].format(item=thing, job=who, x="{x}"))
            for ways, thing, who in ((_ASKED, item.one, job), (_ASKED_CHINESE, item.chinese, chinese_job))
        )
        made[item.one] = Record(
            item.one, job, f"{item.one} of a {job}", f"{chinese_job}的{item.chinese}", values,
            f"the {item.one} of {{x}}", f"{{x}}的{item.chinese}", asked, asked_chinese,
        )  # fmt: skip
    tools = {name: of_record("train", record) for name, record in made.items()}
    return Toolbox(tuple(made), {**box.tools, **tools}, {**box.records, **made})


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a plan comes from: random numbers, world, language, names (and so the split of phrasings) and tools."""

    rng: random.Random
    world: World
    language: Language
    names: Names
    box: Toolbox

    def name(self) -> str:
        """A new name."""
        return self.names.name(self.rng, self.language)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.rng.random() * (high - low + 1))

    def call(self, name: str, **arguments: Any) -> Call:
        """A call with its result."""
        return Call(name, arguments, self.box.tools[name].call(arguments, self.world.seed))

    def request(self, plan: str, **slots: Any) -> str:
        """The request of a plan, its slots filled."""
        return pick(self.rng, PLANS[plan].requests(self.language, self.names.split)).format(**slots)

    def ask_noun(self, phrase: str) -> str:
        """A request for what a noun phrase names."""
        return pick(self.rng, NOUN_FRAMES[self.language][self.names.split]).format(np=phrase, Np=capital(phrase))

    def ask_record(self, record: Record, subject: str) -> str:
        """A request for a record, by its noun phrase or in a direct question."""
        if self.rng.random() < 0.5:
            return self.ask_noun(record.phrase(self.language).format(x=subject))
        asked = record.asked_english if self.language == "en" else record.asked_chinese
        if self.box.tools[record.name].split == "held_out":
            return pick(self.rng, asked).format(x=subject)
        return asked[self.names.split == "held_out"].format(x=subject)


def capital(text: str) -> str:
    """A text with its first letter a capital."""
    return text[:1].upper() + text[1:]


def number_of(result: str) -> str | None:
    """The number of a result that is one number with or without a unit ("12 kg"), else None."""
    found = _NUMBER.fullmatch(result)
    return found[1] if found else None
