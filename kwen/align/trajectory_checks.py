"""Which of a model's own conversations with tools are fit to learn from: rules, and what running the calls showed.

The checks know no right answer. They see whether the calls could be run, whether what they were given had been said, and whether
the answer says what came back.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

CHECKS = (
    "kept", "no_request", "repeated", "no_answer", "no_call", "bad_call", "call_again", "failed", "unsaid_argument",
    "unread_result",
)  # fmt: skip
"""What can become of a candidate. Each check sees what those before it let pass."""
_REQUEST_CHARACTERS = (6, 300)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
_WORD = re.compile(r"[^\W_]+")


def check_request(request: str, seen: set[str]) -> str | None:
    """Why a request is none, or None; one that passes is added to `seen`. Only letters and digits make two requests differ."""
    shortest, longest = _REQUEST_CHARACTERS
    if not shortest <= len(request) <= longest or any(mark in request for mark in "<>{}\n"):
        return "no_request"
    words = same_request(request)
    if words in seen:
        return "repeated"
    seen.add(words)
    return None


def same_request(request: str) -> str:
    """What two requests have in common that count as one."""
    return " ".join(_WORD.findall(request.lower()))


def check_trajectory(
    request: str, said: Sequence[Mapping[str, Any]], finish_reason: str, tools: Sequence[Mapping[str, Any]]
) -> str:
    """What becomes of a conversation: one of `CHECKS`.

    said: the messages after the request, OpenAI's. tools: the definitions of those offered. A result that begins with "error" is
    a failure. What calls are given must stand in the request or in an earlier result, but for programs, which the model writes.
    """
    last = said[-1] if said else {}
    if finish_reason != "stop" or last.get("role") != "assistant" or last.get("tool_calls") or not last["content"].strip():
        return "no_answer"
    turns = [message for message in said if message["role"] == "assistant"]
    calls = [call["function"] for turn in turns for call in turn.get("tool_calls") or ()]
    results = [message["content"] for message in said if message["role"] == "tool"]
    if not calls:
        return "no_call"
    schemas = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in tools}
    if any("<tool_call>" in turn["content"] for turn in turns) or not all(_fits(call, schemas) for call in calls):
        return "bad_call"
    if len({(call["name"], call["arguments"]) for call in calls}) < len(calls):
        return "call_again"
    if any(result.startswith("error") or not result.strip() for result in results):
        return "failed"
    known = request
    for call, result in zip(calls, results, strict=True):
        if "code" not in schemas[call["name"]] and not _said(json.loads(call["arguments"]), known):
            return "unsaid_argument"
        known += f"\n{result}"
    return "kept" if _reads(results[-1], last["content"]) else "unread_result"


def _fits(call: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]) -> bool:
    schema, arguments = schemas.get(call["name"]), json.loads(call["arguments"])
    if schema is None or not isinstance(arguments, dict) or set(arguments) != set(schema):
        return False
    return all(isinstance(value, _TYPES[schema[name]["type"]]) for name, value in arguments.items())


def _said(arguments: Mapping[str, Any], known: str) -> bool:
    """Whether every number and, of the arguments without one, all but one stand in `known`: what is asked ("job") may be asked
    for in other words, what it is asked of may not."""
    lower = known.lower()
    texts = [str(value).lower() for value in arguments.values()]
    words = [text for text in texts if not _NUMBER.search(text)]
    unsaid = sum(text not in lower for text in words)
    return all(number in lower for text in texts for number in _NUMBER.findall(text)) and unsaid < max(1, len(words))


def _reads(result: str, answer: str) -> bool:
    """Whether an answer states a result: its last number, or all of it."""
    numbers = _NUMBER.findall(result)
    return numbers[-1] in answer if numbers else result.lower() in answer.lower()
