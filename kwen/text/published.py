"""Published vocabularies besides Qwen's that come as rank files, for comparison: cl100k, o200k, p50k and r50k (OpenAI).

Their files hold tokens and ranks alone. How each cuts text, and its control tokens, is said by the tiktoken that is installed:
its own description of the encoding is asked, and given the ranks of the local file where it would fetch them.
"""

from collections.abc import Mapping
from types import FunctionType
from typing import NamedTuple

from kwen.errors import UserError

PUBLISHED = ("cl100k_base", "o200k_base", "p50k_base", "r50k_base")
_END = "<|endoftext|>"


class PublishedEncoding(NamedTuple):
    """The pattern that cuts text, and the control tokens behind (in p50k among) the vocabulary."""

    pattern: str
    control_tokens: dict[str, int]


def published_encoding(name: str, ranks: Mapping[bytes, int], where: str) -> PublishedEncoding:
    """What belongs to the ranks of one of `PUBLISHED`. Raises UserError, naming `where`, for ranks that are not all of it."""
    from tiktoken_ext import openai_public

    described = openai_public.ENCODING_CONSTRUCTORS[name]
    # The function as it is, with one name of its module bound anew for this call: nothing is fetched, nothing is changed.
    local = FunctionType(described.__code__, {**described.__globals__, "load_tiktoken_bpe": lambda *_, **__: dict(ranks)})
    told = local()
    control = dict(told["special_tokens"])
    last = max(ranks.values())
    # The end of text stands right behind the ordinary tokens, one id left free at most, but for p50k: its own says how many ids.
    whole = last + 1 == told["explicit_n_vocab"] if name == "p50k_base" else last < control[_END] <= last + 2
    if not whole or sorted(ranks.values()) != [number for number in range(last + 1) if number not in control.values()]:
        raise UserError(f"{where}: not the whole vocabulary of {name}; fetch the file again")
    return PublishedEncoding(told["pat_str"], control)
