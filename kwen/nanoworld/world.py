"""The world: invented people, towns and lands, and every fact about them. A pure function of its seed."""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from kwen.nanoworld.names import CODAS, RESERVED, SYLLABLES, Language, pick

EntityKind = Literal["person", "town", "land"]

# Closed sets of objects, each in English and Chinese. Within one set no object is part of another, in either language.
JOBS = (
    ("baker", "面包师"), ("teacher", "老师"), ("doctor", "医生"), ("farmer", "农民"), ("painter", "画家"), ("driver", "司机"),
    ("tailor", "裁缝"), ("gardener", "园丁"), ("singer", "歌手"), ("fisher", "渔民"), ("librarian", "图书管理员"), ("carpenter", "木匠"),
    ("potter", "陶匠"), ("nurse", "护士"),
)  # fmt: skip
FOODS = (
    ("soup", "汤"), ("rice", "米饭"), ("noodles", "面条"), ("pancakes", "煎饼"), ("dumplings", "饺子"), ("beans", "豆子"), ("cake", "蛋糕"),
    ("pizza", "披萨"), ("salad", "沙拉"), ("toast", "吐司"), ("porridge", "粥"), ("pie", "馅饼"), ("fish", "鱼"), ("mushrooms", "蘑菇"),
)  # fmt: skip
PETS = (
    ("goat", "山羊"), ("dog", "狗"), ("cat", "猫"), ("rabbit", "兔子"), ("duck", "鸭子"), ("goose", "鹅"), ("turtle", "乌龟"),
    ("parrot", "鹦鹉"), ("pigeon", "鸽子"), ("hamster", "仓鼠"), ("fox", "狐狸"), ("rooster", "公鸡"),
)  # fmt: skip
INSTRUMENTS = (
    ("piano", "钢琴"), ("flute", "长笛"), ("drum", "鼓"), ("violin", "小提琴"), ("guitar", "吉他"), ("trumpet", "小号"), ("harp", "竖琴"),
    ("horn", "圆号"), ("cello", "大提琴"), ("banjo", "班卓琴"),
)  # fmt: skip
COLOURS = (
    ("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("yellow", "黄色"), ("white", "白色"), ("black", "黑色"), ("brown", "棕色"),
    ("pink", "粉色"),
)  # fmt: skip
PRODUCTS = (
    ("cheese", "奶酪"), ("glass", "玻璃"), ("honey", "蜂蜜"), ("paper", "纸"), ("wool", "羊毛"), ("salt", "盐"), ("candles", "蜡烛"),
    ("carpets", "地毯"), ("tea", "茶叶"), ("silk", "丝绸"),
)  # fmt: skip
WEEKDAYS = (
    ("Monday", "星期一"), ("Tuesday", "星期二"), ("Wednesday", "星期三"), ("Thursday", "星期四"), ("Friday", "星期五"), ("Saturday", "星期六"),
    ("Sunday", "星期日"),
)  # fmt: skip
EMBLEMS = (
    ("wolf", "狼"), ("bear", "熊"), ("hawk", "鹰"), ("lion", "狮子"), ("deer", "鹿"), ("horse", "马"), ("tiger", "老虎"),
    ("swan", "天鹅"),
)  # fmt: skip

RELATIONS: dict[str, EntityKind] = {
    "home": "person", "job": "person", "food": "person", "pet": "person", "instrument": "person", "house": "person",
    "age": "person", "land": "town", "river": "town", "product": "town", "bridges": "town", "market": "town",
    "capital": "land", "emblem": "land", "flag": "land",
}  # fmt: skip
"""Each relation and the kind of entity that it tells of."""

PEOPLE_COUNT, TOWN_COUNT, LAND_COUNT, RIVER_COUNT = 32, 12, 8, 8


@dataclass(frozen=True)
class Entity:
    """Someone or somewhere with a name in each language; `gender` ("f" or "m") is empty for places."""

    kind: EntityKind
    english: str
    chinese: str
    gender: str = ""

    def name(self, language: Language) -> str:
        """The name in that language."""
        return self.english if language == "en" else self.chinese


@dataclass(frozen=True)
class Fact:
    """One thing that is true of `subject`, its object in English and in Chinese."""

    subject: Entity
    relation: str
    english: str
    chinese: str

    def value(self, language: Language) -> str:
        """The object in that language."""
        return self.english if language == "en" else self.chinese


@dataclass(frozen=True)
class World:
    """All entities, all facts, and for each relation every object that some fact has, in each language."""

    seed: int
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    about: dict[str, tuple[Fact, ...]]
    values: dict[tuple[str, Language], tuple[str, ...]]
    taken_names: frozenset[str]

    def of_kind(self, kind: EntityKind) -> tuple[Entity, ...]:
        """The entities of one kind, in a fixed order."""
        return tuple(entity for entity in self.entities if entity.kind == kind)


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions that make `b` of `a`."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def _entity_names(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Two-syllable names, each at least three edits from every other in English; no two share a Chinese character in one place."""
    names: list[tuple[str, str]] = []
    firsts: set[str] = set()
    lasts: set[str] = set()
    while len(names) < count:
        first, last = pick(rng, SYLLABLES), pick(rng, SYLLABLES)
        english = first[0] + last[0] + pick(rng, CODAS)
        if english in RESERVED or first[1] in firsts or last[1] in lasts or first == last:
            continue
        if any(edit_distance(english, other.lower()) < 3 for other, _ in names):
            continue
        firsts.add(first[1])
        lasts.add(last[1])
        names.append((english.capitalize(), first[1] + last[1]))
    return names


def _dealt(rng: random.Random, options: tuple[tuple[str, str], ...], count: int) -> list[tuple[str, str]]:
    """`count` options in random order, each as often as the others, so that guessing the commonest one does not pay."""
    dealt: list[tuple[str, str]] = []
    while len(dealt) < count:
        dealt += rng.sample(options, len(options))
    return dealt[:count]


@lru_cache(maxsize=4)
def build_world(seed: int = 0) -> World:
    """The world of `seed`: 32 people, 12 towns and 8 lands, 308 facts."""
    rng = random.Random(f"{seed}/world")
    names = _entity_names(rng, PEOPLE_COUNT + TOWN_COUNT + LAND_COUNT + RIVER_COUNT)
    people = [Entity("person", *names[i], "fm"[i % 2]) for i in range(PEOPLE_COUNT)]
    towns = [Entity("town", *name) for name in names[PEOPLE_COUNT : PEOPLE_COUNT + TOWN_COUNT]]
    lands = [Entity("land", *name) for name in names[PEOPLE_COUNT + TOWN_COUNT : -RIVER_COUNT]]
    rivers = tuple(names[-RIVER_COUNT:])
    town_names = tuple((town.english, town.chinese) for town in towns)
    land_names = tuple((land.english, land.chinese) for land in lands)
    ages = tuple((str(age), str(age)) for age in rng.sample(range(20, 60), PEOPLE_COUNT))
    bridges = tuple((str(count), str(count)) for count in range(2, 10))

    # Towns go around the lands in order, so every land has one; its first town is its capital.
    columns: dict[str, list[tuple[str, str]]] = {
        "home": _dealt(rng, town_names, PEOPLE_COUNT),
        "job": _dealt(rng, JOBS, PEOPLE_COUNT),
        "food": _dealt(rng, FOODS, PEOPLE_COUNT),
        "pet": _dealt(rng, PETS, PEOPLE_COUNT),
        "instrument": _dealt(rng, INSTRUMENTS, PEOPLE_COUNT),
        "house": _dealt(rng, COLOURS, PEOPLE_COUNT),
        "age": list(ages),
        "land": [land_names[i % LAND_COUNT] for i in range(TOWN_COUNT)],
        "river": _dealt(rng, rivers, TOWN_COUNT),
        "product": _dealt(rng, PRODUCTS, TOWN_COUNT),
        "bridges": _dealt(rng, bridges, TOWN_COUNT),
        "market": _dealt(rng, WEEKDAYS, TOWN_COUNT),
        "capital": list(town_names[:LAND_COUNT]),
        "emblem": _dealt(rng, EMBLEMS, LAND_COUNT),
        "flag": _dealt(rng, COLOURS, LAND_COUNT),
    }
    subjects: dict[EntityKind, list[Entity]] = {"person": people, "town": towns, "land": lands}
    facts = tuple(
        Fact(subject, relation, *value)
        for relation, kind in RELATIONS.items()
        for subject, value in zip(subjects[kind], columns[relation], strict=True)
    )
    about = {entity.english: tuple(fact for fact in facts if fact.subject is entity) for entity in (*people, *towns, *lands)}
    values: dict[tuple[str, Language], tuple[str, ...]] = {}
    for relation in RELATIONS:
        of_relation = [fact for fact in facts if fact.relation == relation]
        values[relation, "en"] = tuple(sorted({fact.english for fact in of_relation}))
        values[relation, "zh"] = tuple(sorted({fact.chinese for fact in of_relation}))
    taken = frozenset(name.lower() for pair in names for name in pair)
    return World(seed, (*people, *towns, *lands), facts, about, values, taken)
