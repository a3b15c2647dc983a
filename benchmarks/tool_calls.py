"""Single-tool tasks with constrained calls: how many calls are valid, pick the right tool, and give it the right arguments.

    python benchmarks/tool_calls.py MODEL [--count 50] [--free] [--json FILE]

The tasks are nanoworld's held-out ones of one call, in English, with at most five tools offered; the model must call (`--free`:
it may answer instead, and its calls are unconstrained). A call is valid if it names an offered tool with arguments of its schema.
The tools answer, and the last column is the share of right final answers.
"""

import argparse
import datetime
import json
import os
import platform
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema

import kwen
from kwen.agent.tool import Tool
from kwen.files import write_json
from kwen.nanoworld.tool_results import result_of
from kwen.nanoworld.tool_scores import score_answer, score_call
from kwen.nanoworld.tool_tasks import ToolTask, tool_tasks
from kwen.nanoworld.tools import TOOLS

SYSTEM = "You are a helpful assistant. Use the tools to answer, then say the result in one short sentence."


def tool(name: str) -> Tool:
    """A tool of nanoworld's as agents take it."""
    function = TOOLS[name].definition()["function"]

    def call(arguments: dict[str, Any]) -> str:
        return result_of(TOOLS, {"name": name, "arguments": json.dumps(arguments)})

    return Tool(name, function["description"], function["parameters"], call)


def outcome(lm: Any, task: ToolTask, free: bool) -> dict[str, bool]:
    """What came of one task."""
    settings: dict[str, Any] = {"constrained": False} if free else {"must_call": True, "parallel": False}
    with kwen.Agent(lm, [tool(name) for name in task.tools], system=SYSTEM, max_steps=2, max_new_tokens=256, **settings) as agent:
        run = agent.run(str(task.messages[0]["content"]))
    calls = [call["function"] for message in run.messages for call in message.get("tool_calls") or ()]
    schemas = {one["function"]["name"]: one["function"]["parameters"] for one in task.definitions()}
    first = calls[0] if calls else {"name": None, "arguments": None}
    scored = score_call(task, first["name"], first["arguments"])
    return {
        "called": bool(calls),
        "valid": bool(calls) and all(_valid(call, schemas) for call in calls),
        "tool": scored.selected,
        "arguments": scored.exact,
        "answer": score_answer(task, run.answer),
    }


def _valid(call: dict[str, Any], schemas: dict[str, Any]) -> bool:
    if call["name"] not in schemas:
        return False
    return jsonschema.Draft202012Validator(schemas[call["name"]]).is_valid(json.loads(call["arguments"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lm = kwen.load(options.model)
    english = (task for task in tool_tasks(0, 100 * options.count, "held_out", ["one"], "train") if task.language == "en")
    found = [outcome(lm, task, options.free) for task in islice(english, options.count)]
    shares = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
    print("  ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()), f" of {len(found)} tasks")
    if options.json:
        facts = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "count": len(found),
        }
        write_json(options.json, facts | {"model": options.model.name, "constrained": not options.free, "shares": shares})


if __name__ == "__main__":
    main()
