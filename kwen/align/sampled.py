"""Comparisons for the reward model proper: answers sampled from the family's own models, ranked by nanoworld's oracle.

    prompts, balanced over topics and difficulty -> answers of models of different sizes and temperatures -> grades -> pairs

The report has its comparisons from models of different sizes and sampling strategies, balanced over tags (report 7.4); people
rank them there, the oracle here. The same with the RLHF model alone gives the online set.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from kwen.align.preferences import Pair
from kwen.engine.chat_prompt import ChatPrompt
from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel, load
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.nanoworld.names import Split
from kwen.nanoworld.oracle import Grade, prefer
from kwen.nanoworld.prompts import TOPICS, Prompt, Topic, prompts
from kwen.progress import Progress, silent
from kwen.text.messages import validate_messages
from kwen.train.parallel import Group
from kwen.verify.oracle import grade_replies

_AT_ONCE = 330  # prompts answered before it is seen whether there are pairs enough


class SampledConfig(BaseModel):
    """How many pairs, and from which prompts and temperatures. A prompt gives `pairs_per_prompt` pairs at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pairs: int = Field(gt=0, description="pairs to train on")
    test_pairs: int = Field(gt=0, description="pairs held out, from prompts of the held-out split")
    prompts: int = Field(gt=0, description="most prompts to ask for either")
    topics: tuple[Topic, ...] = TOPICS
    temperatures: tuple[float, ...] = (0.7, 1.0)
    samples: int = Field(1, gt=0, description="answers of each model at each temperature")
    pairs_per_prompt: int = Field(2, gt=0)
    max_new_tokens: int = Field(80, gt=0)
    margin: float = Field(0.05, ge=0, description="grades that lie this close are a tie, and no pair")


def sampled_pairs(
    group: Group,
    *,
    models: Sequence[Path],
    config: SampledConfig,
    seed: int,
    split: Split,
    progress: Progress = silent,
) -> list[Pair]:
    """The pairs of one split, as evenly spread over (topic, difficulty) as the answers of `models` (folders) allow.

    Prompts are asked in portions until there are pairs enough; the ranks of `group` share the prompts of a portion, and every
    rank returns all pairs. Raises UserError when no two answers differ in grade.
    """
    answering = [load(model, device=group.device) for model in models]
    wanted = config.pairs if split == "train" else config.test_pairs
    asked = prompts(seed, config.prompts, split, config.topics)
    found: dict[tuple[str, str], list[Pair]] = {}
    held = 0
    for start in range(0, len(asked), _AT_ONCE):
        portion = asked[start : start + _AT_ONCE]
        graded = group.gather(_graded_answers(answering, group.deal(portion), config, seed))
        for prompt, answers in zip(portion, graded, strict=True):
            rng = random.Random(f"{seed}/sampled/{prompt.id}")
            new = _pairs_of(prompt, {text: Grade(*grade) for text, grade in answers.items()}, config, rng)
            found.setdefault((prompt.topic, prompt.difficulty), []).extend(new)
            held += len(new)
        progress(min(held, wanted), wanted, prompts=start + len(portion))
        if held >= wanted:
            break
    if not held:
        raise UserError(f"{len(asked)} prompts gave no two answers of different grades; raise the temperatures or the samples")
    return _dealt(list(found.values()), wanted)


def _graded_answers(
    models: Sequence[LanguageModel], asked: Sequence[Prompt], config: SampledConfig, seed: int
) -> list[dict[str, tuple[float, ...]]]:
    """Each prompt's answers that ended, every text once, with the fields of its grade; functions run in the sandbox at once."""
    answers: list[tuple[int, str]] = []
    for lm in models:
        room = lm.config.max_position_embeddings - config.max_new_tokens
        render = ChatPrompt(lm.tokenizer, lm.tokenizer.chat_template)
        stops, temperatures = tuple(lm.stop_token_ids), config.temperatures * config.samples
        token_ids: list[list[int]] = []
        params: list[SamplingParams] = []
        for prompt in asked:
            draws = random.Random(f"{seed}/answers/{prompt.id}")
            token_ids += [render.token_ids(prompt.messages, room)] * len(temperatures)
            params += [
                SamplingParams(config.max_new_tokens, temperature, seed=draws.getrandbits(62), stop_token_ids=stops)
                for temperature in temperatures
            ]
        for index, completion in enumerate(Generator(lm.model, lm.tokenizer).generate(token_ids, params)):
            if completion.finish_reason == "stop" and completion.text.strip():
                answers.append((index // len(temperatures), completion.text))
    grades = grade_replies([asked[number] for number, _ in answers], [text for _, text in answers])
    graded: list[dict[str, tuple[float, ...]]] = [{} for _ in asked]
    for (number, text), grade in zip(answers, grades, strict=True):
        graded[number][text.strip()] = astuple(grade)
    return graded


def _pairs_of(prompt: Prompt, graded: Mapping[str, Grade], config: SampledConfig, rng: random.Random) -> list[Pair]:
    """Pairs of the best answer to one prompt with worse ones, these in random order; any of the best where they are as good."""
    if not graded:
        return []
    texts = list(graded)
    rng.shuffle(texts)
    top = max(grade.score for grade in graded.values())
    best = [text for text in texts if graded[text].score == top]
    worse = [text for text in texts if prefer(graded[best[0]], graded[text], config.margin) == "a"]
    messages = validate_messages(prompt.messages)
    return [Pair(messages, rng.choice(best), text, prompt.topic, prompt.id) for text in worse[: config.pairs_per_prompt]]


def _dealt(groups: list[list[Pair]], wanted: int) -> list[Pair]:
    """`wanted` pairs, one of each group in turn."""
    dealt = [pair for turn in range(max(map(len, groups))) for group in groups for pair in group[turn : turn + 1]]
    return dealt[:wanted]
