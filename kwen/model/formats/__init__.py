"""Checkpoints in and out: Hugging Face folders (GPTQ and AWQ too), Qwen-1's layout, GGUF."""

from kwen.model.formats.checkpoint import Checkpoint, build_model
from kwen.model.formats.load import load_checkpoint

__all__ = ["Checkpoint", "build_model", "load_checkpoint"]
