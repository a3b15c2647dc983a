"""Asking a model: an item's prompt as tokens, with as many shots as fit, and the answers of all items, a slice at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from kwen.engine.acting import Asked, act
from kwen.engine.chat_prompt import UNCUT, ChatPrompt
from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals.generations import Answer, KeptAnswers
from kwen.evals.task import Item, Task
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.progress import Progress
from kwen.text.messages import Message
from kwen.text.tokenizer import Tokenizer

SLICE = 256
"""Items that are asked, judged and kept at a time: as many as the engine runs side by side."""
_SCORED_AT_ONCE = 16
Judge = Callable[[Task, Sequence[Item], Sequence[str]], list[Answer]]


class ScoringModel(Protocol):
    """A reward model: it gives whole conversations a score and writes nothing."""

    model: Transformer
    tokenizer: Tokenizer

    @property
    def config(self) -> ModelConfig:
        """The model's own."""

    def token_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """A conversation as the model reads it."""

    def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
        """The score of each conversation, which ends with a reply."""


@dataclass(frozen=True)
class _Reply:
    """An answer's text, the tokens of its prompt, how it ended, and the shots that it was shown."""

    text: str
    prompt_tokens: int
    finish_reason: str | None
    shots: int


def ask(
    lm: LanguageModel | ScoringModel,
    task: Task,
    items: Sequence[Item],
    seed: int,
    judge: Judge,
    kept: KeptAnswers | None,
    progress: Callable[[float], None],
) -> dict[str, Answer]:
    """The judged answers of all `items` by id: those kept already, and the rest asked for slice by slice, each kept before the
    next; `progress` is told the share that is done."""
    answers = {} if kept is None else dict(kept.answers)
    pending = [item for item in items if item.id not in answers]
    for begin in range(0, len(pending), SLICE):
        asked = pending[begin : begin + SLICE]
        before = len(items) - len(pending) + begin

        def ended(done: float, total: float, **facts: float | str) -> None:
            share = (before + done / max(total, 1.0) * len(asked)) / len(items)  # noqa: B023 (called before the next slice)
            progress(share)

        ended(0, len(asked))
        replies = _replies(lm, task, asked, seed, ended)
        judged = [
            replace(
                answer,
                prompt_tokens=reply.prompt_tokens,
                finish_reason=reply.finish_reason,
                shots=reply.shots if item.shots else None,
            )
            for item, answer, reply in zip(asked, judge(task, asked, [reply.text for reply in replies]), replies, strict=True)
        ]
        if kept is not None:
            kept.append(judged)
        answers |= {answer.id: answer for answer in judged}
    progress(1.0)
    return answers


def prompt_ids(lm: LanguageModel, prompt: Sequence[Mapping[str, Any]] | str, answer: int, where: str) -> list[int]:
    """A prompt as the model reads it, whole: messages under its chat template, text as it is.

    Raises UserError, naming `where`, for one that leaves less than `answer` tokens of the model's context: an evaluation
    never cuts a prompt.
    """
    token_ids, context = _token_ids(lm, prompt), lm.config.max_position_embeddings
    if len(token_ids) + answer > context:
        raise UserError(
            f"{where} takes {len(token_ids)} tokens and its answer up to {answer}, but the model's context "
            f"is {context}; evaluate a model with a longer context"
        )
    return token_ids


def _token_ids(lm: LanguageModel, prompt: Sequence[Mapping[str, Any]] | str) -> list[int]:
    if isinstance(prompt, str):
        return lm.tokenizer.bos_ids + lm.tokenizer.encode(prompt)
    return ChatPrompt(lm.tokenizer, lm.tokenizer.chat_template).token_ids(prompt, room=UNCUT)


def fitting_prompt(
    lm: LanguageModel, item: Item, answer: int, where: str
) -> tuple[str | list[Message], list[int], int]:
    """What `item` asks with as many of its shots as leave `answer` tokens of the model's context, its tokens, and how many shots
    those are.

    Raises UserError where it does not fit without any.
    """
    for shots in range(len(item.shots), 0, -1):
        prompt = _with_shots(item, shots)
        token_ids = _token_ids(lm, prompt)
        if len(token_ids) + answer <= lm.config.max_position_embeddings:
            return prompt, token_ids, shots
    prompt = _with_shots(item, 0)
    return prompt, prompt_ids(lm, prompt, answer, where), 0


def _with_shots(item: Item, count: int) -> str | list[Message]:
    if isinstance(item.prompt, str):
        return item.opening + "".join(str(shot) for shot in item.shots[:count]) + item.prompt
    opening: list[Message] = [{"role": "system", "content": item.opening}] if item.opening else []
    return [*opening, *(message for shot in item.shots[:count] for message in cast(list[Message], shot)), *item.prompt]


def _replies(lm: LanguageModel | ScoringModel, task: Task, asked: Sequence[Item], seed: int, progress: Progress) -> list[_Reply]:
    """One reply for each item: a text, the JSON of a conversation with tools, or the JSON of its choices' loglikelihoods or
    scores."""
    if not isinstance(lm, LanguageModel):
        return _scores(lm, task, asked, progress)
    if task.kind in ("choices", "preference"):
        return _choices(lm, task, asked, progress)
    if (respond := task.respond) is not None:
        opened = [Asked(cast(list[Message], item.prompt), item.tools) for item in asked]
        acted = act(
            lm, opened, lambda index, said: respond(asked[index], said), task.turns, seed=seed, progress=progress, **task.settings
        )
        return [
            _Reply(json.dumps(one.messages, ensure_ascii=False), one.prompt_tokens, one.finish_reason, 0) for one in acted
        ]
    room = task.settings["max_new_tokens"]
    raw = task.base_prompt if lm.chat_template is None else None
    prompts, shots = [], []
    for item in asked:
        where = f"{task.name}: item {item.id}"
        token_ids, shown = (prompt_ids(lm, raw(item), room, where), 0) if raw else fitting_prompt(lm, item, room, where)[1:]
        prompts.append(token_ids)
        shots.append(shown)
    settings = dict(task.settings) | ({"stop": list(task.base_stop)} if raw and task.base_stop else {})
    completions = lm.generate(prompts, seed=seed, progress=progress, **settings)
    return [
        _Reply(completion.text, len(prompt), completion.finish_reason, shown)
        for completion, prompt, shown in zip(completions, prompts, shots, strict=True)
    ]


def _choices(lm: LanguageModel, task: Task, asked: Sequence[Item], progress: Progress) -> list[_Reply]:
    encode, bos = lm.tokenizer.encode, lm.tokenizer.bos_ids
    pairs: list[tuple[list[int], list[int]]] = []
    shots = []
    for item in asked:
        longest = 1 + max(len(encode(choice)) for choice in item.choices)
        prompt, token_ids, shown = fitting_prompt(lm, item, longest + 1, f"{task.name}: item {item.id}")
        if task.kind == "preference":
            pairs += [(token_ids, encode(choice) + lm.tokenizer.eos_token_ids[:1]) for choice in item.choices]
        else:
            pairs += _split(bos, encode, str(prompt), item.choices)
        shots.append(shown)
    found = lm.loglikelihoods(pairs, progress)
    replies, place = [], 0
    for item, shown in zip(asked, shots, strict=True):
        told = found[place : place + len(item.choices)]
        text = json.dumps({"loglikelihoods": [round(one, 6) for one, _ in told], "greedy": [greedy for _, greedy in told]})
        replies.append(_Reply(text, len(pairs[place][0]), None, shown))
        place += len(item.choices)
    return replies


def _scores(lm: ScoringModel, task: Task, asked: Sequence[Item], progress: Progress) -> list[_Reply]:
    replies: list[_Reply] = []
    for begin in range(0, len(asked), _SCORED_AT_ONCE):
        together = asked[begin : begin + _SCORED_AT_ONCE]
        sides: list[list[Mapping[str, Any]]] = []
        for item in together:
            for choice in item.choices:
                sides.append([*cast(list[Message], item.prompt), {"role": "assistant", "content": choice}])
                if (length := len(lm.token_ids(sides[-1]))) > lm.config.max_position_embeddings:
                    raise UserError(
                        f"{task.name}: item {item.id} takes {length} tokens, but the model's context is "
                        f"{lm.config.max_position_embeddings}; evaluate a model with a longer context, or leave the pair out"
                    )
        scores = iter(lm.score(sides))
        for item in together:
            told = [next(scores) for _ in item.choices]
            replies.append(_Reply(json.dumps({"scores": told}), len(lm.token_ids(cast(list[Message], item.prompt))), None, 0))
        progress(len(replies), len(asked))
    return replies


def _split(
    bos: list[int], encode: Callable[[str], list[int]], context: str, choices: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """Context and each choice as tokens: of the two together, those that the context alone does not have; white space that ends
    the context begins the choice (lm-eval's way)."""
    end = len(context.rstrip()) or len(context)
    context, rest = context[:end], context[end:]
    before = bos + encode(context)
    return [(before, (bos + encode(context + rest + one))[len(before) :] or encode(rest + one)) for one in choices]
