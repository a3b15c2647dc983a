"""The bodies of requests, with every field bounded. Fields that a body holds beyond these are not looked at.

JSON goes straight into these types (pydantic's own parser): invalid UTF-8, lone surrogates and nesting without end are refused
there, and numbers are numbers, not strings that look like one.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

MOST_STOPS = 64
MOST_MESSAGES = 10_000
MOST_TOOLS = 1024
MOST_CHOICES = 128
MOST_PROMPTS = 4096
MOST_ANSWERS = 8192
MOST_BIASES = 1024
MOST_ALTERNATIVES = 20

Object = dict[str, Any]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Messages = Annotated[list[Object], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
Tools = Annotated[list[Object], Field(max_length=MOST_TOOLS, fail_fast=True)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
CountOrNone = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _stops(value: Any) -> Any:
    """One string or several as several; none that is empty."""
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and len(stops) > MOST_STOPS:
        raise ValueError(f"{len(stops):,} stop strings; at most {MOST_STOPS} are taken")
    return [stop for stop in stops if stop != ""] if isinstance(stops, list) else stops


def _biases(value: Any) -> Any:
    """Token id -> bias, from an object whose names are the ids as JSON has it."""
    if not isinstance(value, dict):
        return value
    if len(value) > MOST_BIASES:
        raise ValueError(f"{len(value):,} biases; at most {MOST_BIASES} are taken")
    if bad := next((key for key in value if not (key.isascii() and key.isdecimal() and len(key) < 10)), None):
        raise ValueError(f"{bad[:40]!r} is no token id")
    return {int(key): bias for key, bias in value.items()}


def _prompts(value: Any) -> Any:
    """Any of the four forms of a prompt as a list of texts and lists of token ids."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError("a prompt is text, a list of token ids, or a list of those that is not empty")
    prompts = [value] if all(type(part) is int for part in value) else value
    if len(prompts) > MOST_PROMPTS:
        raise ValueError(f"{len(prompts):,} prompts; at most {MOST_PROMPTS} are taken")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) and not (isinstance(prompt, list) and all(type(part) is int for part in prompt)):
            raise ValueError(f"prompt {index} is neither text nor a list of token ids")
    return prompts


Stops = Annotated[
    list[Annotated[str, StringConstraints(max_length=4096)]],
    Field(fail_fast=True),
    BeforeValidator(_stops),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MOST_STOPS}]}),
]
Biases = Annotated[
    dict[int, Annotated[float, Field(ge=-100, le=100)]],
    BeforeValidator(_biases),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}}),
]
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_MANY_IDS = {"type": "array", "items": _IDS, "minItems": 1}
Prompts = Annotated[
    list[Any],
    BeforeValidator(_prompts),
    WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS, _IDS, _MANY_IDS]}),
]


class Body(BaseModel):
    """What all bodies share: exact types, finite numbers, unknown fields passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class StreamOptions(Body):
    """What a stream tells besides text."""

    include_usage: bool | None = None


class Sampled(Body):
    """How an answer is sampled, as OpenAI names it and, below that, as vLLM does."""

    model: ModelName
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Stops | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Biases | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1, description="-1 and 0 keep all tokens")
    repetition_penalty: float | None = Field(None, gt=0, le=100)
    min_tokens: CountOrNone | None = None
    ignore_eos: bool | None = Field(None, description="no token of the model's ends the answer")
    guided_json: Object | str | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = Field(None, description="llguidance's variant of Lark")
    guided_choice: list[str] | None = Field(None, min_length=1, max_length=1024)
    structured_outputs: Object | None = Field(None, description="one of json, regex, grammar, choice")

    @property
    def guided(self) -> bool:
        """Whether one of the extras says what the answer must be."""
        extras = (self.guided_json, self.guided_regex, self.guided_grammar, self.guided_choice, self.structured_outputs)
        return any(extra is not None for extra in extras)


class ChatCompletionRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: Messages
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    tools: Tools | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    response_format: Object | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: Object | None = Field(None, description="further names for the chat template, such as enable_thinking")


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    prompt: Prompts
    max_tokens: CountOrNone | None = None
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    suffix: str | None = Field(None, description="what follows the answer: for models trained to fill in the middle")
    best_of: int | None = Field(None, ge=1, le=MOST_CHOICES)
    return_tokens_as_token_ids: bool | None = None


class ResponsesRequest(Body):
    """POST /v1/responses."""

    model: ModelName
    input: str | Messages
    instructions: str | None = None
    max_output_tokens: Count | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    tools: Tools | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    text: Object | None = None
    reasoning: Object | None = None
    stream: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: Object | None = None


class MessagesRequest(Body):
    """POST /v1/messages, and /v1/messages/count_tokens, which needs no max_tokens."""

    model: ModelName
    messages: Messages
    max_tokens: Count | None = None
    system: str | list[Object] | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: CountOrNone | None = None
    stop_sequences: Stops | None = None
    tools: Tools | None = None
    tool_choice: Object | None = None
    thinking: Object | None = None
    stream: bool | None = None
