"""What the readers of the different tokenizer files hand to `Tokenizer`."""

from collections.abc import Mapping
from dataclasses import dataclass

from kwen.text.backends import Backend


@dataclass(frozen=True)
class TokenizerParts:
    """What a tokenizer is made of, as a reader of one file format finds it.

    `control_tokens` are the surfaces that ordinary text never becomes; `hidden` those of their ids that
    `skip_special_tokens` drops (tags such as `<think>` are control tokens that stay visible). `bos_ids` begin a raw prompt.
    """

    backend: Backend
    control_tokens: Mapping[str, int]
    hidden: frozenset[int]
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
    bos_ids: tuple[int, ...] = ()
    chat_template: str | None = None
    default_system: str | None = None
    bos_token: str | None = None
