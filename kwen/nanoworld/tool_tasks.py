"""Tasks for tools: what is asked, which tools are offered, and the ideal conversation, of no step to four.

Kinds:
  one, two, three, four   so many calls, each with what the one before told
  unneeded                answered without a call: talk, a fact of the world, a name nobody knows, a refusal
  missing                 the tool for it is not among those offered; the honest answer says so
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from kwen.errors import UserError
from kwen.nanoworld import facts, talk, talk_prompts
from kwen.nanoworld.asking import phrasings
from kwen.nanoworld.names import Language, Names, Split, pick
from kwen.nanoworld.tool_plans import SEEN, UNSEEN, Plan, single
from kwen.nanoworld.tool_setting import Call, Setting, Toolbox, toolbox
from kwen.nanoworld.tools import TOOLS, can_replace
from kwen.nanoworld.tools_wordings import NO_TOOL
from kwen.nanoworld.world import RELATIONS, build_world

Kind = Literal["one", "two", "three", "four", "unneeded", "missing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_OFFERED = 5
"""The most tools that are offered at once (report, Table 6)."""
STEPS: dict[Kind, int] = {"one": 1, "two": 2, "three": 3, "four": 4, "unneeded": 0, "missing": 0}
_OFFERED = (1, 2, 3, 3, 3, 4, 5)  # how many tools are offered, where the plan does not need more
_ALIKE = 0.3  # how often a further tool that is offered has a parameter of the same name as the needed one
# What a model could do, or be thought to do, without a tool; there is no honest refusal for it.
_NEVER_MISSING = frozenset(
    {"calculator", "python", "percent", "convert", "letters", "reverse", "repeat", "weekday", "lookup", "age", "home"}
)
# Tools that would answer a question about the world or about an unknown name; they are not offered beside one.
_KNOWING = frozenset({"lookup", "age", "home", "owner", "colour", "king"})
_TRIES = 20  # plans drawn for tools that are offered already, before one counts as not to be had
_UNNEEDED = ("fact", "small_talk", "identity", "unknown", "unsafe")


@dataclass(frozen=True, slots=True)
class ToolTask:
    """A task: the names of the offered tools in order, the ideal conversation, its calls, and what a right answer states.

    answer: the bare value (an empty text where the whole last message is what counts). competitors: values that would be wrong.
    unseen: whether its first tool, or all that it offers, is kept out of training.
    """

    id: str
    language: Language
    kind: Kind
    steps: int
    tools: tuple[str, ...]
    messages: list[dict[str, Any]]
    answer: str
    calls: tuple[Call, ...]
    competitors: tuple[str, ...] = ()
    unseen: bool = False

    def definitions(self) -> list[dict[str, Any]]:
        """The offered tools in OpenAI's form, described in the task's language."""
        return [TOOLS[name].definition(self.language) for name in self.tools]

    @property
    def ideal(self) -> str:
        """The ideal last message."""
        return str(self.messages[-1]["content"])


def conversation(request: str, calls: Sequence[Call], answer: str, first: int = 1) -> list[dict[str, Any]]:
    """The messages of a plan in OpenAI's form: each call in a turn of its own, then its result, and the answer at the end. Calls
    are numbered from `first` on."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": request}]
    for number, call in enumerate(calls, first):
        function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        made = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": call.result})
    return [*messages, {"role": "assistant", "content": answer}]


def tool_tasks(
    seed: int,
    count: int,
    split: Split = "train",
    kinds: Sequence[Kind] = KINDS,
    tools: Split | None = None,
    world_seed: int = 0,
) -> Iterator[ToolTask]:
    """`count` tasks of a split, each a pure function of (seed, its number, split, kinds, tools, world).

    split: of names, numbers and phrasings. tools: whether the tools are those of training or the held-out ones; by default as
    `split` says. Kinds take turns, and two in five tasks are in Chinese. In tasks on held-out tools of several steps only the
    first call is sure to be of a held-out one. Raises UserError for an unknown kind, none, or held-out tools in training.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"nanoworld tool tasks: no kind '{kind}'; the kinds are {', '.join(KINDS)}")
    if not kinds:
        raise UserError(f"nanoworld tool tasks: no kind given; the kinds are {', '.join(KINDS)}")
    tools = tools or split
    if (split, tools) == ("train", "held_out"):
        raise UserError("nanoworld tool tasks: held-out tools are not for the split 'train'; use the split 'held_out'")
    world = build_world(world_seed)
    names, box = Names(split, world.taken_names), toolbox(tools)
    for number in range(count):
        turn, place = divmod(number, len(kinds))
        language: Language = "zh" if 2 * (turn + place) % 5 < 2 else "en"
        rng = random.Random(f"{seed}/tool_tasks/{split}/{tools}/{kinds[place]}/{number}")
        at = Setting(rng, world, language, names, box)
        yield draw_task(at, kinds[place], f"{split}-{tools}-{seed}-{kinds[place]}-{number}")


def draw_task(at: Setting, kind: Kind, name: str = "") -> ToolTask:
    """One task of a kind, `name` its id, in a setting."""
    plan, allowed = _planned(at, kind)
    return _task(at, kind, plan, _offered(at, plan.needed, allowed), name)


def another_task(at: Setting, kind: Kind, offered: tuple[str, ...]) -> ToolTask | None:
    """One more task of a kind where these tools are offered already; None where a few tries found none that suits them."""
    if kind == "one":
        asked = tuple(tool for tool in offered if tool in at.box.asked)
        at = replace(at, box=replace(at.box, asked=asked)) if asked else at
    for _ in range(_TRIES):
        plan, allowed = _planned(at, kind)
        if set(plan.needed) <= set(offered) and all(allowed(tool) for tool in offered if tool not in plan.needed):
            return _task(at, kind, plan, offered)
    return None


def _task(at: Setting, kind: Kind, plan: Plan, offered: tuple[str, ...], name: str = "") -> ToolTask:
    unseen = all(at.box.tools[tool].split == "held_out" for tool in at.box.asked)
    messages = conversation(plan.request, plan.calls, plan.answer)
    return ToolTask(
        name, at.language, kind, len(plan.calls), offered, messages, plan.value, plan.calls, plan.competitors, unseen
    )


def _planned(at: Setting, kind: Kind) -> tuple[Plan, Callable[[str], bool]]:
    """A plan of a kind, and which tools may be offered beside those that it needs."""
    if kind == "unneeded":
        topic = pick(at.rng, _UNNEEDED)
        barred = _KNOWING if topic in ("fact", "unknown") else frozenset()
        return _talk(at, topic), lambda tool: tool not in barred
    if kind == "missing":
        absent = pick(at.rng, [tool for tool in at.box.asked if tool not in _NEVER_MISSING])
        return Plan(single(at, absent).request, (), NO_TOOL[at.language], ""), lambda tool: not can_replace(tool, absent)
    plan = _plan(at, STEPS[kind])
    return plan, lambda tool: not any(can_replace(tool, needed) for needed in plan.needed)


def _plan(at: Setting, steps: int) -> Plan:
    if steps == 1:
        return single(at, pick(at.rng, at.box.asked))
    makers = SEEN if _seen(at.box) else UNSEEN
    return pick(at.rng, makers[steps])(at)


def _seen(box: Toolbox) -> bool:
    """Whether these are the tools that training sees, whole."""
    return "birthday" in box.asked


def _offered(at: Setting, needed: tuple[str, ...], allowed: Callable[[str], bool]) -> tuple[str, ...]:
    """The needed tools and others that are allowed, in any order: as many as drawn, five at most."""
    count = max(len(needed), pick(at.rng, _OFFERED))
    others = [tool for tool in at.box.asked if tool not in needed and allowed(tool)]
    offered = list(needed)
    parameters = set(at.box.tools[needed[0]].types) if needed else set()
    alike = [tool for tool in others if parameters & set(at.box.tools[tool].types)]
    while len(offered) < count:
        choice = pick(at.rng, alike if alike and at.rng.random() < _ALIKE else others)
        if choice not in offered:
            offered.append(choice)
            # Two tools that do the same work would make one of them a matter of taste.
            others = [tool for tool in others if not can_replace(tool, choice)]
            alike = [tool for tool in alike if tool in others]
    at.rng.shuffle(offered)
    return tuple(offered)


def _talk(at: Setting, topic: str) -> Plan:
    """Something that needs no tool; held-out talk is worded as prompts are."""
    if topic == "fact":
        fact = pick(at.rng, at.world.facts)
        value = fact.value(at.language)
        request = facts.question(at.rng, fact, at.language, at.names.split)
        others = tuple(other for other in at.world.values[fact.relation, at.language] if other != value)
        return Plan(request, (), facts.answer_sentence(fact, at.language), value, others)
    if topic == "unknown":
        request, answer = _unknown(at)
    elif at.names.split == "train":
        ask = {"small_talk": talk.small_talk, "identity": talk.identity, "unsafe": talk.unsafe}[topic]
        request, answer = ask(at.rng, at.language)
    else:
        held_out = {"small_talk": talk_prompts.small_talk, "identity": talk_prompts.identity, "unsafe": talk_prompts.unsafe}[topic]
        request, answer = held_out(at.rng, at.language, "held_out")
    return Plan(request, (), answer, "")


def _unknown(at: Setting) -> talk.Exchange:
    """A question about a name that nobody knows, and the honest answer."""
    if at.names.split == "train":
        return talk.unknown(at.rng, at.language, at.names)
    general = talk_prompts.general_questions(at.language, "held_out")
    asked = pick(at.rng, (*general, *phrasings(pick(at.rng, tuple(RELATIONS)), at.language).held_out))
    name = at.name()
    return asked.format(s=name), talk_prompts.unknown_answer(name, at.language)
