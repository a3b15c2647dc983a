"""The evals stage: the same bytes whoever shares the work, and nothing is asked twice."""

import json
from pathlib import Path

import pytest
from tiny_chat import make_chat

from kwen.corpus.pipeline import CorpusConfig, build
from kwen.family.artifact import Manifest
from kwen.family.graph import Job
from kwen.family.launch import Launcher
from kwen.family.recipe import EvalsConfig
from kwen.family.scoring import make_evals
from kwen.nanoworld.documents import documents
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TASKS = ["nanoworld-facts", "nanoworld-reading"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two chat models of random weights."""
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    train((document.text for document in documents(0, "train", 150)), TokenizerConfig(vocab_size=700, whole_words=12), tokenizer)
    folder = tmp_path_factory.mktemp("models")
    chat = Tokenizer.load(tokenizer).for_chat(DEFAULT_SYSTEM)
    return {name: make_chat(folder / name, chat, seed=seed, context=640) for seed, name in enumerate(("released", "chat"))}


def evals(models: dict[str, Path], folder: Path, launcher: Launcher) -> tuple[dict, dict[str, bytes]]:
    """The stage's metrics and the files that it leaves."""
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = EvalsConfig(tasks=TASKS, limit=5)
    metrics = make_evals(Job("evals", settings, 0, models, folder / "out", folder / "work", launcher))
    return metrics, {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "out").rglob("*.json*")}


def test_two_ranks_leave_the_files_of_one_and_kept_scores_stand(models: dict[str, Path], tmp_path: Path) -> None:
    one = evals(models, tmp_path / "one", Launcher(1))
    with Launcher(2) as launcher:
        two = evals(models, tmp_path / "two", launcher)
    assert one == two
    assert list(one[0]["scores"]) == list(models) and list(one[0]["scores"]["chat"]) == TASKS
    (kept,) = (tmp_path / "one" / "work").glob("chat.nanoworld-facts.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"n": 77}))
    again, _ = evals(models, tmp_path / "one", Launcher(1))
    assert again["n"] == {"nanoworld-facts": 77, "nanoworld-reading": 5}


def test_training_text_and_held_out_text_are_measured(models: dict[str, Path], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    sources = [{"kind": "nanoworld", "count": 200, "held_out_count": 12}]
    build(CorpusConfig.model_validate({"sources": sources}), 0, corpus)
    Manifest("corpus", "corpus", 1, "key", {}, {"corpus": {"sources": sources}}, 0, {}, {}).write(corpus)
    metrics, files = evals({"released": models["released"], "corpus": corpus}, tmp_path / "run", Launcher(1))
    contamination, compression = (json.loads(files[f"out/{name}.json"]) for name in ("contamination", "compression"))
    assert list(contamination["artifacts"]) == ["corpus"] and list(contamination["artifacts"]["corpus"]) == TASKS
    items = sum(counts["items"] for counts in contamination["artifacts"]["corpus"].values())
    assert metrics["contamination"]["corpus"]["items"] == items == 600
    assert compression["reference"] == "own" and compression["tokenizers"] == {"own": {"vocabulary": 700}}
    tokens = sum(counts["tokens"]["own"] for counts in compression["languages"].values())
    perplexity = json.loads(files["out/scores.json"])["released"]["perplexity"]
    assert (tokens, set(compression["languages"])) == (perplexity["tokens"], set(perplexity["by_language"]))
