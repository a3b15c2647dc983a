"""Fill-in-the-middle: documents rearranged so that a model learns to write a middle between a beginning and an end.

The form is Qwen2.5-Coder's (its README): <|fim_prefix|> beginning <|fim_suffix|> end <|fim_middle|> middle, "PSM" order.
"""

import random
from dataclasses import dataclass
from typing import Literal, get_args

from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

Cut = Literal["lines", "characters"]
CUTS: tuple[Cut, ...] = get_args(Cut)
_SURFACES = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_STAND_INS = ("<|extra_1|>", "<|extra_2|>", "<|extra_3|>")


@dataclass(frozen=True)
class FimTokens:
    """The ids of the three marks."""

    prefix: int
    suffix: int
    middle: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "FimTokens":
        """A tokenizer's marks: Qwen2.5-Coder's own where it has them, else `<|extra_1|>` to `<|extra_3|>`, as in a tokenizer of
        Kwen's. Raises UserError where it has neither."""
        for surfaces in (_SURFACES, _STAND_INS):
            if all(surface in tokenizer.control_tokens for surface in surfaces):
                return cls(*(tokenizer.control_id(surface) for surface in surfaces))
        raise UserError(
            f"fill-in-the-middle: the tokenizer has neither {_SURFACES[0]} nor {_STAND_INS[2]}: train it with at least 4 extra "
            "tokens"
        )


def split_middle(rng: random.Random, text: str, cut: Cut = "lines") -> tuple[str, str, str] | None:
    """A text as beginning, middle and end, the middle neither empty nor everything; None for a text that is too short.

    `cut` says where the middle may begin and end: at the borders of lines, or between any two characters.
    """
    borders = _line_borders(text) if cut == "lines" else list(range(len(text) + 1))
    if len(borders) < 3:
        return None
    while True:
        first, last = sorted(rng.sample(range(len(borders)), 2))
        if (first, last) != (0, len(borders) - 1):
            return text[: borders[first]], text[borders[first] : borders[last]], text[borders[last] :]


def _line_borders(text: str) -> list[int]:
    borders = [0]
    for line in text.splitlines(keepends=True):
        borders.append(borders[-1] + len(line))
    return borders


def fim_ids(parts: tuple[str, str, str], tokenizer: Tokenizer, tokens: FimTokens) -> list[int]:
    """Token ids of (beginning, middle, end) in PSM order, without an end-of-text token."""
    beginning, middle, end = (tokenizer.encode(part) for part in parts)
    return [tokens.prefix, *beginning, tokens.suffix, *end, tokens.middle, *middle]


def fim_prompt(beginning: str, end: str, tokenizer: Tokenizer) -> list[int]:
    """What a model that has learnt it goes on from to write the middle (`LanguageModel.generate` takes the ids)."""
    return fim_ids((beginning, "", end), tokenizer, FimTokens.of(tokenizer))


class FillInTheMiddle:
    """Token ids of texts, a `share` of them rearranged; which, and where they are cut, is a function of (seed, place).

    A text is cut at lines or at characters, equally often. Raises UserError for a share outside 0 to 1 and a tokenizer without
    the marks.
    """

    def __init__(self, tokenizer: Tokenizer, share: float, seed: int) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"fill-in-the-middle: the share is {share}: give a number from 0 to 1")
        self._tokenizer, self._share, self._seed = tokenizer, share, seed
        self._tokens = FimTokens.of(tokenizer)

    def token_ids(self, text: str, place: int) -> list[int]:
        """The ids of the text at a place of its corpus, without an end-of-text token."""
        rng = random.Random(f"{self._seed}/fim/{place}")
        chosen = rng.random() < self._share
        parts = split_middle(rng, text, CUTS[int(rng.random() * len(CUTS))]) if chosen else None
        return self._tokenizer.encode(text) if parts is None else fim_ids(parts, self._tokenizer, self._tokens)
