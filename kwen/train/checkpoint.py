"""The state of a training run on disk: one safetensors file and one JSON file, renamed into place together.

A checkpoint holds the parameters (`model/...`), the optimiser's state (`optimizer/...`), the step, and the statistics of the
gradient norm. Data order needs no state: it is a function of the seed and the step.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from kwen.errors import UserError
from kwen.files import folder_aside, write_json

TENSORS, STATE = "state.safetensors", "state.json"


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint at `path`; a kill at any moment leaves the old one or the new one."""
    with folder_aside(path) as folder:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
        write_json(folder / STATE, state)


def load_checkpoint(path: Path, run: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Tensors and state of the checkpoint at `path`, or None where there is none or it belongs to another `run`.

    run: the hash of everything that shapes the run; a checkpoint of another configuration is not continued.
    Raises UserError when a checkpoint of this run cannot be read.
    """
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        path = old
    if not path.exists():
        return None
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if state.get("run") != run:
            return None
        return load_file(path / TENSORS), state
    except Exception as error:
        raise UserError(f"{path}: this training checkpoint cannot be read ({error}); delete the folder to start over") from error
