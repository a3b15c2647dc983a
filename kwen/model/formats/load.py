"""One way in for every kind of checkpoint."""

from pathlib import Path

from kwen.errors import UserError
from kwen.model.formats import adapter, gguf, huggingface, qwen1
from kwen.model.formats.checkpoint import Checkpoint, read_json


def load_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint at `path`: a folder with config.json (Hugging Face's layout or Qwen-1's) or a .gguf file.

    A folder that holds no config.json but one .gguf file means that file; the folder of a LoRA adapter means the model that it
    names as its base, with the adapter added. Config, names and shapes are checked; the weights
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
        if (path / adapter.CONFIG).exists():
            return _with_its_base(path)
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return gguf.read(files[0])
        held = f"{len(files)} .gguf files, name one" if files else "neither config.json nor a .gguf file"
        raise UserError(f"{path}: the folder holds {held}")
    values = read_json(path / "config.json")
    return qwen1.read(path, values) if values.get("model_type") == "qwen" else huggingface.read(path, values)


def _with_its_base(folder: Path) -> Checkpoint:
    found = adapter.read_adapter(folder)
    base = Path(found.base).expanduser()
    if not base.exists():
        raise UserError(
            f"{folder}: an adapter for {found.base}, which is not on this machine under that name; kwen convert BASE OUT --merge "
            f"{folder} adds it to a model that lies elsewhere"
        )
    if (base / adapter.CONFIG).exists() and not (base / "config.json").exists():
        raise UserError(f"{folder}: an adapter for {base}, which is an adapter itself; merge that one first")
    return adapter.merged(load_checkpoint(base), found)
