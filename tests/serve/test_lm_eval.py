"""lm-eval's `local-completions` against the server: the same numbers as the model's own logprobs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import Running

TASK = """
task: animals
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {data}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
"""
QUESTIONS = [
    {"question": question, "choices": ["cat", "dog", "quick brown fox", "世界"], "label": number % 4}
    for number, question in enumerate(
        (
            "the cat sat on the",
            "one, two, three,",
            "héllo",
            "the dog ran after the",
            "stop here. the",
            "the quick brown",
            "四",
            "a 👋 for the",
        )
    )
]


def own_loglikelihood(server: Running, context: str, continuation: str) -> tuple[float, bool]:
    """Sum of the logprobs of the continuation's tokens, and whether each is the likeliest."""
    before = server.lm.tokenizer.encode(context)
    whole = server.lm.tokenizer.encode(f"{context} {continuation}")
    logprobs = server.lm.logits(torch.tensor([whole])).log_softmax(-1)[0]
    places = range(len(before), len(whole))
    greedy = all(int(logprobs[place - 1].argmax()) == whole[place] for place in places)
    return math.fsum(logprobs[place - 1, whole[place]].item() for place in places), greedy


@pytest.mark.slow
def test_local_completions_scores_a_task_as_the_model_itself_does(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is absent: pip install 'lm-eval[api]'")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    import lm_eval
    from lm_eval.tasks import TaskManager

    data = tmp_path / "animals.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (tmp_path / "animals.yaml").write_text(TASK.format(data=data))
    server.lm.save(tmp_path / "model")
    model = {"model": "tiny", "base_url": f"{server.url}/v1/completions", "tokenizer": str(tmp_path / "model")}
    how = {"num_concurrent": 4, "max_retries": 1, "tokenized_requests": True, "max_length": 2048, "batch_size": 2}
    told: dict[str, Any] = lm_eval.simple_evaluate(
        model="local-completions",
        model_args=model | how,
        tasks=["animals"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    right = 0
    for sample in told["samples"]["animals"]:
        row = QUESTIONS[sample["doc_id"]]
        own = [own_loglikelihood(server, row["question"], choice) for choice in row["choices"]]
        for (score, greedy), (own_score, own_greedy) in zip((response[0] for response in sample["resps"]), own, strict=True):
            assert float(score) == pytest.approx(own_score, abs=1e-3)
            assert str(greedy) == str(own_greedy)
        right += max(range(4), key=lambda number: own[number][0]) == row["label"]
    assert told["results"]["animals"]["acc,none"] == right / len(QUESTIONS)
