"""From the recipe's launcher to the processes that train together.

`local` trains in this process; with more than one rank the others are started beside it, over gloo on processors and NCCL on
GPUs, once for all stages of a build. The number of ranks is part of a trained artifact's key: gradients that are summed in
another order round otherwise, so equal keys give equal bytes only at equal ranks.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from kwen.errors import UserError

if TYPE_CHECKING:
    from kwen.train.parallel import Ranks


class LauncherConfig(BaseModel):
    """Where and in how many processes the stages that train run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local"] = "local"
    ranks: PositiveInt | Literal["auto"] = Field(default="auto", description="processes that train; auto: one for each GPU")


class Launcher(AbstractContextManager["Launcher"]):
    """`world` ranks for the stages of one build, started when the first stage needs them and ended on leaving."""

    def __init__(self, world: int = 1) -> None:
        self.world = world
        self._ranks: Ranks | None = None

    def ranks(self) -> "Ranks":
        """The ranks; their processes start now if they do not run yet, and nobody waits for them."""
        if self._ranks is None:
            from kwen.train.parallel import Ranks  # heavy: a build that trains nothing does without

            self._ranks = Ranks(self.world)
            self._ranks.start()
        return self._ranks

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ranks is not None:
            self._ranks.close()
            self._ranks = None


def resolve_ranks(launcher: LauncherConfig) -> int:
    """The number of ranks: as the recipe says; for `auto` the number of GPUs that this process sees, or one without any."""
    if launcher.ranks != "auto":
        return launcher.ranks
    import torch  # heavy, and needed here for `auto` alone

    return max(1, torch.cuda.device_count())


def refuse_torchrun(environment: Mapping[str, str]) -> None:
    """UserError where `environment` is that of a torchrun worker: every rank would build the whole family."""
    if "TORCHELASTIC_RUN_ID" in environment:
        raise UserError("kwen build starts its own ranks: run it without torchrun and set launcher.ranks (or use kwen train)")
