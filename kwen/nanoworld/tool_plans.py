"""Plans: what is asked, which calls answer it with which results, and the final answer; one to four steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import Language, pick, split_of
from kwen.nanoworld.tool_setting import Call, Setting, capital, number_of, record_sort
from kwen.nanoworld.tools_programs import program
from kwen.nanoworld.tools_records import Record
from kwen.nanoworld.tools_running import EVENTS, UNITS, drawn_date
from kwen.nanoworld.tools_wordings import RECORD_ANSWER, RESULT, WORDINGS
from kwen.nanoworld.world import WEEKDAYS

_ASKED_FACTS = (("job", "工作"), ("food", "食物"), ("pet", "宠物"), ("instrument", "乐器"))
# What a message tells: a new name, and at times a thing.
_TEXTS: dict[Language, tuple[str, ...]] = {
    "en": ("call {n}", "wait for {n}", "meet {n} today", "bring {k} {x} to {n}", "{n} is here"),
    "zh": ("给{n}打电话", "等{n}", "今天见{n}", "带{k}{u}{x}给{n}", "{n}到了"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A request, its calls in order, the answer, the value that the answer must state (an empty text where the whole answer is what
    counts), and values that it must not."""

    request: str
    calls: tuple[Call, ...]
    answer: str
    value: str
    competitors: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the tools that it calls, each once."""
        return tuple(dict.fromkeys(call.name for call in self.calls))


def _reckoned(at: Setting, expression: str) -> Call:
    return at.call("calculator", expression=expression)


# One step.


def single(at: Setting, name: str) -> Plan:
    """One call of a tool."""
    record = at.box.records.get(name)
    if record is None:
        return _python(at) if name == "python" else _action(at, name)
    subject = at.name()
    call = at.call(name, **{record.parameter: subject})
    return Plan(at.ask_record(record, subject), (call,), *_recorded(at, record, subject, call.result))


def _recorded(at: Setting, record: Record, subject: str, result: str) -> tuple[str, str, tuple[str, ...]]:
    """The answer about a record, its value and those that compete with it."""
    phrase = record.phrase(at.language).format(x=subject)
    answer = RECORD_ANSWER[at.language].format(np=phrase, Np=capital(phrase), v=result)
    words = [pair.split("/")[at.language == "zh"] for pair in record.values.split()[1:]] if record_sort(record) == "word" else []
    return answer, number_of(result) or result, tuple(word for word in words if word != result)


def _python(at: Setting) -> Plan:
    made = program(at.rng, at.language, at.names)
    call = Call("python", {"code": made.code}, made.output)
    return Plan(made.request, (call,), RESULT[at.language].format(v=made.output), made.output)


def _action(at: Setting, name: str) -> Plan:
    """One call of a tool that is no record. What it is asked with is of the split: names are, and so is a hash of the rest."""
    while True:
        arguments, named = _drawn(at, name)
        if named or split_of(f"{name} {arguments}") == at.names.split:
            break
    call = Call(name, arguments, at.box.tools[name].call(arguments, at.world.seed))
    slots = {**arguments, **_spoken(at, name, arguments), "v": call.result}
    wording = WORDINGS[name]
    request = pick(at.rng, wording.requests(at.language, at.names.split)).format(**slots)
    told = {"send": "person", "timer": "minutes", "alarm": "time"}.get(name)
    value = str(arguments[told]) if told else number_of(call.result) or call.result
    return Plan(
        request, (call,), wording.answer(at.language).format(**slots), value, _competing(at, name, arguments, call.result)
    )


def _spoken(at: Setting, name: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Arguments that a request speaks of in other words than the call."""
    if name == "calculator":
        signs = {"*": "times", "+": "plus", "-": "minus"} if at.language == "en" else {"*": "乘以", "+": "加", "-": "减"}
        expression = str(arguments["expression"])
        if at.rng.random() < 0.5 or "(" in expression or "/" in expression:
            return {"said": expression}
        words = [signs.get(part, part) for part in expression.split()]
        return {"said": (" " if at.language == "en" else "").join(words)}
    if name == "lookup" and at.language == "zh":
        return {"fact": dict(_ASKED_FACTS)[arguments["fact"]]}
    return {}


def _competing(at: Setting, name: str, arguments: Mapping[str, Any], result: str) -> tuple[str, ...]:
    """The results that it would be wrong to state."""
    place = at.language == "zh"
    pairs = {"weekday": WEEKDAYS, "calendar": EVENTS}.get(name)
    values = [pair[place] for pair in pairs] if pairs else []
    if name == "free":
        values = [("free", "有空")[place], ("busy", "没空")[place]]
    if name == "lookup":
        values = list(at.world.values[arguments["fact"], at.language])
    return tuple(value for value in values if value != result)


def _expression(at: Setting) -> str:
    a, b, c = at.number(12, 99), at.number(3, 99), at.number(2, 20)
    forms = (f"{a} * {b}", f"{a} + {b * 7}", f"{a * 9} - {b}", f"({a} + {b}) * {c}", f"{a} * {c} + {b}", f"{a * c} / {c}")
    return pick(at.rng, forms)


def _message(at: Setting) -> str:
    item = pick(at.rng, ITEMS)
    slots = {"n": at.name(), "k": at.number(2, 20), "x": item.many if at.language == "en" else item.chinese, "u": item.measure}
    return pick(at.rng, _TEXTS[at.language]).format(**slots)


def _drawn(at: Setting, name: str) -> tuple[dict[str, Any], bool]:
    """Arguments for a call, and whether a generated name is among them."""
    if name in ("distance", "way", "bus", "taxi"):
        start, goal = at.names.some(at.rng, at.language, 2)
        return {"start": start, "goal": goal}, True
    if name in ("calendar", "free", "weekday"):
        return {"date": drawn_date(at.rng, at.language)}, False
    if name == "convert":
        return _conversion(at), False
    if name == "calculator":
        return {"expression": _expression(at)}, False
    if name == "percent":
        return {"percent": 5 * at.number(1, 19), "value": 20 * at.number(2, 49)}, False
    if name == "timer":
        return {"minutes": at.number(2, 300)}, False
    if name == "alarm":
        return {"time": f"{at.number(5, 22)}:{at.number(0, 59):02d}"}, False
    new = at.name()
    if name == "lookup":
        return {"name": new, "fact": pick(at.rng, _ASKED_FACTS)[0]}, True
    if name == "send":
        return {"person": new, "text": _message(at)}, True
    number = {"order": "count", "table": "people", "repeat": "count", "ticket": "count"}.get(name)
    text = {"order": "item", "table": "place", "ticket": "film"}.get(name, "text")
    return {text: new} | ({number: at.number(2, 4 if name == "repeat" else 60)} if number else {}), True


def _conversion(at: Setting) -> dict[str, Any]:
    """A value in a larger unit and a smaller one next to it, so that the result is whole and short."""
    group = pick(at.rng, UNITS)
    small = at.number(0, len(group) - 2)
    place = at.language == "zh"
    return {"value": at.number(2, 99), "unit": group[small + 1][0][place], "to": group[small][0][place]}


# More steps.


def _sum_or_product(at: Setting, phrase: str, calls: tuple[Call, ...]) -> Plan:
    """The number that calls end in (`phrase` names it), times or plus another."""
    number, k = number_of(calls[-1].result), at.number(2, 12)
    kind = pick(at.rng, ("times", "plus"))
    last = _reckoned(at, f"{number} {'*' if kind == 'times' else '+'} {k}")
    return _reckoning(at, at.request(kind, np=phrase, Np=capital(phrase), k=k), (*calls, last))


def _reckoning(at: Setting, request: str, calls: tuple[Call, ...]) -> Plan:
    """A plan that ends with a calculation."""
    result = calls[-1].result
    return Plan(request, calls, RESULT[at.language].format(v=result), result)


def _told(at: Setting, record: Record, subject: str) -> tuple[str, Call]:
    """(noun phrase, call) of a record of a name."""
    return record.phrase(at.language).format(x=subject), at.call(record.name, **{record.parameter: subject})


def reckoned(at: Setting) -> Plan:
    """Two steps: a record, and a calculation with it."""
    phrase, call = _told(at, pick(at.rng, at.box.asked_records("number")), at.name())
    return _sum_or_product(at, phrase, (call,))


def cost(at: Setting) -> Plan:
    """Two steps: a price, times a count."""
    item, k = at.name(), at.number(2, 12)
    price = at.call("price", item=item)
    return _reckoning(at, at.request("cost", k=k, x=item), (price, _reckoned(at, f"{number_of(price.result)} * {k}")))


def converted(at: Setting, homes: int = 0) -> Plan:
    """Two steps: a distance, in a smaller unit; with one or two more where an end is only the home of someone."""
    names = at.names.some(at.rng, at.language, 2)
    spoken, towns, calls = list(names), list(names), []
    for place in range(homes):
        spoken[place], call = _told(at, at.box.records["home"], names[place])
        towns[place] = call.result
        calls.append(call)
    if towns[0] == towns[1]:
        return converted(at, homes)
    calls.append(at.call("distance", start=towns[0], goal=towns[1]))
    units = [unit[0][at.language == "zh"] for unit in UNITS[0]]
    calls.append(at.call("convert", value=int(number_of(calls[-1].result) or 0), unit=units[2], to=units[1]))
    slots = {"start": spoken[0], "goal": spoken[1]}
    answer = WORDINGS["distance"].answer(at.language).format(**slots, v=calls[-1].result)
    return Plan(at.request("converted", **slots, to=units[1]), tuple(calls), answer, number_of(calls[-1].result) or "")


def _chain(at: Setting, length: int, ends: tuple[str, ...]) -> tuple[Record, str, tuple[Call, ...]]:
    """Records each of which is about what the one before told; the last one tells something of a sort in `ends`.

    Returns the last record, the phrase that names its subject, and the calls.
    """
    while True:
        links = at.box.asked_records("person", "town")
        subject = phrase = at.name()
        calls: list[Call] = []
        for place in range(length):
            record = pick(at.rng, links)
            calls.append(at.call(record.name, **{record.parameter: subject}))
            if place == length - 1:
                return record, phrase, tuple(calls)
            subject, phrase = calls[-1].result, record.phrase(at.language).format(x=phrase)
            after = [
                other
                for other in at.box.records.values()
                if other.parameter == record_sort(record) and other.name not in (c.name for c in calls)
            ]
            links = [other for other in after if record_sort(other) in (ends if place == length - 2 else ("person", "town"))]
            if not links:
                break


def chained(at: Setting, length: int = 2) -> Plan:
    """As many steps as `length`: "the age of the owner of Vorin"."""
    record, subject, calls = _chain(at, length, ("number", "code", "word", "date", "person"))
    answer, value, competitors = _recorded(at, record, subject, calls[-1].result)
    return Plan(at.ask_record(record, subject), calls, answer, value, competitors)


def weekday_of(at: Setting) -> Plan:
    """Two steps: a birthday, and its weekday."""
    phrase, call = _told(at, at.box.records["birthday"], at.name())
    last = at.call("weekday", date=call.result)
    wording = WORDINGS["weekday"]
    request = pick(at.rng, wording.requests(at.language, at.names.split)).format(date=phrase)
    answer = capital(wording.answer(at.language).format(date=phrase, v=last.result))
    return Plan(capital(request), (call, last), answer, last.result, _competing(at, "weekday", {}, last.result))


def chain_reckoned(at: Setting, length: int = 2) -> Plan:
    """A chain that ends in a number, and a calculation with it: one step more than its length."""
    record, subject, calls = _chain(at, length, ("number",))
    return _sum_or_product(at, record.phrase(at.language).format(x=subject), calls)


def summed(at: Setting, count: int = 2) -> Plan:
    """A record of several names, and their sum: one step more than names."""
    record = pick(at.rng, at.box.asked_records("number"))
    told = [_told(at, record, name) for name in at.names.some(at.rng, at.language, count)]
    phrases, calls = zip(*told, strict=True)
    last = _reckoned(at, " + ".join(str(number_of(call.result)) for call in calls))
    slots = dict(zip(("np", "other", "third"), phrases, strict=False))
    return _reckoning(at, at.request("both" if count == 2 else "all", Np=capital(phrases[0]), **slots), (*calls, last))


SEEN: dict[int, tuple[Callable[[Setting], Plan], ...]] = {
    2: (reckoned, cost, converted, chained, weekday_of),
    3: (summed, chain_reckoned, lambda at: converted(at, 1), lambda at: chained(at, 3)),
    4: (lambda at: summed(at, 3), lambda at: chain_reckoned(at, 3), lambda at: converted(at, 2)),
}
"""The makers of plans of so many steps with tools that training sees."""
UNSEEN: dict[int, tuple[Callable[[Setting], Plan], ...]] = {
    2: (reckoned, chained), 3: (summed, chain_reckoned), 4: (lambda at: summed(at, 3),),
}  # fmt: skip
"""The same whose first call is of a tool that training never sees."""
