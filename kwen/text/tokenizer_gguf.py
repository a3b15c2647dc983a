"""Reading a tokenizer from GGUF metadata (the keys of the GGUF specification, section `tokenizer.ggml`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from kwen.errors import UserError
from kwen.text.backends import JsonBackend, tokenizer_json
from kwen.text.patterns import gguf_pre_tokenizer
from kwen.text.tokenizer_files import is_control, stops_of
from kwen.text.tokenizer_parts import TokenizerParts

_CONTROL, _USER_DEFINED = 3, 4
_OTHER_MODELS = {
    "llama": "SentencePiece BPE",
    "t5": "SentencePiece Unigram",
    "bert": "WordPiece",
    "rwkv": "RWKV",
    "gemma4": "SentencePiece-like BPE",
}


def read_gguf(metadata: Mapping[str, Any]) -> TokenizerParts:
    """The tokenizer that `metadata` (key -> value) describes. Raises UserError for other kinds and damaged metadata."""
    model = metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        kind = f"{model!r} ({_OTHER_MODELS[model]})" if model in _OTHER_MODELS else repr(model)
        raise UserError(f"tokenizer.ggml.model: {kind} is not supported; Kwen reads byte-level BPE ('gpt2')")
    tokens = _list(metadata, "tokenizer.ggml.tokens", str)
    merges = _list(metadata, "tokenizer.ggml.merges", str)
    types = _list(metadata, "tokenizer.ggml.token_type", int) if "tokenizer.ggml.token_type" in metadata else [1] * len(tokens)
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens) or len(types) != len(tokens):
        raise UserError("tokenizer.ggml.tokens: tokens must be distinct, with one token_type each; fetch the file again")
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]

    added = {token: number for token, number in vocab.items() if types[number] in (_CONTROL, _USER_DEFINED) and token}
    special = {token for token, number in added.items() if types[number] == _CONTROL}
    control = {token: number for token, number in added.items() if is_control(token, token in special)}
    pre_tokenizer, normalizer, ignore_merges = gguf_pre_tokenizer(str(metadata.get("tokenizer.ggml.pre", "default")))
    text = tokenizer_json(
        vocab,
        pairs,
        pre_tokenizer,
        normalizer,
        added,
        not_special=[token for token in added if token not in special],
        ignore_merges=ignore_merges,
    )

    template = metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) else None
    stops = [_id(metadata, f"tokenizer.ggml.{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom")]
    bos = _id(metadata, "tokenizer.ggml.bos_token_id", len(tokens))
    adds_bos = bool(metadata.get("tokenizer.ggml.add_bos_token", ignore_merges))
    return TokenizerParts(
        backend=JsonBackend(text, list(control), "tokenizer.ggml"),
        control_tokens=control,
        hidden=frozenset(number for token, number in control.items() if token in special),
        eos_token_ids=stops_of([number for number in stops if number is not None], template, control),
        pad_token_id=_id(metadata, "tokenizer.ggml.padding_token_id", len(tokens)),
        bos_ids=(bos,) if adds_bos and bos is not None else (),
        chat_template=template,
        bos_token=tokens[bos] if bos is not None else None,
    )


def _list(metadata: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    value = metadata.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise UserError(f"{key}: missing or not a list; this GGUF file carries no usable tokenizer")
    for index, item in enumerate(value):
        if not isinstance(item, kind):
            raise UserError(f"{key}[{index}]: must be {kind.__name__}, not {type(item).__name__}")
    return list(value)


def _id(metadata: Mapping[str, Any], key: str, size: int) -> int | None:
    number = metadata.get(key)
    if number is None:
        return None
    if not isinstance(number, int) or not 0 <= number < size:
        raise UserError(f"{key}: {number!r} is not an id of the vocabulary of {size}")
    return number
