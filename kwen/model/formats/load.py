"""One way in for every kind of checkpoint."""

from pathlib import Path

from kwen.errors import UserError
from kwen.model.formats import gguf, huggingface, qwen1
from kwen.model.formats.checkpoint import Checkpoint, read_json


def load_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint at `path`: a folder with config.json (Hugging Face's layout or Qwen-1's) or a .gguf file.

    A folder that holds no config.json but one .gguf file means that file. Config, names and shapes are checked; the weights
    stay in the file until `build_model` reads them. Raises UserError for everything that is not read, pickles always.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a model's folder or a .gguf file")
    if path.is_file():
        if path.suffix in huggingface.PICKLE_SUFFIXES:
            raise UserError(f"{path}: {huggingface.PICKLE_REFUSAL}")
        if path.suffix == ".safetensors" or path.name == "config.json":
            raise UserError(f"{path}: give the folder that holds config.json and the weights")
        return gguf.read(path)
    if not (path / "config.json").exists():
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return gguf.read(files[0])
        held = f"{len(files)} .gguf files, name one" if files else "neither config.json nor a .gguf file"
        raise UserError(f"{path}: the folder holds {held}")
    values = read_json(path / "config.json")
    return qwen1.read(path, values) if values.get("model_type") == "qwen" else huggingface.read(path, values)
