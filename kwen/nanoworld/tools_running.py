"""What the tools do: pure functions of a call's arguments and the world's seed.

A result is in the language of the call's first text: Chinese where that has a Chinese character. What nobody invented is a hash.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

from kwen.nanoworld.names import Language, Names, pick, split_of
from kwen.nanoworld.tools_calculator import ToolError, calculate, written
from kwen.nanoworld.tools_records import Record
from kwen.nanoworld.world import RELATIONS, WEEKDAYS, Fact, build_world

Run = Callable[[Mapping[str, Any], int], str]
"""A tool's work: from arguments, checked to be there and of their types, and the world's seed to the result."""

EVENTS = (
    ("a market", "集市"), ("a concert", "音乐会"), ("a race", "赛跑"), ("a wedding", "婚礼"), ("a meeting", "会议"), ("a parade", "游行"),
    ("a dance", "舞会"), ("nothing", "没有活动"),
)  # fmt: skip
MONTHS = (
    ("January", 31), ("February", 28), ("March", 31), ("April", 30), ("May", 31), ("June", 30), ("July", 31), ("August", 31),
    ("September", 30), ("October", 31), ("November", 30), ("December", 31),
)  # fmt: skip
"""The months of the world's one year, which begins on a Monday, and their days."""
UNITS: tuple[tuple[tuple[tuple[str, str], int], ...], ...] = (
    ((("cm", "厘米"), 1), (("m", "米"), 100), (("km", "公里"), 100_000)),
    ((("g", "克"), 1), (("kg", "公斤"), 1000)),
    ((("seconds", "秒"), 1), (("minutes", "分钟"), 60), (("hours", "小时"), 3600), (("days", "天"), 86_400), (("weeks", "周"), 604_800)),
)  # fmt: skip
"""What can be converted: groups of units (English and Chinese name) with their sizes in the group's smallest."""
_SIZES = {name: (group, size) for group, units in enumerate(UNITS) for names, size in units for name in names}
_DATE = re.compile(r"([A-Za-z]+) (\d{1,2})|(\d{1,2})月(\d{1,2})[日号]", re.ASCII)
_CHINESE = re.compile(r"[一-鿿]")
_MOST_REPEATS, _LONGEST_TEXT = 50, 200


def language_of(text: str) -> Language:
    """The language that a result about `text` is in."""
    return "zh" if _CHINESE.search(text) else "en"


def hashed(seed: int, *parts: str) -> int:
    """A whole number that the parts, in any case, decide."""
    return int.from_bytes(hashlib.sha256("/".join((str(seed), *parts)).lower().encode()).digest()[:8], "big")


def date(month: int, day: int, language: Language) -> str:
    """A date as it is written: "May 3", 5月3日."""
    return f"{MONTHS[month - 1][0]} {day}" if language == "en" else f"{month}月{day}日"


def _read_date(text: str) -> tuple[int, int]:
    """(month, day) of a written date."""
    found = _DATE.fullmatch(text.strip())
    if found:
        name, english_day, number, chinese_day = found.groups()
        names = [month.lower() for month, _ in MONTHS]
        month = int(number) if number else names.index(name.lower()) + 1 if name.lower() in names else 0
        day = int(chinese_day or english_day)
        if 1 <= month <= len(MONTHS) and 1 <= day <= MONTHS[month - 1][1]:
            return month, day
    raise ToolError(f"'{text}' is no date")


@cache
def _spellings(seed: int) -> dict[str, str]:
    """Every name of the world's entities to the English one in lower case."""
    entities = build_world(seed).entities
    english = [entity.english.lower() for entity in entities]
    return dict(zip((entity.chinese for entity in entities), english, strict=True)) | {name: name for name in english}


@cache
def _facts(seed: int) -> dict[tuple[str, str], Fact]:
    """The world's facts by relation and subject."""
    return {(fact.relation, fact.subject.english.lower()): fact for fact in reversed(build_world(seed).facts)}


def canonical(name: str, seed: int) -> str:
    """The English name of one of the world's entities, however it was written; any other text as it is, in lower case."""
    lower = name.strip().lower()
    return _spellings(seed).get(lower, lower)


def _known(name: str, relation: str, seed: int) -> Fact | None:
    """The world's own fact of that relation about `name`."""
    return _facts(seed).get((relation, canonical(name, seed)))


def _invented(key: str, text: str, seed: int) -> str:
    """A person's name for `text`, of the split of `text`."""
    world = build_world(seed)
    return Names(split_of(text), world.taken_names).name(random.Random(f"{seed}/{key}/{text.lower()}"), language_of(text))


def running(record: Record) -> Run:
    """What a record tool does."""
    sort, *given = record.values.split()

    def run(arguments: Mapping[str, Any], seed: int) -> str:
        text = arguments[record.parameter]
        language = language_of(text)
        place = 0 if language == "en" else 1
        fact = _known(text, record.name, seed)
        number = hashed(seed, record.name, text)
        if sort == "number":
            low, high, *units = given
            value = fact.english if fact else str(int(low) + number % (int(high) - int(low) + 1))
            return value if units[0] == "-" else value + (" " + units[0] if language == "en" else units[1])
        if sort == "word":
            return given[number % len(given)].split("/")[place]
        if sort == "town":
            return fact.value(language) if fact else build_world(seed).of_kind("town")[number % 12].name(language)
        if sort == "date":
            month = 1 + number % 12
            return date(month, 1 + number // 12 % MONTHS[month - 1][1], language)
        return _invented(record.name, text, seed)

    return run


def run_order(arguments: Mapping[str, Any], seed: int) -> str:
    """The number of an order of `count` pieces."""
    if not 1 <= arguments["count"] <= 1000:
        raise ToolError("count must be from 1 to 1000")
    return _numbered("order", arguments, seed)


def _numbered(name: str, arguments: Mapping[str, Any], seed: int) -> str:
    """A four-figure number that the arguments decide."""
    return str(1000 + hashed(seed, name, *(str(value) for value in arguments.values())) % 9000)


def numbered(name: str) -> Run:
    """A tool that notes something down and gives the number of its note."""
    return lambda arguments, seed: _numbered(name, arguments, seed)


def run_calendar(arguments: Mapping[str, Any], seed: int) -> str:
    """What is on, on a date."""
    month, day = _read_date(arguments["date"])
    return EVENTS[hashed(seed, "calendar", f"{month}-{day}") % len(EVENTS)][language_of(arguments["date"]) == "zh"]


def run_free(arguments: Mapping[str, Any], seed: int) -> str:
    """Whether a day is free or busy."""
    month, day = _read_date(arguments["date"])
    busy = hashed(seed, "free", f"{month}-{day}") % 2
    return (("free", "busy"), ("有空", "没空"))[language_of(arguments["date"]) == "zh"][busy]


def run_weekday(arguments: Mapping[str, Any], seed: int) -> str:
    """The weekday of a date."""
    month, day = _read_date(arguments["date"])
    days = sum(length for _, length in MONTHS[: month - 1]) + day - 1
    return WEEKDAYS[days % 7][language_of(arguments["date"]) == "zh"]


def _ends(arguments: Mapping[str, Any], seed: int) -> list[str]:
    """Both ends of a way in a fixed order, so that there and back are the same."""
    ends = sorted(canonical(arguments[key], seed) for key in ("start", "goal"))
    if ends[0] == ends[1]:
        raise ToolError("start and goal are the same")
    return ends


def _between(name: str, low: int, high: int, units: tuple[str, str]) -> Run:
    """A tool that tells a number of two places."""

    def run(arguments: Mapping[str, Any], seed: int) -> str:
        value = low + hashed(seed, name, *_ends(arguments, seed)) % (high - low + 1)
        return f"{value} {units[0]}" if language_of(arguments["start"]) == "en" else f"{value}{units[1]}"

    return run


run_distance = _between("distance", 3, 98, ("km", "公里"))
run_taxi = _between("taxi", 6, 80, ("coins", "元"))


def run_bus(arguments: Mapping[str, Any], seed: int) -> str:
    """When the bus between two places leaves: it runs hourly, at the same minute."""
    number = hashed(seed, "bus", arguments["start"], arguments["goal"])
    return f"{6 + number % 16}:{number // 16 % 12 * 5:02d}"


def run_way(arguments: Mapping[str, Any], seed: int) -> str:
    """The town that lies between two places."""
    ends = _ends(arguments, seed)
    towns = [town for town in build_world(seed).of_kind("town") if town.english.lower() not in ends]
    return towns[hashed(seed, "way", *ends) % len(towns)].name(language_of(arguments["start"]))


def run_convert(arguments: Mapping[str, Any], seed: int) -> str:
    """A value in another unit, with that unit's name."""
    unit, to = arguments["unit"].strip(), arguments["to"].strip()
    for name in (unit, to):
        if name not in _SIZES:
            raise ToolError(f"'{name}' is no unit; the units are {', '.join(_SIZES)}")
    if _SIZES[unit][0] != _SIZES[to][0]:
        raise ToolError(f"{unit} cannot be converted to {to}")
    value = written(Fraction(str(arguments["value"])) * _SIZES[unit][1] / _SIZES[to][1])
    return f"{value} {to}" if language_of(to) == "en" else f"{value}{to}"


def run_calculator(arguments: Mapping[str, Any], seed: int) -> str:
    """The value of an expression."""
    return calculate(arguments["expression"])


def run_percent(arguments: Mapping[str, Any], seed: int) -> str:
    """So many per cent of a value."""
    return written(Fraction(str(arguments["percent"])) * Fraction(str(arguments["value"])) / 100)


def run_lookup(arguments: Mapping[str, Any], seed: int) -> str:
    """A fact about a name: the world's own, else one of the relation's values."""
    relation = arguments["fact"].strip().lower()
    if relation not in RELATIONS:
        raise ToolError(f"'{relation}' is no fact; the facts are {', '.join(RELATIONS)}")
    name = arguments["name"]
    language = language_of(name)
    fact = _known(name, relation, seed)
    values = build_world(seed).values[relation, language]
    return fact.value(language) if fact else values[hashed(seed, relation, name) % len(values)]


def run_letters(arguments: Mapping[str, Any], seed: int) -> str:
    """How many letters or characters a text has."""
    return str(sum(character.isalnum() for character in arguments["text"]))


def run_reverse(arguments: Mapping[str, Any], seed: int) -> str:
    """A text from its end to its beginning."""
    return str(arguments["text"])[::-1]


def run_repeat(arguments: Mapping[str, Any], seed: int) -> str:
    """A text so many times."""
    if not 1 <= arguments["count"] <= _MOST_REPEATS or len(arguments["text"]) > _LONGEST_TEXT:
        raise ToolError(f"text of {_LONGEST_TEXT} characters and count of {_MOST_REPEATS} at most")
    return " ".join([str(arguments["text"])] * int(arguments["count"]))


def drawn_date(rng: random.Random, language: Language) -> str:
    """A date of the year, all months equally often."""
    month = 1 + int(rng.random() * 12)
    return date(month, pick(rng, range(1, MONTHS[month - 1][1] + 1)), language)
