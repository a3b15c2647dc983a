"""What `kwen.load` returns: a model with its tokenizer, ready to complete text and to chat.

A prompt given as text, or inside messages, never becomes control tokens, whatever it spells.
Legend: B batch, T sequence, V vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, overload

import torch
from torch import Tensor

from kwen.engine.call_format import CallFormat, ToolPrompt, call_format_of, needs_tool_prompt, tool_prompt
from kwen.engine.chat_prompt import UNCUT, ChatPrompt
from kwen.engine.completion import Completion, Delta
from kwen.engine.constrain import Grammar
from kwen.engine.generator import Generator
from kwen.engine.hermes import THINK, HermesParser
from kwen.engine.hub import find_model
from kwen.engine.sampler import SamplingParams
from kwen.engine.tool_calls import CallParser, ContentDelta, ParsedEvent, TurnEnd, delta_of, message_of
from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, load_checkpoint
from kwen.model.formats.huggingface import save
from kwen.model.quantize import quantize_model
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.control import IM_END
from kwen.text.messages import validate_messages
from kwen.text.tokenizer import Tokenizer

Prompt = str | list[int]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BITS: dict[str, Literal[4, 8]] = {"int8": 8, "int4": 4}


class Generates(Protocol):
    """What completes prompts for a LanguageModel: a `Generator` of its own, or a `Service` shared by many."""

    def generate(
        self, prompts: list[list[int]], params: list[SamplingParams], progress: Progress = silent
    ) -> list[Completion]: ...

    def stream(self, prompt: list[int], params: SamplingParams) -> Iterator[Delta]: ...


@dataclass(frozen=True)
class ChatRequest:
    """A conversation ready to be continued: its tokens, how, and what reads the turn (None: it is plain text)."""

    prompt: list[int]
    params: SamplingParams
    parser: CallParser | None


def load(path: str | Path, dtype: str | None = None, device: str | torch.device | None = None) -> "LanguageModel":
    """Load a model: a folder that Kwen or Hugging Face wrote, a .gguf file, or the name of a repository on the hub.

    dtype: "float32", "bfloat16" or "float16"; by default float32 on a CPU whatever the file holds, bfloat16 on a GPU. "int8" and
    "int4" keep layers that the file holds as integers (GPTQ, AWQ, Q8_0, Q4_0, Q4_1) as they are, and round the others to the
    nearest of so many bits (at 4 the projections of attention's values to 8), which costs a small model a sixth of its
    perplexity: `kwen convert --quantize int4 --calibrate` does better.
    device: by default a GPU if there is one. Raises UserError in one line for whatever cannot be loaded.
    """
    place = find_device(device)
    if dtype is not None and dtype not in (*_DTYPES, *_BITS):
        raise UserError(f"dtype {dtype!r} is unknown; use one of {', '.join((*_DTYPES, *_BITS))}")
    usual = torch.float32 if place.type == "cpu" else torch.bfloat16
    weight_dtype = usual if dtype is None or dtype in _BITS else _DTYPES[dtype]
    found = find_model(path)
    checkpoint = load_checkpoint(found)
    if checkpoint.config.scores:
        raise UserError(f"{path}: a reward model, which scores text and generates none; name a chat or base model")
    source = checkpoint.tokenizer_source
    tokenizer = Tokenizer.from_source(source)
    model = build_model(checkpoint, weight_dtype, place, keep_quantized=dtype in _BITS)
    if dtype in _BITS:
        quantize_model(model, _BITS[dtype], value_bits=8)
    template = tokenizer.chat_template or checkpoint.chat_template
    return LanguageModel(model, tokenizer, found, checkpoint.generation_config, template)


def find_device(device: str | torch.device | None) -> torch.device:
    """The device called so, or a GPU if there is one. Raises UserError for one that cannot be used here."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
    return place


class LanguageModel:
    """A model, its tokenizer, and where they came from.

    config, model, tokenizer, path: the parts. generation_config: the checkpoint's own settings, as it gives them.
    stop_token_ids: every token that ends an answer: the generation config's, the tokenizer's, and im_end where it exists.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        path: Path | None = None,
        generation_config: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
        slots: int = 64,
        generator: Generates | None = None,
    ) -> None:
        self.model, self.tokenizer, self.path = model.eval(), tokenizer, path
        self.config: ModelConfig = model.config
        self.generation_config: dict[str, Any] = dict(generation_config or {})
        self.stop_token_ids = _stop_token_ids(self.generation_config, tokenizer)
        self._generator = generator if generator is not None else Generator(model, tokenizer, slots)
        self.chat_template = chat_template or tokenizer.chat_template
        self._chat_prompt = ChatPrompt(tokenizer, self.chat_template)

    def with_generator(self, generator: Generates) -> "LanguageModel":
        """The same model whose answers come from `generator`: with a `Service`, from any thread and batched together."""
        return LanguageModel(
            self.model, self.tokenizer, self.path, self.generation_config, self.chat_template, generator=generator
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.model.embed_tokens.weight.device

    @property
    def call_format(self) -> CallFormat:
        """How this model wants to call tools: "hermes" where its chat template shows them, else "react"."""
        return call_format_of(self.chat_template)

    @torch.inference_mode()
    def logits(self, token_ids: Tensor) -> Tensor:
        """Float32 logits (B, T, V) for `token_ids`, a LongTensor (B, T). Raises UserError for any other shape or for ids
        outside the vocabulary, and where T exceeds the model's context. On a CPU with native kernels they have the bits that
        generating has."""
        if token_ids.dim() != 2 or token_ids.dtype not in (torch.int64, torch.int32):
            raise UserError(f"logits: token_ids must be a LongTensor (B, T), not {token_ids.dtype} {tuple(token_ids.shape)}")
        context = self.config.max_position_embeddings
        if token_ids.shape[1] > context:
            raise UserError(f"logits: {token_ids.shape[1]} tokens exceed the model's context of {context}")
        if token_ids.numel() and not 0 <= int(token_ids.min()) <= int(token_ids.max()) < self.config.vocab_size:
            raise UserError(f"logits: token ids must lie between 0 and {self.config.vocab_size - 1}")
        own = self._generator.engine if isinstance(self._generator, Generator) else None
        if own is not None and own.runner.batch_invariant and not own.busy and token_ids.numel():
            return own.logits(token_ids.cpu())
        return self.model(token_ids.to(self.device, torch.int64)).float()

    @overload
    def generate(self, prompt: str, *args: Any, **kwargs: Any) -> Completion: ...
    @overload
    def generate(self, prompt: list[int], *args: Any, **kwargs: Any) -> Completion: ...
    @overload
    def generate(self, prompt: Sequence[Prompt], *args: Any, **kwargs: Any) -> list[Completion]: ...

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        progress: Progress = silent,
        grammar: Grammar | None = None,
    ) -> Completion | list[Completion]:
        """Continue a raw prompt (no template): text or token ids, or a list of those, which run as one batch.

        temperature 0 is greedy. Equal (prompt, seed) give equal answers, alone or in any batch. `stop` strings and
        `stop_token_ids` (default: those of the model) end an answer and are not part of it. `grammar` is what the answer must
        be; `max_new_tokens` cuts it all the same. Raises UserError where prompt and `max_new_tokens` exceed the model's context.
        """
        params = _params(
            max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop,
            self.stop_token_ids if stop_token_ids is None else stop_token_ids, grammar,
        )  # fmt: skip
        if isinstance(prompt, str) or _is_token_ids(prompt):
            return self._generator.generate([self._token_ids(prompt)], [params], progress)[0]
        if not isinstance(prompt, Sequence):
            raise UserError(f"generate: a prompt is text, a list of token ids, or a list of those, not {type(prompt).__name__}")
        prompts = [self._token_ids(one) for one in prompt]
        return self._generator.generate(prompts, [params] * len(prompts), progress)

    def loglikelihoods(
        self, pairs: Sequence[tuple[list[int], list[int]]], progress: Progress = silent
    ) -> list[tuple[float, bool]]:
        """For each (context, continuation), token ids both: the sum of the continuation's logprobs after the context, in nats,
        and whether each of its tokens is the likeliest. A context that comes again is computed once.

        Raises UserError for an empty part, and where both, but for the last token, exceed the model's context.
        """
        for context, continuation in pairs:
            if not context or not continuation:
                raise UserError("loglikelihoods: context and continuation need one token at least")
        params = [
            SamplingParams(max_new_tokens=0, prompt_logprobs=1, prompt_logprobs_from=len(context)) for context, _ in pairs
        ]
        found = self._generator.generate([[*context, *continuation] for context, continuation in pairs], params, progress)
        sums = [math.fsum(one.logprob or 0.0 for one in completion.prompt_logprobs) for completion in found]
        greedy = [all(one.top[0][0] == one.token_id for one in completion.prompt_logprobs) for completion in found]
        return list(zip(sums, greedy, strict=True))

    def stream(
        self,
        prompt: Prompt,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        grammar: Grammar | None = None,
    ) -> Iterator[Delta]:
        """`generate` for one prompt, in pieces as they come: complete characters, never part of a stop string."""
        params = _params(
            max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop,
            self.stop_token_ids if stop_token_ids is None else stop_token_ids, grammar,
        )  # fmt: skip
        return self._generator.stream(self._token_ids(prompt), params)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        call_format: str | None = None,
        grammar: Grammar | None = None,
    ) -> dict[str, Any]:
        """The assistant's next message, {"role": "assistant", "content": ...}, usable as history.

        messages, tools: OpenAI's form. With tools the message may hold `tool_calls` (arguments a JSON string) and
        `reasoning_content`; a call that cannot be read stays text. call_format: "hermes" or "react"; by default what the model
        wants. The oldest turns are left out where the conversation does not fit the context, and the answer is shortened where
        less than `max_new_tokens` is left. template_variables: further names for the template, such as
        {"enable_thinking": False}. grammar: what the answer must be (`Grammar.tool_calls` for calls that are always valid).
        Raises UserError for malformed messages, a model that cannot chat, or a newest turn longer than the context.
        """
        params = _params(max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop, self.stop_token_ids, grammar)
        asked = self.chat_request(messages, tools, params, template_variables=template_variables, call_format=call_format)
        completion = self._generator.generate([asked.prompt], [asked.params])[0]
        if asked.parser is None:
            return {"role": "assistant", "content": completion.text}
        return message_of([*asked.parser.feed(completion.text), *asked.parser.finish()])

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        call_format: str | None = None,
        grammar: Grammar | None = None,
    ) -> Iterator[dict[str, Any]]:
        """`chat` in deltas of OpenAI's form: first {"role": "assistant", "content": ""}, then {"content": ...}; with tools also
        {"reasoning_content": ...} and {"tool_calls": [{"index", ...}]}, arguments piece by piece."""
        params = _params(max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop, self.stop_token_ids, grammar)
        asked = self.chat_request(messages, tools, params, template_variables=template_variables, call_format=call_format)
        return _chat_deltas(_turn(self._generator.stream(asked.prompt, asked.params), asked.parser, len(asked.prompt)))

    def stream_turn(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        call_format: str | None = None,
        grammar: Grammar | None = None,
    ) -> Iterator[ParsedEvent | TurnEnd]:
        """`chat` as events (see `kwen.engine.tool_calls`), calls that cannot be read among them; the last one is a TurnEnd."""
        params = _params(max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop, self.stop_token_ids, grammar)
        asked = self.chat_request(messages, tools, params, template_variables=template_variables, call_format=call_format)
        return _turn(self._generator.stream(asked.prompt, asked.params), asked.parser, len(asked.prompt))

    def save(self, path: str | Path) -> None:
        """Write a Hugging Face folder (config, safetensors, tokenizer, template, generation config) that takes the place of
        `path` once it is complete."""
        settings = {**self.generation_config, "eos_token_id": list(self.stop_token_ids)}
        if self.tokenizer.pad_token_id is not None:
            settings.setdefault("pad_token_id", self.tokenizer.pad_token_id)
        save(self.model, self.tokenizer, path, settings)

    def _token_ids(self, prompt: object) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.bos_ids + self.tokenizer.encode(prompt)
        if _is_token_ids(prompt):
            return list(prompt)
        raise UserError(f"generate: a prompt is text or a list of token ids, not {type(prompt).__name__}")

    def chat_request(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        params: SamplingParams = SamplingParams(),
        *,
        template_variables: Mapping[str, Any] | None = None,
        call_format: str | None = None,
        truncate: bool = True,
        thoughts: bool = False,
    ) -> ChatRequest:
        """What `chat` runs: the turns that fit, half of the context kept for the answer at most, and the answer's length.

        truncate: false raises UserError with the numbers instead of leaving turns out or shortening the answer. thoughts: read
        the turn for thoughts without tools too.
        """
        checked = validate_messages(messages)
        shown: ToolPrompt | None = None
        opening: list[int] = []
        if needs_tool_prompt(checked, tools):
            chosen = call_format_of(self.chat_template, call_format)
            shown = tool_prompt(checked, tools, chosen, self.chat_template)
            opening = self.tokenizer.encode(shown.opening)
            params = replace(params, stop=tuple(dict.fromkeys((*params.stop, *shown.stop))))
        context = self.config.max_position_embeddings
        room = context - min(params.max_new_tokens, context // 2) - len(opening) if truncate else UNCUT
        said, defined = (shown.messages, shown.tools) if shown else (checked, None)
        prompt = self._chat_prompt.token_ids(said, room, defined, template_variables) + opening
        if not truncate and len(prompt) + params.max_new_tokens > context:
            raise UserError(
                f"chat: {len(prompt)} tokens of messages and {params.max_new_tokens} to generate exceed the model's context of "
                f"{context}; shorten the messages or lower max_tokens"
            )
        if len(prompt) >= context:
            raise UserError(f"chat: the newest turn takes {len(prompt)} tokens, the model's context is {context}; shorten it")
        params = replace(params, max_new_tokens=min(params.max_new_tokens, context - len(prompt)))
        if shown is None and not thoughts:
            return ChatRequest(prompt, params, None)
        thinking = self.tokenizer.decode(prompt[-8:]).rstrip().endswith(THINK)
        if shown is None:
            return ChatRequest(prompt, params, HermesParser(0, thinking))
        return ChatRequest(prompt, params, shown.parser(thinking=thinking))


def _turn(pieces: Iterator[Delta], parser: CallParser | None, prompt_tokens: int) -> Iterator[ParsedEvent | TurnEnd]:
    tokens, finish_reason = 0, "length"
    for piece in pieces:
        tokens += len(piece.token_ids)
        finish_reason = piece.finish_reason or finish_reason
        if parser is not None:
            yield from parser.feed(piece.text)
        elif piece.text:
            yield ContentDelta(piece.text)
    if parser is not None:
        yield from parser.finish()
    yield TurnEnd(finish_reason, prompt_tokens, tokens)


def _chat_deltas(events: Iterator[ParsedEvent | TurnEnd]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for event in events:
        if not isinstance(event, TurnEnd) and (delta := delta_of(event)) is not None:
            yield delta


def _params(
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    repetition_penalty: float,
    seed: int,
    stop: str | Sequence[str] | None,
    stop_token_ids: Sequence[int],
    grammar: Grammar | None,
) -> SamplingParams:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    ends = tuple(stop_token_ids)
    return SamplingParams(max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stops, ends, grammar)


def _is_token_ids(prompt: object) -> TypeGuard[list[int]]:
    return isinstance(prompt, list) and bool(prompt) and all(type(token) is int for token in prompt)


def _stop_token_ids(generation_config: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    named = generation_config.get("eos_token_id")
    ids = [*(named if isinstance(named, list) else [named]), *tokenizer.eos_token_ids, tokenizer.control_tokens.get(IM_END)]
    return tuple(dict.fromkeys(token for token in ids if type(token) is int))
