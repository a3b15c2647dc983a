"""Recipes: a family as one YAML file.

    name: mine                      the run's folder is runs/mine
    seed: 0
    init_from: FOLDER               a released checkpoint, in place of base: a Hugging Face or Qwen-1 folder, or a GGUF file
    corpus: {sources: [...]}        kwen.corpus.pipeline.CorpusConfig
    tokenizer: {vocab_size: ...}    kwen.text.tokenizer_training.TokenizerConfig
    model: {...}                    what all base models share; each may say otherwise
    training: {...}                 likewise
    base: {hidden_size: ..., training: {steps: ...}}        also base-s and base-m; the model's keys stand in the section
    chat-sft: {...}                 also chat-sft-s and chat-sft-m, made from base-s and base-m
    self-instruct: {rounds: ..., training: {...}}       from chat-sft and base: tool use that it taught itself
    comparisons: {pairs: ..., test_pairs: ..., prompts: ...}   pairs of answers sampled from all chat-sft models
    pmp: {data: [...], training: {...}}                 the reward model's own pretraining, from base
    reward: {data: [...], training: {...}}              from pmp (from base where there is none), on the comparisons and data
    reward-alone: {training: {...}}                     the same from base, for comparison
    chat: {kind: ppo, data: [...], steps: ..., ...}     from self-instruct or chat-sft: RLHF against reward (kwen.align.ppo);
                                                        kind: dpo learns from pairs, grpo from tasks that can be checked
    online: {pairs: ..., ...}                           pairs of answers of chat, for testing alone
    judging: {pairs: ..., prompts: ...}                 reward models on pairs, chat against chat-sft
    code: {corpus: {sources: [...]}, fim: ..., training: {...}}   the base model on a corpus of code
    code-chat: {data: [...], training: {...}}           from code
    math-chat: {data: [...], training: {...}}           from base
    evals: {tasks: [...], code: [...], maths: [...], tools: [...], limit: ...}
    launcher: {kind: local, ranks: 2}
    expected_seconds: {base: 200}   serves the estimate of a first build, nothing else

An artifact that a recipe does not name is not part of the family; the report always is. Base models need corpus and tokenizer. A
family that starts from a released checkpoint has its tokenizer, and a corpus only where one is named.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.dpo import DPOConfig
from kwen.align.grpo import GRPOConfig
from kwen.align.ppo import PPOConfig
from kwen.align.reward import RewardConfig
from kwen.align.sampled import SampledConfig
from kwen.align.self_instruct import SelfInstructConfig
from kwen.align.sft import SFTConfig
from kwen.corpus.pipeline import CorpusConfig
from kwen.errors import UserError
from kwen.evals.tasks import find_task
from kwen.family.checking import override, read_yaml, validate
from kwen.family.launch import LauncherConfig
from kwen.pretrain.base import PretrainConfig
from kwen.pretrain.code import ContinueConfig
from kwen.text.tokenizer_training import TokenizerConfig

BASES = ("base-s", "base-m", "base")
CHATS = ("chat-sft-s", "chat-sft-m", "chat-sft")
REWARDS = ("pmp", "reward", "reward-alone")
ALIGNED = ("comparisons", *REWARDS, "chat", "online", "judging")
SELF_INSTRUCT = "self-instruct"
SPECIALISTS = ("code", "code-chat", "math-chat")
INTERPRETER = "nanoworld-interpreter"
"""The task with the code interpreter, which the specialist in code is asked too (claim 9)."""
RELEASED = "released"
"""The artifact that stands for the checkpoint of `init_from`."""

ChatConfig = Annotated[PPOConfig | DPOConfig | GRPOConfig, Field(discriminator="kind")]


class CodeConfig(ContinueConfig):
    """The code model: a corpus of code and text, and how the base model goes on learning from it. `fim` is the share of the code
    that is rearranged to fill in the middle (ours: the report trains none)."""

    corpus: CorpusConfig
    fim: float = Field(default=0.0, ge=0, le=1)


class EvalsConfig(BaseModel):
    """What is measured: `tasks` on the released checkpoint, the largest SFT model and the model after RLHF; bits a byte of the
    corpus's held-out text on the models without fine-tuning, and where there is RLHF on the models before and after it.

    `code` are asked of base, code, code-chat and chat, `maths` of chat and math-chat, `tools` of the SFT models of all sizes,
    of self-instruct and of chat, the interpreter's of code-chat too. `data` is the folder of the benchmarks' own files. `limit`
    takes the first items of each task; held-out text is read whole. `long_context`: the largest base reads so many texts, joined
    of held-out documents, at lengths up to eight times its trained one, and finds numbers in long texts; 0: it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    maths: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    data: Path | None = None
    limit: int | None = Field(default=None, ge=1)
    long_context: int = Field(default=0, ge=0)

    @property
    def all_tasks(self) -> dict[str, tuple[str, ...]]:
        """The tasks of each list, by its key."""
        return {"tasks": self.tasks, "code": self.code, "maths": self.maths, "tools": self.tools}


class JudgingConfig(BaseModel):
    """How the alignment is judged: reward models on `pairs` pairs of each kind that PMP never saw, beside the comparisons' own
    held-out pairs; `chat` against `chat-sft` on `prompts` held-out prompts, greedily and, with `top_p`, at each of
    `temperatures`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(default=500, ge=1)
    prompts: int = Field(default=660, ge=1)
    temperatures: tuple[float, ...] = (1.0,)
    top_p: float = Field(default=0.8, gt=0, le=1, description="of the answers that are sampled (the released chat models' own)")
    max_new_tokens: int = Field(default=80, ge=1)


class Recipe(BaseModel):
    """A whole family, validated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    about: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    init_from: Path | None = None
    corpus: CorpusConfig | None = None
    tokenizer: TokenizerConfig | None = None
    base_s: PretrainConfig | None = Field(default=None, alias="base-s")
    base_m: PretrainConfig | None = Field(default=None, alias="base-m")
    base: PretrainConfig | None = None
    chat_sft_s: SFTConfig | None = Field(default=None, alias="chat-sft-s")
    chat_sft_m: SFTConfig | None = Field(default=None, alias="chat-sft-m")
    chat_sft: SFTConfig | None = Field(default=None, alias="chat-sft")
    self_instruct: SelfInstructConfig | None = Field(default=None, alias="self-instruct")
    comparisons: SampledConfig | None = None
    pmp: RewardConfig | None = None
    reward: RewardConfig | None = None
    reward_alone: RewardConfig | None = Field(default=None, alias="reward-alone")
    chat: ChatConfig | None = None
    online: SampledConfig | None = None
    judging: JudgingConfig | None = None
    code: CodeConfig | None = None
    code_chat: SFTConfig | None = Field(default=None, alias="code-chat")
    math_chat: SFTConfig | None = Field(default=None, alias="math-chat")
    evals: EvalsConfig | None = None
    launcher: LauncherConfig = LauncherConfig()
    expected_seconds: dict[str, float] = {}

    def bases(self) -> dict[str, PretrainConfig]:
        """The base models that the family has, by name, smallest first."""
        return _present({"base-s": self.base_s, "base-m": self.base_m, "base": self.base})

    def chats(self) -> dict[str, SFTConfig]:
        """The chat models that the family has, by name."""
        return _present({"chat-sft-s": self.chat_sft_s, "chat-sft-m": self.chat_sft_m, "chat-sft": self.chat_sft})

    def start(self) -> str:
        """The artifact that fine-tuning and reward models start from."""
        return "base" if self.init_from is None else RELEASED

    def policy(self) -> str:
        """The artifact that `chat` starts from: self-instruct's model, the largest SFT model, or a released one as it is."""
        if self.self_instruct is not None:
            return SELF_INSTRUCT
        return self.start() if self.init_from is not None and self.chat_sft is None else "chat-sft"

    def as_dict(self) -> dict[str, Any]:
        """The resolved recipe in JSON types, every default written out; itself a valid recipe."""
        return {key: value for key, value in self.model_dump(mode="json", by_alias=True).items() if value is not None}

    def to_yaml(self) -> str:
        """`as_dict` as YAML."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True, width=120)


def _present(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in sections.items() if section is not None}


def shipped() -> list[str]:
    """The names of the recipes that come with Kwen."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files("kwen.family").joinpath("recipes").iterdir())


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name (one that ships) or in that file, with `overrides` (`key=value`) applied.

    UserError, in one line with the file and the full key, for whatever is wrong with it.
    """
    where, text = _text(name_or_file)
    data = read_yaml(text, where)
    for assignment in overrides:
        override(data, assignment)
    for part in ("model", "training"):
        if not isinstance(data.get(part, {}), dict):
            raise UserError(f"{where}: {part} is {data[part]!r}; expected a section with keys of its own")
    filled, written = _fill_in(data)
    recipe = validate(Recipe, filled, where, written, lifted=("model",))
    _check_inputs(recipe, where)
    for key, tasks in recipe.evals.all_tasks.items() if recipe.evals is not None else ():
        for task in tasks:
            try:
                find_task(task)
            except UserError as error:
                raise UserError(f"{where}: evals.{key}: {error}") from None
    made = {"corpus", "tokenizer", "shards", "code-corpus", "code-shards", "evals", "report"}
    unknown = set(recipe.expected_seconds) - {*made, *BASES, *CHATS, SELF_INSTRUCT, *ALIGNED, *SPECIALISTS}
    if unknown:
        raise UserError(f"{where}: expected_seconds.{min(unknown)} is not an artifact; remove it")
    return recipe


def _check_inputs(recipe: Recipe, where: str) -> None:
    """UserError for a section whose inputs the recipe does not name."""
    sections = recipe.as_dict()
    start = recipe.start()
    if recipe.init_from is not None:
        if clash := next((name for name in (*BASES, "tokenizer") if name in sections), None):
            raise UserError(f"{where}: init_from and {clash}: a family starts from a released checkpoint or from its own bases")
        sections[RELEASED] = recipe.init_from
    needs: dict[str, tuple[str, ...]] = {base: ("corpus", "tokenizer") for base in BASES}
    needs |= {chat: (start if chat == "chat-sft" else base_of(chat),) for chat in CHATS}
    needs |= {SELF_INSTRUCT: (start, "chat-sft")}
    needs |= {"comparisons": ("chat-sft",), **dict.fromkeys(REWARDS, (start,)), "online": ("chat",)}
    needs |= {"judging": ("chat-sft", "chat", "reward", "comparisons"), "chat": (recipe.policy(),)}
    needs |= {"code": (start,), "code-chat": ("code",), "math-chat": (start,)}
    if isinstance(recipe.chat, PPOConfig):
        needs["chat"] += ("reward", *(("corpus",) if recipe.chat.pretrain_coefficient else ()))
    for name, inputs in needs.items():
        missing = [section for section in inputs if section not in sections]
        if name in sections and missing:
            raise UserError(
                f"{where}: {name} is made from {missing[0]}, which the recipe does not name; add the section {missing[0]}"
            )
    of_pairs = [*REWARDS, *(["chat"] if isinstance(recipe.chat, DPOConfig) else [])]
    for name in of_pairs:
        if name in sections and not sections[name]["data"] and (name == "pmp" or "comparisons" not in sections):
            other = "" if name == "pmp" else ", or add the section comparisons"
            raise UserError(f"{where}: {name}.data names no pairs; give a source{other}")


def base_of(chat: str) -> str:
    """The base model that a chat model is made from: chat-sft from base, chat-sft-s from base-s."""
    return "base" + chat.removeprefix("chat-sft")


def _text(name_or_file: str) -> tuple[str, str]:
    """How messages call the recipe, and its text."""
    names = shipped()
    if name_or_file in names:
        return f"recipes/{name_or_file}.yaml", files("kwen.family").joinpath("recipes", f"{name_or_file}.yaml").read_text("utf-8")
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise UserError(f"no recipe {name_or_file!r}: the recipes that ship are {', '.join(names)}; else name a YAML file")
    try:
        return str(path), path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; a recipe is a YAML file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a recipe that ships or a YAML file") from None


def _fill_in(data: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """`data` with the shared sections merged into each base model, and the map from merged paths to written ones."""
    shared = {"model": data.get("model", {}), "training": data.get("training", {})}
    filled = {key: value for key, value in data.items() if key not in shared}
    origin: dict[str, str] = {}
    for name in BASES:
        section = data.get(name)
        if not isinstance(section, dict):
            continue
        own = {key: value for key, value in section.items() if key not in _MODEL_KEYS}
        lifted = {key: value for key, value in section.items() if key in _MODEL_KEYS}
        origin |= {f"{name}.model.{key}": f"{name}.{key}" for key in lifted}
        model = _merge(own.get("model", {}), lifted, f"{name}.model", f"{name}.model", {})
        merged = dict(own)
        for part, inner in (("model", model), ("training", own.get("training", {}))):
            merged[part] = _merge(shared[part], inner, f"{name}.{part}", part, origin)
        filled[name] = merged
    if isinstance(data.get("chat"), dict):
        filled["chat"] = {"kind": "ppo", **data["chat"]}
    return filled, lambda path: origin.get(path, path)


def _merge(below: Any, above: Any, path: str, written: str, origin: dict[str, str]) -> Any:
    """`above` over `below`, section by section; `origin` notes which paths come from `below`, and from where."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = dict(above)
    for key, value in below.items():
        if key not in above:
            merged[key] = value
            origin |= {f"{path}.{key}{rest}": f"{written}.{key}{rest}" for rest in _below(value)}
        else:
            merged[key] = _merge(value, above[key], f"{path}.{key}", f"{written}.{key}", origin)
    return merged


def _below(value: Any) -> list[str]:
    rests = [""]
    if isinstance(value, dict):
        rests += [f".{key}{rest}" for key, inner in value.items() for rest in _below(inner)]
    return rests


_MODEL_KEYS = frozenset(getattr(PretrainConfig.model_fields["model"].annotation, "model_fields", {}))
