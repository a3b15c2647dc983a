"""Reading tokenizers from files: tokenizer.json with its configuration, and qwen.tiktoken and other published rank files."""

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.text.backends import JsonBackend, RanksBackend
from kwen.text.control import DEFAULT_SYSTEM, ENDOFTEXT, IM_END, IM_START, chatml_template, control_surfaces
from kwen.text.patterns import REPORT_PATTERN
from kwen.text.published import PUBLISHED, published_encoding
from kwen.text.tokenizer_parts import TokenizerParts

QWEN_EXTRAS = 205
"""Spare control tokens behind Qwen's vocabulary file (report 1.2)."""
MAX_RANK_BYTES = 64 << 20  # the largest published rank file has 4 MB
_TAG = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")


def read_path(path: Path) -> TokenizerParts:
    """The tokenizer of a folder or file. Raises UserError when there is none that can be read."""
    if path.is_dir():
        for name in ("tokenizer.json", "qwen.tiktoken"):
            if (path / name).is_file():
                return read_path(path / name)
        raise UserError(f"{path}: no tokenizer here; tokenizer.json or qwen.tiktoken must lie in the folder")
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    if path.name.endswith((".tiktoken", ".tiktoken.gz")):
        return _read_ranks(path)
    if path.suffix == ".json":
        return _read_json(path)
    raise UserError(f"{path}: not a tokenizer; give a folder, a tokenizer.json, or a qwen.tiktoken")


def is_control(surface: str, special: bool) -> bool:
    """Whether an added token steers the model: it is marked special, or it is a tag such as <think> or [INST]."""
    return special or _TAG.fullmatch(surface) is not None


def stops_of(found: list[int], template: str | None, control: Mapping[str, int]) -> tuple[int, ...]:
    """Stop ids: those found, and the end of turn of a ChatML template, which some checkpoints leave out."""
    stops = list(dict.fromkeys(found))
    if template and IM_END in template and IM_END in control and control[IM_END] not in stops:
        stops.insert(0, control[IM_END])
    return tuple(stops)


def _read_json(path: Path) -> TokenizerParts:
    where = str(path)
    value = _json_object(path)
    _require_byte_level(value, where)
    added = value.get("added_tokens") or []
    control: dict[str, int] = {}
    hidden = set()
    for index, token in enumerate(added):
        if not isinstance(token, dict) or not isinstance(token.get("content"), str) or not isinstance(token.get("id"), int):
            raise UserError(f"{where}: added_tokens[{index}] needs a string `content` and an integer `id`")
        if token["content"] and is_control(token["content"], bool(token.get("special"))):
            control[token["content"]] = token["id"]
            if token.get("special"):
                hidden.add(token["id"])
    config = _json_object(path.with_name("tokenizer_config.json"), required=False)
    generation = _json_object(path.with_name("generation_config.json"), required=False)
    model = _json_object(path.with_name("config.json"), required=False)
    template = _chat_template(path, config)
    named = {key: control.get(_surface(config.get(key)) or "") for key in ("bos_token", "eos_token", "pad_token")}
    stops: list[int] = []
    for candidate in (config.get("eos_token_ids"), generation.get("eos_token_id"), named["eos_token"], model.get("eos_token_id")):
        stops = [number for number in (candidate if isinstance(candidate, list) else [candidate]) if isinstance(number, int)]
        if stops:
            break
    bos = named["bos_token"]
    default_system = config.get("default_system")
    return TokenizerParts(
        backend=JsonBackend(path.read_text(encoding="utf-8"), list(control), where),
        control_tokens=control,
        hidden=frozenset(hidden),
        eos_token_ids=stops_of(stops, template, control),
        pad_token_id=named["pad_token"],
        bos_ids=(bos,) if bos is not None and _adds_bos(config, value, bos) else (),
        chat_template=template,
        default_system=default_system if isinstance(default_system, str) else None,
        bos_token=_surface(config.get("bos_token")) if bos is not None else None,
    )


def _read_ranks(path: Path) -> TokenizerParts:
    """Qwen's vocabulary file with the control tokens that follow it, and the settings in generation_config.json beside it; or one
    that `kwen.text.published` knows by its name."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(_rank_lines(path), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise UserError(f"{path}: line {number} is not a base64 token, a space and a rank; fetch the file again") from None
    all_bytes = all(bytes([byte]) in ranks for byte in range(256))
    if all_bytes and (name := path.name.partition(".")[0]) in PUBLISHED:
        pattern, controls = published_encoding(name, ranks, str(path))
        return TokenizerParts(
            backend=RanksBackend(ranks, pattern, nfc=False),
            control_tokens=controls,
            hidden=frozenset(controls.values()),
            eos_token_ids=(controls[ENDOFTEXT],),
        )
    if not all_bytes or sorted(ranks.values()) != list(range(len(ranks))):
        raise UserError(f"{path}: ranks must be 0, 1, 2, ... with all 256 single bytes among them; fetch the file again")
    control = {surface: len(ranks) + offset for offset, surface in enumerate(control_surfaces(QWEN_EXTRAS))}
    generation = _json_object(path.with_name("generation_config.json"), required=False)
    chat = generation.get("chat_format", "chatml") != "raw"
    # A chat model ends its turn with im_end, an over-trained one opens the next (report 7.2: stop on either).
    stops = (IM_END, IM_START, ENDOFTEXT) if chat else (ENDOFTEXT,)
    return TokenizerParts(
        backend=RanksBackend(ranks, REPORT_PATTERN),
        control_tokens=control,
        hidden=frozenset(control.values()),
        eos_token_ids=tuple(control[surface] for surface in stops),
        pad_token_id=control[ENDOFTEXT],
        chat_template=chatml_template(DEFAULT_SYSTEM) if chat else None,
        default_system=DEFAULT_SYSTEM if chat else None,
    )


def _rank_lines(path: Path) -> list[bytes]:
    """The lines of a rank file, packed by gzip or not."""
    if path.suffix != ".gz":
        return path.read_bytes().splitlines()
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_RANK_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch it again") from None
    if len(data) > MAX_RANK_BYTES:
        raise UserError(f"{path}: unpacks to more than {MAX_RANK_BYTES >> 20} MiB; name a vocabulary file")
    return data.splitlines()


def _require_byte_level(value: dict[str, Any], where: str) -> None:
    """Refuse by name what is not byte-level BPE."""
    model = value.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in (None, "BPE"):
        raise UserError(f"{where}: a {kind} tokenizer; Kwen reads byte-level BPE")
    pre = value.get("pre_tokenizer")
    parts = pre.get("pretokenizers", [pre]) if isinstance(pre, dict) else []
    if not isinstance(parts, list) or not any(isinstance(part, dict) and part.get("type") == "ByteLevel" for part in parts):
        raise UserError(f"{where}: a SentencePiece-like BPE (no ByteLevel pre-tokenizer); Kwen reads byte-level BPE")


def _adds_bos(config: dict[str, Any], value: dict[str, Any], bos: int) -> bool:
    """Whether raw text begins with the bos token: said by the configuration, else by the post-processor's template."""
    if isinstance(config.get("add_bos_token"), bool):
        return config["add_bos_token"]
    return f'"ids": [{bos}]' in json.dumps(value.get("post_processor"))


def _chat_template(path: Path, config: dict[str, Any]) -> str | None:
    """chat_template.jinja, else the configuration's template (of several the one named default)."""
    file = path.with_name("chat_template.jinja")
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _surface(token: Any) -> str | None:
    """A special token of tokenizer_config.json: a string, or an object with its content."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _json_object(path: Path, required: bool = True) -> dict[str, Any]:
    if not required and not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); fetch the file again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold a JSON object")
    return value
