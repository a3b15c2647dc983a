"""Getting two models' answers to the same prompts, for a judge: prompts of one's own from a file, replies, rows to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.evals.asking import prompt_ids
from kwen.evals.generations import check_text, read_rows
from kwen.evals.judges import Asked, Reply
from kwen.evals.win_rate import Decisions
from kwen.progress import Progress, silent
from kwen.text.messages import Message, validate_messages
from kwen.train.parallel import Group


@dataclass(frozen=True)
class Conversation:
    """A prompt of the user's own; `topic` is the category of its verdict, `language` None where the file names none."""

    id: str
    messages: list[Message]
    topic: str
    language: str | None = None


def read_conversations(path: Path) -> list[Conversation]:
    """Prompts from JSON lines: {"messages": [...]} or {"prompt": "..."}, with "topic", "language" and "id" where wanted.

    A row without an id is called by its line number, one without a topic counts under `all`. Raises UserError with the line
    number for a row that is neither or whose last turn is not the user's, and for a file without any.
    """
    found: dict[str, Conversation] = {}
    for number, row in read_rows(path):
        where = f"{path}, line {number}"
        if ("messages" in row) == ("prompt" in row):
            raise UserError(f'{where}: give either "messages" or "prompt"')
        asked = row["messages"] if "messages" in row else [{"role": "user", "content": row["prompt"]}]
        messages = validate_messages(asked, where)
        if messages[-1]["role"] != "user":
            raise UserError(f"{where}: the last turn must be the user's, not the {messages[-1]['role']}'s")
        for message in messages:
            check_text(message["content"], f"{where}: a turn")
        name, topic = str(row.get("id", f"line {number}")), check_text(row.get("topic", "all"), f'{where}: "topic"')
        language = row.get("language")
        if name in found:
            raise UserError(f"{where}: id {name!r} stands twice")
        found[name] = Conversation(name, messages, topic, language and check_text(language, f'{where}: "language"'))
    if not found:
        raise UserError(f"{path}: no prompt in it")
    return list(found.values())


def replies(
    lm: LanguageModel,
    prompts: Sequence[Asked],
    *,
    max_new_tokens: int = 160,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    group: Group | None = None,
    progress: Progress = silent,
) -> list[Reply]:
    """The model's reply to each prompt under its chat template, all in one batch; greedy at temperature 0.

    The ranks of `group` share the prompts, and every rank returns all replies. A reply is cut at `max_new_tokens`, or where the
    context would not hold it and its end token. Raises UserError for a prompt that leaves no room for any.
    """
    context = lm.config.max_position_embeddings
    token_ids = [prompt_ids(lm, prompt.messages, 2, f"prompt {number}") for number, prompt in enumerate(prompts, start=1)]
    params = [
        SamplingParams(
            min(max_new_tokens, context - len(ids) - 1),
            temperature,
            top_p,
            seed=seed + number,
            stop_token_ids=tuple(lm.stop_token_ids),
        )
        for number, ids in enumerate(token_ids)
    ]
    everyone = group or Group()
    completions = Generator(lm.model, lm.tokenizer).generate(everyone.deal(token_ids), everyone.deal(params), progress)
    told = everyone.gather([(completion.text, completion.finish_reason == "stop") for completion in completions])
    return [Reply(text, ended) for text, ended in told]


def rows(prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], decisions: Decisions) -> list[dict[str, Any]]:
    """Every pair with its verdict, one JSON object each, for reading what a figure is made of."""
    return [
        {
            "topic": prompt.topic,
            "messages": list(prompt.messages),
            "a": one.text,
            "b": two.text,
            "ended_a": one.ended,
            "ended_b": two.ended,
            "verdict": judgement.verdict,
            "score_a": judgement.score_a,
            "score_b": judgement.score_b,
        }
        for prompt, one, two, judgement in zip(prompts, a, b, decisions.judgements, strict=True)
    ]
