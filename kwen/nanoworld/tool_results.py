"""What nanoworld's tools say to a model's calls; programs run in the sandbox."""

import json
from collections.abc import Mapping
from typing import Any

from kwen.nanoworld.tools import WorldTool
from kwen.sandbox import run

_PROGRAM_S = 3.0


def result_of(tools: Mapping[str, WorldTool], function: Mapping[str, Any]) -> str:
    """The result of a call in OpenAI's form (name, arguments as JSON text) of one of `tools`; "error: ..." where it has none."""
    name, arguments = function["name"], json.loads(function["arguments"])
    if name not in tools:
        return f"error: there is no tool {name}"
    if tools[name].run is not None:
        return tools[name].call(arguments)
    ran = run(str(arguments.get("code", "")), timeout_s=_PROGRAM_S)
    return ran.stdout.strip() or (ran.stderr.strip().splitlines() or ["no output"])[-1]
