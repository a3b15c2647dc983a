"""How text is cut into pre-tokens before BPE runs inside each of them.

Every pattern here is a plain regular expression, so that a saved `tokenizer.json` means the same to every reader of it.
"""

import json
from collections.abc import Sequence
from typing import Any

from kwen.errors import UserError

REPORT_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Qwen's pattern (report 1.3): cl100k's, with every number character alone. Qwen 1 to 3 share it."""

LLAMA3_PATTERN = REPORT_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Llama 3's pattern: the same with runs of up to three number characters."""

_LOWER_CASE = r"(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])+"
WORD_END = r"(?![\p{L}\p{M}\p{N}_-])"
"""What must not follow a whole word of the copying pattern: then it would be the head of a longer name."""


TOOL_PIECES = (
    '", "arguments": {"', "\n</tool_response>", "<tool_response>\n", "\n</tool_call>", "<tool_call>\n", '{"name": "',
    "\n</tools>", "<tools>\n", ": integer", ": string", ": number", '": "', '", "', '"}}', '": ', ', "', "}}", "\\n", '\\"',
)  # fmt: skip
"""What every call of a tool and its surroundings repeat; kept whole, they make a call cost a third of the tokens. The last two
are a line's end and a quote inside JSON text, where a program's words would else begin with an n."""


def copying_pattern(whole_words: Sequence[str], pieces: Sequence[str] = ()) -> str:
    """The `copying` pattern (Kwen's own): one token sequence for a string wherever it stands.

    A nano model copies an unseen name only if the name is spelt with the same tokens at both places, after a space, a
    quote, a bracket or at the start of a line. So the space before a word is a pre-token of its own, except before the
    `whole_words` (lower-case, the commonest of the training text), which keep it: they are what makes plain text short, and
    nobody needs to copy them. A capital is cut from what follows, digits, underscores and other marks never join letters,
    and a contraction is one only at the end of its word. A Han character stands alone: runs of two would be cut
    differently by what stands before them. `pieces` are pre-tokens wherever they stand, the first that
    fits. At 4,096 entries this costs about 15 % more tokens than the report's pattern on English books, 20 % on Chinese.
    """
    kept = [_literal(piece) for piece in pieces]
    marks, ends = r"[^\s\p{L}\p{M}\p{N}_]", r"[\r\n]"
    if kept:  # a run of marks ends where a piece begins
        marks, ends = (f"(?:(?!{'|'.join(kept)}){one})" for one in (marks, ends))
    whole = [f" {_alternatives(whole_words)}{WORD_END}"] if whole_words else []
    others = (
        r"'(?:s|t|re|ve|m|ll|d)(?![\p{L}\p{M}])", r"[\p{Lu}\p{Lt}]", r"\p{Han}", _LOWER_CASE, r"\p{N}", r"_+",
        f"{marks}+{ends}*", r"\s*[\r\n]+", r"\s+",
    )  # fmt: skip
    return "|".join((*kept, *whole, *others))


def _literal(text: str) -> str:
    """A text as a pattern that every engine reads alike."""
    return "".join(r"\n" if sign == "\n" else sign if sign.isalnum() or sign in ' "_:,<>' else f"\\{sign}" for sign in text)


def is_copying(tokenizer_json: str) -> bool:
    """Whether the text of a `tokenizer.json` cuts by a copying pattern."""
    return json.dumps(_LOWER_CASE)[1:-1] in tokenizer_json


def _alternatives(words: Sequence[str]) -> str:
    """The words as one group, shared beginnings factored out: a regex engine tries alternatives one after another."""
    tails: dict[str, list[str]] = {}
    for word in sorted(set(words)):
        tails.setdefault(word[:1], []).append(word[1:])
    branches = [head + (_alternatives(rest) if len(rest) > 1 else rest[0]) for head, rest in tails.items() if head]
    group = f"(?:{'|'.join(branches)})" if len(branches) > 1 or "" in tails else branches[0]
    return f"{group}?" if "" in tails else group


def split(pattern: str) -> dict[str, Any]:
    """The pre-tokenizer part of a `tokenizer.json`: cut by `pattern`, then map bytes to the byte alphabet."""
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    }


_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
_DIGITS_THEN_GPT2 = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _GPT2]}
# What llama.cpp does for a file that names no pre-tokenizer (llama-vocab.cpp, pre-type default).
_DEFAULT = {
    "type": "Sequence",
    "pretokenizers": [
        *(
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in (
                r"[\p{P}\$\+<=>\^~\|]+",
                r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
                r"\p{N}+",
                r"[0-9][0-9][0-9]",
            )
        ),
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    ],
}
_NFC = {"type": "NFC"}
# pre -> (pre-tokenizer, normalizer, whole pre-tokens that are in the vocabulary skip the merges)
_GGUF_PRE: dict[str, tuple[dict[str, Any], dict[str, Any] | None, bool]] = {
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), (split(REPORT_PATTERN), _NFC, False)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), (split(LLAMA3_PATTERN), None, True)),
    **dict.fromkeys(("smollm", "starcoder", "refact"), (_DIGITS_THEN_GPT2, None, False)),
    "gpt-2": (_GPT2, None, False),
    "default": (_DEFAULT, None, False),
}


def gguf_pre_tokenizer(name: str) -> tuple[dict[str, Any], dict[str, Any] | None, bool]:
    """(pre-tokenizer, normalizer, ignore_merges) in `tokenizer.json` form for a GGUF file's `tokenizer.ggml.pre`.

    Raises UserError for a name whose cutting is not known here: a guess would give wrong ids without a sign of it.
    """
    if name not in _GGUF_PRE:
        known = ", ".join(_GGUF_PRE)
        raise UserError(f"tokenizer.ggml.pre: {name!r} is not a pre-tokenizer that Kwen knows ({known})")
    return _GGUF_PRE[name]
