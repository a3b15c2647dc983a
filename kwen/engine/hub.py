"""Where a model's files are: a folder, a .gguf file, or a repository of the Hugging Face hub, fetched once and cached."""

import re
from pathlib import Path

from kwen.errors import UserError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.tiktoken", "*.txt"]  # never pickled weights


def find_model(name: str | Path) -> Path:
    """The local path of `name`: itself if it exists, else the snapshot of the hub repository `organisation/name`.

    The hub is asked only for a name of that form whose first part is no local folder. Raises UserError, saying what was
    looked for, when there is nothing.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    text = str(name)
    if not _REPOSITORY.fullmatch(text) or text.endswith(".gguf") or path.parent.is_dir():
        raise UserError(f"no model at {text}: there is no such folder or .gguf file (looked in {path.absolute().parent})")
    return _snapshot(text)


def _snapshot(repository: str) -> Path:
    from huggingface_hub import snapshot_download  # here, because it takes half a second that local models need not pay
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    missing = f"no model at {repository}: there is no such folder here"
    try:
        return Path(snapshot_download(repository, allow_patterns=_WANTED))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{missing}, and the hub has no public repository of that name") from error
    except (LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise UserError(f"{missing}, its cache does not hold it, and the hub cannot be reached ({reason})") from error
