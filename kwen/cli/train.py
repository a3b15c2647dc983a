"""`kwen train`: one training stage alone, from a YAML file of its settings; the same stage that `kwen build` runs."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from kwen.align.sft import SFTConfig, finetune
from kwen.cli.display import one_line_progress
from kwen.errors import UserError
from kwen.family.checking import validate
from kwen.files import folder_aside, write_json
from kwen.pretrain.base import PretrainConfig, pretrain
from kwen.train.parallel import Ranks

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
ConfigFile = Annotated[Path, typer.Argument(help="YAML file of the stage's settings.")]


class _Place(BaseModel):
    """Where a stage reads and writes, beside its own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    out: Path
    seed: int = 0
    ranks: int = 1


class PretrainFile(_Place):
    """Settings of `kwen train pretrain`."""

    shards: Path
    tokenizer: Path
    pretrain: PretrainConfig


class SFTFile(_Place):
    """Settings of `kwen train sft`."""

    base: Path
    sft: SFTConfig
