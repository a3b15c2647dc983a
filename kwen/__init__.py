"""Kwen: the Qwen Technical Report made executable, from raw text to a family of language models and their use.

`kwen.load(path)` gives a model that generates and chats; `kwen.Agent(lm, tools=[...])` one that uses tools;
`kwen.sandbox.run(code)` runs untrusted Python.
Names are loaded on first use, so that `import kwen` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_HOME = {
    "load": "kwen.engine.language_model",
    "LanguageModel": "kwen.engine.language_model",
    "Completion": "kwen.engine.completion",
    "Agent": "kwen.agent.loop",
    "Tool": "kwen.agent.tool",
    "ToolResult": "kwen.agent.tool",
    "Run": "kwen.agent.run",
}


def __getattr__(name: str) -> Any:
    if name == "sandbox":
        return import_module("kwen.sandbox")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'kwen' has no attribute {name!r}")
