"""`kwen eval --hub` against a hub on loopback; nothing leaves the machine."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_data import GSM8K, MMLU, hub_files, parquet, write_published
from hub_server import Hub, serving

from kwen.cli.main import exit_code
from kwen.errors import UserError
from kwen.evals import hub as hub_module
from kwen.evals import run
from kwen.evals.hub import RECORD, fetch_missing
from kwen.evals.tasks import TASKS, find_task
from kwen.evals.tasks.sources import SOURCES, folder_of

pytest.importorskip("pyarrow", reason="pyarrow is absent: pip install 'kwen[data]'")
COMMIT = SOURCES["gsm8k"].revision


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with every data set that is listed, at its commit."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serving() as hub:
        hub.repositories = {
            SOURCES[folder].repository: (SOURCES[folder].revision, files) for folder, files in hub_files().items()
        }
        yield hub


def fetch(hub: Hub, data: Path, *names: str) -> list[str]:
    """Fetch what the named tasks lack; the lines that were told."""
    told: list[str] = []
    fetch_missing(names, data=data, tell=told.append, endpoint=hub.address)
    return told


def refused(hub: Hub, data: Path, *names: str) -> str:
    """The one line that a fetch ends with, which leaves `data` as it was."""
    before = sorted(data.rglob("*"))
    with pytest.raises(UserError) as caught:
        fetch(hub, data, *names)
    assert "\n" not in str(caught.value) and sorted(data.rglob("*")) == before
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name in TASKS if folder_of(name) in SOURCES])
def test_what_is_fetched_asks_what_the_published_files_ask(hub: Hub, tmp_path: Path, name: str) -> None:
    folder = folder_of(name)
    write_published(tmp_path / "published", folder)
    fetch(hub, tmp_path / "fetched", name)
    fetched, published = (find_task(name).items(tmp_path / where, 0) for where in ("fetched", "published"))
    assert list(map(repr, fetched)) == list(map(repr, published)) != []
    wanted = [path for path in hub_files()[folder] if path not in ("README.md", "load.py", "cache.pkl")]
    there = (path.relative_to(tmp_path / "fetched" / folder) for path in (tmp_path / "fetched").rglob("*") if path.is_file())
    assert sorted(map(str, there)) == sorted([RECORD, *wanted]) and hub.files() == sorted(wanted)


def test_fetched_data_are_scored_and_recorded_and_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    (told,) = fetch(hub, data, "gsm8k", "gsm8k-8-shot", "nanoworld-facts")
    size = sum(len(parquet(rows)) for rows in (GSM8K, GSM8K[::-1])) / 1e6
    assert told == f"gsm8k: fetching 2 files, {size:.1f} MB, of openai/gsm8k (commit {COMMIT[:12]}) from {hub.address}"
    record = json.loads((data / "gsm8k" / RECORD).read_text())
    assert (record["repository"], record["commit"], record["endpoint"]) == ("openai/gsm8k", COMMIT, hub.address)
    rows = [{"task": "gsm8k", "id": str(n), "text": "#### 6"} for n in range(len(GSM8K))]
    (tmp_path / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run.score_saved(tmp_path / "saved.jsonl", ["gsm8k"], data=data)["gsm8k"]["accuracy"] == pytest.approx(1 / 9)
    asked = len(hub.asked)
    assert fetch(hub, data, "gsm8k") == [] and len(hub.asked) == asked
    assert sorted(path.name for path in data.iterdir()) == ["gsm8k"]


def test_a_folder_that_is_there_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    assert fetch(hub, tmp_path, "gsm8k") == [] and hub.asked == [] and list((tmp_path / "gsm8k").iterdir()) == []


def test_a_revision_may_be_a_branch_whose_commit_is_recorded(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = hub_module.Source("openai/gsm8k", "main", ("main/*.parquet",))
    monkeypatch.setitem(hub_module.SOURCES, "gsm8k", branch)
    assert COMMIT[:12] in fetch(hub, tmp_path, "gsm8k")[0]
    record = json.loads((tmp_path / "gsm8k" / RECORD).read_text())
    assert (record["revision"], record["commit"]) == ("main", COMMIT)


def test_a_subject_without_worked_questions_is_named(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, "mmlu")
    (tmp_path / "mmlu" / "all" / "dev-00000-of-00001.parquet").write_bytes(parquet(MMLU[:2]))
    with pytest.raises(UserError, match="mmlu: no dev question of astronomy in .*mmlu; fetch the whole data set"):
        find_task("mmlu").items(tmp_path, 0)
    assert len(find_task("mmlu-0-shot").items(tmp_path, 0)) == 4


def test_a_repository_that_was_renamed_is_found_by_its_old_name(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["new/name"] = hub.repositories.pop("haonan-li/cmmlu")
    hub.renamed = {"haonan-li/cmmlu": "new/name"}
    fetch(hub, tmp_path, "cmmlu")
    assert len(find_task("cmmlu").items(tmp_path, 0)) == 2


def test_an_unknown_repository_a_revision_and_a_file_that_are_not_there(hub: Hub, tmp_path: Path) -> None:
    commit, files = hub.repositories["openai/gsm8k"]
    hub.repositories["openai/gsm8k"] = (commit, {"README.md": b"# Card"})
    assert f"there is no main/train-00000-of-00001.parquet at {commit}" in refused(hub, tmp_path, "gsm8k")
    hub.repositories["openai/gsm8k"] = ("0" * 40, files)
    assert f"it has no revision {commit}" in refused(hub, tmp_path, "gsm8k")
    del hub.repositories["openai/gsm8k"]
    said = refused(hub, tmp_path, "gsm8k")
    assert f"gsm8k: openai/gsm8k at {hub.address}: there is no public data set of that name" in said
    assert str(tmp_path / "gsm8k") in said


def test_a_connection_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serving() as gone:
        pass
    assert "could not be fetched (ConnectError" in refused(gone, tmp_path, "gsm8k")


@pytest.mark.parametrize(
    ("wrong", "name", "problem"),
    [
        ("cut", "gsm8k", "could not be fetched (HTTPStatusError"),
        ("cut", "lambada", "could not be fetched (HTTPStatusError"),
        ("large", "gsm8k", "MB; at most 268 MB of a data set are fetched"),
        ("hash", "gsm8k", "main/train-00000-of-00001.parquet came otherwise than its listing says"),
        ("page", "gsm8k", "the answer is no listing of the hub"),
    ],
)
def test_a_hub_that_answers_wrongly_leaves_nothing(hub: Hub, tmp_path: Path, wrong: str, name: str, problem: str) -> None:
    hub.wrong = wrong
    said = refused(hub, tmp_path, name)
    assert problem in said and SOURCES[folder_of(name)].repository in said
    hub.wrong = ""
    assert len(fetch(hub, tmp_path, name)) == 1


def test_a_path_that_leads_out_of_the_folder_is_not_fetched(hub: Hub, tmp_path: Path) -> None:
    commit, files = hub.repositories["ceval/ceval-exam"]
    more = {f"{up}/dev-00000-of-00001.parquet": parquet(GSM8K) for up in ("..", "law/../..", "/tmp", ".git")}
    hub.repositories["ceval/ceval-exam"] = (commit, {**more, **files})
    fetch(hub, tmp_path / "data", "ceval")
    assert hub.files() == ["law/dev-00000-of-00001.parquet", "law/val-00000-of-00001.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_second_fetch_into_the_same_folder_waits_for_nobody(hub: Hub, tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another kwen is fetching into it" in refused(hub, tmp_path, "gsm8k")
    os.close(handle)
    (tmp_path / "file").write_text("")
    assert "cannot be a folder to fetch into" in refused(hub, tmp_path / "file", "gsm8k")
    assert hub.asked == []


NOT_PUBLISHED = ("nanoworld", "perplexity", "preference")


@pytest.mark.parametrize("name", [name for name in TASKS if folder_of(name) not in (*SOURCES, *NOT_PUBLISHED)])
def test_what_the_hub_does_not_have_names_the_publisher_before_anything_is_fetched(hub: Hub, tmp_path: Path, name: str) -> None:
    said = refused(hub, tmp_path, "gsm8k", name)
    assert f"{name}: {tmp_path}/{folder_of(name)} does not exist; put the files of " in said
    assert said.endswith("there (kwen eval --hub does not fetch them)") and hub.asked == []


@pytest.mark.parametrize("name", [name for name in TASKS if folder_of(name) in SOURCES])
def test_missing_data_say_that_hub_would_fetch_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        find_task(name).items(tmp_path, 0)
    assert f"{tmp_path}/{folder_of(name)} does not exist; put the files of " in str(caught.value)
    assert str(caught.value).endswith(f"there (kwen eval --hub fetches {SOURCES[folder_of(name)].repository})")
    assert list(tmp_path.iterdir()) == []


def test_hub_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["eval", "no-model", "--tasks", "gsm8k", "--hub"]) == 2
    assert "--hub fetches into the folder of --data: give --data DIR with it" in capsys.readouterr().err
    assert exit_code(["eval", "no-model", "--against", "other", "--hub"]) == 2
    assert "--hub belongs to scoring on tasks" in capsys.readouterr().err


def test_the_command_fetches_from_hf_endpoint_only_with_hub(hub: Hub, tmp_path: Path) -> None:
    saved, scores = tmp_path / "saved.jsonl", tmp_path / "scores.json"
    saved.write_text('{"task": "gsm8k", "id": "0", "text": "#### 6"}\n')
    command = [sys.executable, "-c", "from kwen.cli.main import run; run()", "eval", "--tasks", "gsm8k",
               "--generations", str(saved), "--data", str(tmp_path / "data"), "--json", str(scores)]  # fmt: skip
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1,localhost"}
    without = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert without.returncode == 2 and "kwen eval --hub fetches openai/gsm8k" in without.stderr and hub.asked == []
    done = subprocess.run([*command, "--hub"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].startswith("gsm8k: fetching 2 files, 0.0 MB, of openai/gsm8k (commit 740312add88f) from")
    assert len(done.stderr.splitlines()) == 1 and hub.address in done.stderr
    assert json.loads(scores.read_text())["gsm8k"]["accuracy"] == 1.0
    assert hub.files() == ["main/test-00000-of-00001.parquet", "main/train-00000-of-00001.parquet"]
