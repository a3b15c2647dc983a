"""`kwen train`: one training stage alone, from a YAML file of its settings; the same stage that `kwen build` runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ConfigDict, PositiveInt
from rich.console import Console

from kwen.align.chat_model import Show
from kwen.align.distill import DistillConfig, distill
from kwen.align.dpo import DPOConfig, train_dpo
from kwen.align.grpo import GRPOConfig, train_grpo
from kwen.align.ppo import PPOConfig, reinforce
from kwen.align.preview import introduction
from kwen.align.rejection import RejectionConfig, sample_right_answers
from kwen.align.reward import RewardConfig, train_reward
from kwen.align.sft import SFTConfig, finetune
from kwen.cli.display import one_line_progress
from kwen.errors import UserError
from kwen.family.checking import override, read_yaml, validate
from kwen.family.preference import held_out_accuracy
from kwen.files import folder_aside
from kwen.pretrain.base import PretrainConfig, pretrain
from kwen.progress import Progress
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents
from kwen.train.parallel import Ranks
from kwen.train.plan import TrainingPlan

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
ConfigFile = Annotated[Path, typer.Argument(help="YAML file of the stage's settings and folders.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value, over what the file says; may be given often.")]
WORK_SUFFIX = ".work"


class _Place(BaseModel):
    """Where a stage writes, and how many processes train."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    out: Path
    seed: int = 0
    ranks: PositiveInt = 1


class PretrainFile(_Place):
    """Settings of `kwen train pretrain`: `shards` and `tokenizer` are folders of a run."""

    shards: Path
    tokenizer: Path
    pretrain: PretrainConfig


class SFTFile(_Place):
    """Settings of `kwen train sft`: `base` is the folder of a model."""

    base: Path
    sft: SFTConfig


class RewardFile(_Place):
    """Settings of `kwen train reward`: `base` is the folder of a language model or of a reward model (PMP) to go on from."""

    base: Path
    reward: RewardConfig


class PPOFile(_Place):
    """Settings of `kwen train ppo`: `policy` is a chat model, `reward_model` what kwen train reward made, `shards` optional."""

    policy: Path
    reward_model: Path
    shards: Path | None = None
    ppo: PPOConfig


class DPOFile(_Place):
    """Settings of `kwen train dpo`: `policy` is a chat model."""

    policy: Path
    dpo: DPOConfig


class GRPOFile(_Place):
    """Settings of `kwen train grpo`: `policy` is a chat model."""

    policy: Path
    grpo: GRPOConfig


class DistillFile(_Place):
    """Settings of `kwen train distill`: `policy` learns from `teacher`, both chat models."""

    policy: Path
    teacher: Path
    distill: DistillConfig


class RejectionFile(_Place):
    """Settings of `kwen train rejection`: `policy` is a chat model."""

    policy: Path
    rejection: RejectionConfig


Settings = TypeVar("Settings", bound=_Place)


@app.command("pretrain")
def pretrain_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a base model from token shards."""
    settings = _read(PretrainFile, config, sets)
    with _stage("base", settings) as (out, work, ranks, progress):
        pretrain(
            settings.pretrain,
            seed=settings.seed,
            shards=settings.shards,
            tokenizer=settings.tokenizer,
            out=out,
            work=work,
            ranks=ranks,
            progress=progress,
        )


@app.command("sft")
def sft_command(config: ConfigFile, sets: Sets = None) -> None:
    """Fine-tune a model on conversations."""
    settings = _read(SFTFile, config, sets)
    with _stage("chat-sft", settings) as (out, work, ranks, progress):
        finetune(
            settings.sft, seed=settings.seed, base=settings.base, out=out, work=work, ranks=ranks,
            show=_shown(settings.sft), progress=progress,
        )  # fmt: skip


@app.command("reward")
def reward_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a reward model on pairs of answers."""
    settings = _read(RewardFile, config, sets)
    with _stage("reward", settings) as (out, work, ranks, progress):
        train_reward(
            settings.reward, seed=settings.seed, base=settings.base, out=out, work=work, ranks=ranks,
            show=_shown(settings.reward), progress=progress,
        )  # fmt: skip
    for name, score in held_out_accuracy(settings.out).items():
        right, error = 100 * score["accuracy"], 100 * score["accuracy_stderr"]
        typer.echo(f"held out, {name}: {right:.1f} ± {error:.1f} % of {score['n']} pairs in the right order")


@app.command("ppo")
def ppo_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a chat model against a reward model (RLHF)."""
    settings = _read(PPOFile, config, sets)
    with _stage("chat", settings) as (out, work, ranks, progress):
        reinforce(
            settings.ppo,
            seed=settings.seed,
            policy=settings.policy,
            reward=settings.reward_model,
            shards=settings.shards,
            out=out,
            work=work,
            ranks=ranks,
            show=_print_plan,
            progress=progress,
        )


@app.command("dpo")
def dpo_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a chat model on pairs of answers, without a reward model."""
    settings = _read(DPOFile, config, sets)
    with _stage("chat", settings) as (out, work, ranks, progress):
        train_dpo(
            settings.dpo, seed=settings.seed, policy=settings.policy, out=out, work=work, ranks=ranks,
            show=_shown(settings.dpo), progress=progress,
        )  # fmt: skip


@app.command("grpo")
def grpo_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a chat model on tasks whose answers can be checked (GRPO, GSPO, DAPO, CISPO)."""
    settings = _read(GRPOFile, config, sets)
    with _stage("chat", settings) as (out, work, ranks, progress):
        train_grpo(
            settings.grpo, seed=settings.seed, policy=settings.policy, out=out, work=work, ranks=ranks, show=_print_plan,
            progress=progress,
        )  # fmt: skip


@app.command("distill")
def distill_command(config: ConfigFile, sets: Sets = None) -> None:
    """Train a chat model on its own answers towards a larger one of the same tokenizer."""
    settings = _read(DistillFile, config, sets)
    with _stage("chat", settings) as (out, work, ranks, progress):
        distill(
            settings.distill, seed=settings.seed, policy=settings.policy, teacher=settings.teacher, out=out, work=work,
            ranks=ranks, show=_print_plan, progress=progress,
        )  # fmt: skip


@app.command("rejection")
def rejection_command(config: ConfigFile, sets: Sets = None) -> None:
    """Sample answers to tasks and keep the right ones as conversations for SFT."""
    settings = _read(RejectionFile, config, sets)
    with _stage("conversations", settings) as (out, work, ranks, progress):
        sample_right_answers(
            settings.rejection, seed=settings.seed, policy=settings.policy, out=out, work=work, ranks=ranks, progress=progress
        )


def _print_plan(plan: TrainingPlan) -> None:
    """The plan of a run that samples what it trains on."""
    Console(stderr=True).print(f"plan  {plan}", highlight=False)


def _shown(settings: SFTConfig | RewardConfig | DPOConfig) -> Show:
    """Prints the data's kinds, the plan, and three examples as the model will see them, before the first step."""

    def show(documents: Documents, tokenizer: Tokenizer, plan: TrainingPlan) -> None:
        console = Console(stderr=True)
        for text in introduction(settings.data, documents, tokenizer, plan):
            console.print(text)
            console.print()

    return show


def _read(kind: type[Settings], path: Path, sets: list[str] | None) -> Settings:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file of the stage's settings") from None
    data = read_yaml(text, str(path))
    for assignment in sets or []:
        override(data, assignment)
    return validate(kind, data, str(path))


@contextmanager
def _stage(name: str, settings: _Place) -> Iterator[tuple[Path, Path, Ranks, Progress]]:
    """The folder to fill, the folder that outlives a kill, the ranks, and the progress line."""
    out = settings.out
    work = out.with_name(f".{out.name}{WORK_SUFFIX}")
    console = Console(stderr=True)
    with folder_aside(out) as aside, Ranks(settings.ranks) as ranks, one_line_progress(console, name) as progress:
        yield aside, work, ranks, progress
    shutil.rmtree(work)
    typer.echo(str(out))
