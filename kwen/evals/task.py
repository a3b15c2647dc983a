"""What a task is: data in one small file, read by `run.py`; nothing here knows a particular task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kwen.files import json_hash
from kwen.text.messages import Message


@dataclass(frozen=True)
class Item:
    """One thing to ask or to read.

    `prompt` is a conversation (answered under the model's chat template) or raw text (continued as it is; a text to compress
    where the task is perplexity); `tools` are what it offers, in OpenAI's form. `reference` is the right answer in the form that
    the task's `judge` reads. Scores are reported by `language` and by `tag` (the item's kind) besides the total. `extra` holds
    what else the task needs: tests of a function, the file a text came from.

    Few-shot: what is asked is `opening` + all `shots` + `prompt`. Shots are texts, each with the blank line that ends it, or
    turns of a conversation where the prompt is one; the last are left out for a model whose context is too short for all.
    `choices` are what is compared: the continuations of a task of kind "choices", the space before each included, or the replies
    of one of kind "preference".
    """

    id: str
    prompt: list[Message] | str
    reference: str
    language: str
    tag: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()
    choices: Sequence[str] = ()
    opening: str = ""
    shots: Sequence[str | list[Message]] = ()


Extract = Callable[[Item, str], str | None]


def whole_text(item: Item, text: str) -> str:
    """The extractor that takes a reply as it is, without the white space around it."""
    return text.strip()


@dataclass(frozen=True)
class Task:
    """A benchmark as data.

    `items(data, seed)` lists the items: `data` is the folder of `--data`, `seed` the seed of generated questions.
    Raise `version` with any change of items, extraction or judging: kept answers of another version are refused.

    For kind "generate", each answer's text goes through two extractors: `strict` accepts the asked form alone, `flexible`
    finds an answer wherever it stands (None: no answer found). `judge` then decides about (item, extracted) pairs, all at
    once, because a sandbox is opened once for many. `baseline(items, seed)` gives the answer that the nearest training
    question would have copied, or None where the task has no training questions. `settings` are arguments of
    `LanguageModel.generate`: greedy unless they say otherwise.
    `base_prompt` is what a model without a chat template continues in place of an item's conversation; None: that all the same.
    `base_stop` are the stop strings of such a continuation. `require` raises UserError where the machine cannot judge answers.
    With `respond` an answer takes up to `turns` turns (see `kwen.engine.acting`): from all that was said it gives the messages
    that the last turn's calls lead to, and the text that is extracted from and judged is the JSON of all that was said after the
    prompt. `measures` are further figures of an answer, by name: means over the items for which they are not None,
    or ratios of the sums of (part, whole) pairs. `note` says, in a line that the score carries, what this machine's judge lacks.
    For kind "choices" an answer is the JSON of each choice's loglikelihood after the prompt and of whether each of its tokens is
    the likeliest (`tasks/choosing.py` reads it); a single choice is right where all are.
    For kind "preference" the choices are replies to a conversation; the answer is the same JSON, or {"scores": [...]} of a model
    that scores conversations.
    Kind "perplexity" reads the items' texts; its `settings` are the largest `window` and `stride`, in tokens; where they are
    equal, windows predict disjoint parts as long as the model's context. Items with `extra["words"]` are scored by the word too.
    """

    name: str
    version: int
    kind: Literal["generate", "choices", "preference", "perplexity"]
    items: Callable[[Path | None, int], list[Item]]
    strict: Extract = whole_text
    flexible: Extract = whole_text
    judge: Callable[[Sequence[tuple[Item, str]]], list[bool]] | None = None
    metric: str = "accuracy"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"max_new_tokens": 64, "temperature": 0.0})
    baseline: Callable[[Sequence[Item], int], list[str]] | None = None
    needs_sandbox: bool = False
    base_prompt: Callable[[Item], str] | None = None
    base_stop: Sequence[str] = ()
    require: Callable[[], None] | None = None
    respond: Callable[[Item, Sequence[Mapping[str, Any]]], list[Mapping[str, Any]]] | None = None
    turns: int = 1
    note: Callable[[], str | None] | None = None
    measures: Mapping[str, Callable[[Item, str], float | tuple[float, float] | None]] = field(default_factory=dict)


def prompt_hash(items: Sequence[Item]) -> str:
    """A hash of everything that is asked, in order: two scores are comparable where it is equal."""
    return json_hash([[item.id, item.prompt, *_more(item)] for item in items])


def _more(item: Item) -> list[Any]:
    parts = [list(item.tools), item.opening, list(item.shots), list(item.choices)]
    return [part for part in parts if part]
