"""nanoworld's tools: what a model may call, how each is described to it, and what it answers.

Every tool is a pure function of its arguments and the world's seed. Some are kept out of training for ever: a model that can call
them has learned to read a description. `python` has a definition only; the code interpreter runs what a model writes for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kwen.nanoworld import tools_running as running
from kwen.nanoworld.names import Language, Split
from kwen.nanoworld.tools_calculator import ToolError
from kwen.nanoworld.tools_records import HELD_OUT_RECORDS, TRAINING_RECORDS, Record

__all__ = ["TOOLS", "ToolError", "WorldTool", "can_replace", "of_record", "tool_names"]

_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
_LONGEST_ARGUMENT = 1000
_LARGEST_NUMBER = 10**15


@dataclass(frozen=True, slots=True)
class WorldTool:
    """A tool: `parameters` is the JSON schema of its arguments, all of which are required; `split` says who may see it."""

    name: str
    description_en: str
    description_zh: str
    parameters: dict[str, Any]
    split: Split
    run: running.Run | None

    @property
    def types(self) -> dict[str, str]:
        """The type of each parameter: "string", "integer" or "number"."""
        return {name: schema["type"] for name, schema in self.parameters["properties"].items()}

    def definition(self, language: Language = "en") -> dict[str, Any]:
        """The tool in OpenAI's form, described in that language."""
        description = self.description_en if language == "en" else self.description_zh
        function = {"name": self.name, "description": description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def call(self, arguments: Mapping[str, Any], world_seed: int = 0) -> str:
        """The tool's result as the model reads it; "error: ..." where the arguments are missing, unknown or make no sense.

        Raises ValueError for `python`, whose code only an interpreter can run.
        """
        if self.run is None:
            raise ValueError(f"{self.name} is run by the code interpreter")
        try:
            self._check(arguments)
            return self.run(arguments, world_seed)
        except ToolError as error:
            return f"error: {error}"

    def _check(self, arguments: Mapping[str, Any]) -> None:
        """Raises ToolError for arguments that do not fit the schema, and for ones beyond any size that makes sense."""
        for name, kind in self.types.items():
            value = arguments.get(name)
            if value is None:
                raise ToolError(f"{name} is missing")
            if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
                raise ToolError(f"{name} must be {'an integer' if kind == 'integer' else f'a {kind}'}")
            if isinstance(value, str) and not 0 < len(value.strip()) <= len(value) <= _LONGEST_ARGUMENT:
                raise ToolError(f"{name} must have 1 to {_LONGEST_ARGUMENT} characters")
            if isinstance(value, int | float) and not abs(value) <= _LARGEST_NUMBER:
                raise ToolError(f"{name} is too large")
        for name in arguments:
            if name not in self.types:
                raise ToolError(f"{name} is no parameter of {self.name}")


def _tool(split: Split, run: running.Run | None, name: str, english: str, chinese: str, /, **types: str) -> WorldTool:
    properties = {parameter: {"type": kind} for parameter, kind in types.items()}
    schema = {"type": "object", "properties": properties, "required": list(types)}
    return WorldTool(name, english, chinese, schema, split, run)


def of_record(split: Split, record: Record) -> WorldTool:
    """The tool of a record."""
    types = {record.parameter: "string"}
    return _tool(split, running.running(record), record.name, record.description, record.description_chinese, **types)


_seen, _unseen = partial(_tool, "train"), partial(_tool, "held_out")
_ALL = (
    _seen(running.run_order, "order", "order an item", "订购商品", item="string", count="integer"),
    _seen(running.run_calendar, "calendar", "what is on at a date", "某天的活动", date="string"),
    _seen(running.run_free, "free", "free or busy at a date", "某天有没有空", date="string"),
    _seen(running.run_weekday, "weekday", "weekday of a date", "某天是星期几", date="string"),
    _seen(running.run_distance, "distance", "distance of two towns", "两座城市的距离", start="string", goal="string"),
    _seen(running.run_way, "way", "way from town to town", "去城市的路线", start="string", goal="string"),
    _seen(running.run_bus, "bus", "when the bus leaves", "公交车的时间", start="string", goal="string"),
    _seen(running.run_convert, "convert", "convert a unit", "换算单位", value="number", unit="string", to="string"),
    _seen(running.run_calculator, "calculator", "calculate", "计算", expression="string"),
    _seen(None, "python", "run Python code", "运行 Python 代码", code="string"),
    _seen(running.run_lookup, "lookup", "job, food, pet or instrument of a person", "人的工作、食物、宠物或乐器", name="string", fact="string"),
    _seen(running.numbered("table"), "table", "book a table", "订餐桌", place="string", people="integer"),
    _seen(running.numbered("send"), "send", "send a message", "发消息", person="string", text="string"),
    _seen(running.numbered("timer"), "timer", "set a timer", "设定时器", minutes="integer"),
    _seen(running.run_letters, "letters", "count the letters", "数字数", text="string"),
    _seen(running.run_repeat, "repeat", "repeat a text", "重复文字", text="string", count="integer"),
    _unseen(running.numbered("ticket"), "ticket", "buy tickets for a film", "买电影票", film="string", count="integer"),
    _unseen(running.run_taxi, "taxi", "cost of a taxi", "出租车的费用", start="string", goal="string"),
    _unseen(running.run_reverse, "reverse", "reverse a text", "反转文字", text="string"),
    _unseen(running.run_percent, "percent", "percent of a value", "百分数", percent="number", value="number"),
    _unseen(running.numbered("alarm"), "alarm", "set an alarm at a time", "设闹钟", time="string"),
    *(of_record("train", record) for record in TRAINING_RECORDS),
    *(of_record("held_out", record) for record in HELD_OUT_RECORDS),
)  # fmt: skip
TOOLS: dict[str, WorldTool] = {tool.name: tool for tool in _ALL}
"""Every tool by its name."""

# Tools of one group can do each other's work, so that only one of them is offered where one is needed or missing.
_GROUPS = (
    {"calculator", "python", "percent", "convert"}, {"python", "letters", "reverse", "repeat"}, {"lookup", "age", "home"},
    {"calendar", "free", "weekday"}, {"distance", "way", "bus", "taxi"},
)  # fmt: skip


def can_replace(one: str, other: str) -> bool:
    """Whether a tool may do what another is for."""
    return one == other or any(one in group and other in group for group in _GROUPS)


def tool_names(split: Split) -> tuple[str, ...]:
    """The names of the tools that training sees, or of those that it never sees."""
    return tuple(tool.name for tool in TOOLS.values() if tool.split == split)
