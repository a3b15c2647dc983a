"""Benchmark data from the Hugging Face hub, fetched when it is asked for and where a folder is absent.

    names of tasks -> folders that are absent -> listing (commit, sizes) -> files, aside -> checked -> DIR/FOLDER with .hub.json

What is fetched is data alone, of the patterns in `tasks/sources.py`; nothing that stands in DIR is touched.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.tasks import find_task
from kwen.evals.tasks.sources import SOURCES, Source, folder_of
from kwen.files import file_hash, folder_aside, write_json

RECORD = ".hub.json"
"""The file in a fetched folder that says where it is from: endpoint, repository, revision, commit, files."""
MAX_BYTES = 256 << 20
"""Of all files that are fetched of one data set."""
TIMEOUT = 30.0
"""Seconds to wait for the hub's listing."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*")


def fetch_missing(
    names: Sequence[str],
    *,
    data: Path,
    tell: Callable[[str], None],
    limit: int | None = None,
    seed: int = 0,
    endpoint: str | None = None,
) -> None:
    """Fetch into `data` the folders of the named tasks that are absent, where the hub has them.

    tell: called with a line before each data set: what, from where, how much. endpoint: the hub's address, by default that of
    huggingface_hub (HF_ENDPOINT). Tasks that need nothing fetched are checked first, as `run.check` does, so that what fails
    there fails before anything is fetched. UserError where the hub has no such data set or cannot be reached, where a file is
    missing, too large or not what the listing says, and where `data` cannot be written; the folder is then absent as before.
    """
    folders = {name: folder_of(find_task(name).name) for name in names}
    absent = [name for name, folder in folders.items() if folder in SOURCES and not (data / folder).exists()]
    if not absent:
        return
    if others := [name for name in names if name not in absent]:
        run.check(others, data=data, limit=limit, seed=seed)
    with _alone(data):
        for folder in dict.fromkeys(folders[name] for name in absent):
            if not (data / folder).exists():
                _fetch(data / folder, SOURCES[folder], tell, endpoint)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Lock `data`, made where it is absent, against other fetches."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        handle = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"--data {data} cannot be a folder to fetch into ({error.strerror}); choose another") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{data}: another kwen is fetching into it; wait for it") from None
        yield
    finally:
        os.close(handle)


def _fetch(target: Path, source: Source, tell: Callable[[str], None], endpoint: str | None) -> None:
    from huggingface_hub import HfApi, snapshot_download  # here, because it takes half a second
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import tqdm

    class NoBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

    api = HfApi(endpoint=endpoint)
    where = f"{target.name}: {source.repository} at {api.endpoint}"
    try:
        commit, files = _listing(api, source, where)
        size = sum(file.size for file in files.values())
        tell(
            f"{target.name}: fetching {len(files)} file{'s' * (len(files) > 1)}, {size / 1e6:.1f} MB, of {source.repository} "
            f"(commit {commit[:12]}) from {api.endpoint}"
        )
        with folder_aside(target) as aside:
            snapshot_download(
                source.repository, repo_type="dataset", revision=commit, endpoint=endpoint, local_dir=aside,
                allow_patterns=list(files), tqdm_class=NoBar,
            )  # fmt: skip
            shutil.rmtree(aside / ".cache", ignore_errors=True)
            for name, file in files.items():
                _check(aside / name, file, f"{where}: {name}")
            facts = {"endpoint": api.endpoint, "repository": source.repository, "revision": source.revision}
            write_json(aside / RECORD, facts | {"commit": commit, "files": sorted(files)})
            if target.exists():
                raise UserError(f"{target} was made by somebody else meanwhile, and is left as it is")
    except RepositoryNotFoundError:
        raise UserError(f"{where}: there is no public data set of that name; put the files into {target} yourself") from None
    except RevisionNotFoundError:
        raise UserError(f"{where}: it has no revision {source.revision}; put the files into {target} yourself") from None
    except (HTTPError, OSError, RuntimeError) as error:  # HTTPError is that of the library which huggingface_hub speaks HTTP by
        raise UserError(f"{where}: could not be fetched ({_reason(error)}); nothing was kept, try again") from error


def _listing(api: Any, source: Source, where: str) -> tuple[str, dict[str, Any]]:
    """The commit, and path -> what the hub says of each file to fetch. UserError for a pattern that no file follows, for files
    larger than MAX_BYTES together, and for what is no listing."""
    try:
        info = api.dataset_info(source.repository, revision=source.revision, files_metadata=True, timeout=TIMEOUT)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError):
            raise
        raise UserError(f"{where}: the answer is no listing of the hub ({_reason(error)}); look at HF_ENDPOINT") from None
    if not _COMMIT.fullmatch(str(info.sha)):
        raise UserError(f"{where}: its listing names no commit; look at HF_ENDPOINT")
    listed = {file.rfilename: file for file in info.siblings or () if _PATH.fullmatch(file.rfilename)}
    for pattern in source.files:
        if not any(fnmatchcase(name, pattern) for name in listed):
            raise UserError(f"{where}: there is no {pattern} at {info.sha}; put the files there yourself")
    wanted = {name: file for name, file in listed.items() if any(fnmatchcase(name, pattern) for pattern in source.files)}
    if unknown := [name for name, file in wanted.items() if not isinstance(file.size, int)]:
        raise UserError(f"{where}: its listing does not say how large {unknown[0]} is")
    if (size := sum(file.size for file in wanted.values())) > MAX_BYTES:
        raise UserError(f"{where}: {size / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} MB of a data set are fetched")
    return str(info.sha), wanted


def _check(path: Path, file: Any, where: str) -> None:
    """UserError where a file is not what the listing says it is."""
    if not path.is_file() or path.stat().st_size != file.size or (file.lfs and file_hash(path) != file.lfs.sha256):
        raise UserError(f"{where} came otherwise than its listing says; nothing was kept, try again")


def _reason(error: BaseException) -> str:
    """In a line: the error that lies behind `error`, and the first thing that it says."""
    cause = error.__cause__ or error
    return ": ".join([type(cause).__name__, *str(cause).strip().splitlines()[:1]])[:200]
