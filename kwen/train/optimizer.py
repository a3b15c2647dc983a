"""Optimisers and learning-rate schedules by name.

`adamw` is the report's (section 2.4): betas 0.9 and 0.95, eps 1e-8, weight decay 0.1, clip 1.0. `muon` orthogonalises the
update of the layers' matrices (torch.optim.Muon) and leaves embeddings, output projection, norms and biases to AdamW; at nano
scale it reaches a given loss in fewer steps (docs/log.md).
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from kwen.train.parallel import Group

MOMENTUM = "momentum_buffer"  # torch.optim.Muon's name for its one tensor of state


class OptimizerConfig(BaseModel):
    """Settings of the optimiser; `muon_lr` applies to the layers' matrices when `kind` is muon."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(3e-4, gt=0)
    muon_lr: float = Field(6e-3, gt=0)
    muon_steps: int = Field(5, ge=1, le=10, description="Newton-Schulz iterations")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    clip: float = Field(1.0, gt=0, description="largest global gradient norm")


class ScheduleConfig(BaseModel):
    """Linear warm-up over `warmup_steps`, then `kind` down to `final` times the peak at the last step."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(0, ge=0)
    final: float = Field(0.1, ge=0, le=1)


def learning_rate_scale(config: ScheduleConfig, step: int, steps: int) -> float:
    """The factor on the peak learning rate at `step` (0-based) of `steps`."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.kind == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    curve = 0.5 * (1 + math.cos(math.pi * done)) if config.kind == "cosine" else 1 - done
    return config.final + (1 - config.final) * curve


class Optimizer:
    """One or two torch optimisers stepped as one, on every rank.

    Orthogonalising is the costly part of Muon, so each rank does it for its own share of the matrices and the ranks then hand
    each other the updated ones; AdamW is cheap and runs everywhere. `state_dict` and `load_state_dict` speak in flat tensors
    by name and know nothing of ranks.
    """

    def __init__(self, model: torch.nn.Module, config: OptimizerConfig, group: Group) -> None:
        self._named, self._group = {name: p for name, p in model.named_parameters() if p.requires_grad}, group
        layer_matrices = {name for name, p in self._named.items() if p.dim() == 2 and name.startswith("model.layers.")}
        muon = layer_matrices if config.kind == "muon" else set()
        decayed = {name for name, p in self._named.items() if p.dim() == 2} - muon
        plain = set(self._named) - muon - decayed
        groups = [
            {"params": [self._named[name] for name in self._named if name in chosen], "weight_decay": decay}
            for chosen, decay in ((decayed, config.weight_decay), (plain, 0.0))
            if chosen
        ]
        self._parts: list[torch.optim.Optimizer] = []
        if groups:
            betas = (config.beta1, config.beta2)
            self._parts.append(torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True))
        self._shares = _shares({name: self._named[name] for name in self._named if name in muon}, group.world)
        if self._shares[group.rank]:
            self._parts.append(
                torch.optim.Muon(
                    [self._named[name] for name in self._shares[group.rank]],
                    lr=config.muon_lr,
                    weight_decay=config.weight_decay,
                    ns_steps=config.muon_steps,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self._parts]

    def step(self, scale: float) -> None:
        """Update the parameters from their gradients at `scale` times the peak learning rates."""
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for settings, peak in zip(part.param_groups, peaks, strict=True):
                settings["lr"] = peak * scale
            part.step()
        for owner, names in enumerate(self._shares):
            self._group.share([self._named[name].data for name in names], owner)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Every tensor of state as `parameter name/state name`, complete on every rank; all ranks call it together."""
        own = {id(p): state for part in self._parts for p, state in part.state.items()}
        tensors = {f"{name}/{key}": value for name, p in self._named.items() if id(p) in own for key, value in own[id(p)].items()}
        for owner, names in enumerate(self._shares):
            for name in names:
                tensors.setdefault(f"{name}/{MOMENTUM}", torch.zeros_like(self._named[name]))
            self._group.share([tensors[f"{name}/{MOMENTUM}"] for name in names], owner)
        return tensors

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take up what `state_dict` gave, on any number of ranks."""
        names = {id(p): name for name, p in self._named.items()}
        for part in self._parts:
            for settings in part.param_groups:
                for p in settings["params"]:
                    prefix = names[id(p)] + "/"
                    state = {key[len(prefix) :]: value.clone() for key, value in tensors.items() if key.startswith(prefix)}
                    if state:
                        part.state[p] = state


def _shares(matrices: dict[str, torch.nn.Parameter], world: int) -> list[list[str]]:
    """The names of `matrices` in one list a rank, of nearly equal cost (size times the shorter side)."""
    shares: list[list[str]] = [[] for _ in range(world)]
    costs = [0] * world
    for name, p in sorted(matrices.items(), key=lambda item: (-item[1].numel() * min(item[1].shape), item[0])):
        rank = costs.index(min(costs))
        shares[rank].append(name)
        costs[rank] += p.numel() * min(p.shape)
    return shares
