"""`kwen eval` beside lm-eval on the same items: equal answers item by item, and the time each takes.

    sh benchmarks/peers/install.sh PEERS lmeval
    python benchmarks/harness.py MODEL --data DIR --peers PEERS [--only NAME ...] [--items N] [--context N] [--vllm] [--served]
                                 [--json FILE]

MODEL is a Hugging Face folder or a .gguf file (which is converted once). lm-eval runs its own task files where they can be
pointed at local data (MMLU, GSM8K, BBH, WikiText-2); what is changed in them is written below, task by task. Both load the model
in float32 and both times hold the loading. HumanEval's answers are compared as text and judged in our sandbox for both, since
lm-eval would run them unprotected. --context: both take the model's context for N tokens, so that WikiText-2 is read in windows
of so many. --served: lm-eval's `local-completions` asks `kwen serve` besides.
"""

import argparse
import dataclasses
import json
import math
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

from kwen.engine.language_model import load
from kwen.evals import run
from kwen.evals.generations import HEADER, read_rows
from kwen.evals.task import Item
from kwen.evals.tasks import TASKS
from kwen.files import write_json

RUNNER = Path(__file__).parent / "peers" / "lm_eval_run.py"
BBH = ("boolean_expressions", "object_counting", "date_understanding")
LETTERS = "ABCD"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One benchmark: our task, how many items, new tokens, and what lm-eval is asked.

    theirs(items, folder, home) writes lm-eval's task files and data to `folder` and gives the tasks' names; `home` is where
    lm-eval keeps its own. place(task, doc_id) is our item's id.
    """

    task: str
    items: int | None
    tokens: int | None
    theirs: Callable[[list[Item], Path, Path], list[str]]
    place: Callable[[str, int, list[Item]], str]


def _write(folder: Path, name: str, yaml: str, files: dict[str, list[dict[str, Any]]]) -> None:
    """A task file whose data are JSON lines beside it: split -> rows."""
    paths = {}
    for split, rows in files.items():
        paths[split] = folder / f"{name}.{split}.jsonl"
        paths[split].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    data = "".join(f"    {split}: {path}\n" for split, path in paths.items())
    head = f"task: {name}\ndataset_path: json\ndataset_name: null\ndataset_kwargs:\n  data_files:\n{data}"
    (folder / f"{name}.yaml").write_text(yaml + head, encoding="utf-8")


def _mmlu(items: list[Item], folder: Path, home: Path) -> list[str]:
    """lm-eval's own template; description and five shots in order, as its subject files have them."""
    subjects: dict[str, list[Item]] = {}
    for item in items:
        subjects.setdefault(item.id.partition("/")[0], []).append(item)
    for subject, asked in subjects.items():
        rows = [_question(item.prompt, int(item.reference)) for item in asked]
        shots = [_question(*_answered(str(shot))) for shot in asked[0].shots]
        template = f"include: {home}/mmlu/default/_default_template_yaml"
        yaml = f"{template}\nnum_fewshot: 5\ndescription: {json.dumps(asked[0].opening)}\n"
        _write(folder, f"mmlu_{subject}", yaml, {"test": rows, "dev": shots})
    return [f"mmlu_{subject}" for subject in subjects]


def _answered(shot: str) -> tuple[str, int]:
    text, _, letter = shot.rstrip("\n").rpartition(" ")
    return text, LETTERS.index(letter)


def _question(prompt: Any, answer: int) -> dict[str, Any]:
    """A question's own parts, out of the text that our task made of them."""
    body = str(prompt).removesuffix("\nAnswer:")
    places = [body.rindex("\nD. ")]
    for letter in "CBA":
        places.insert(0, body.rindex(f"\n{letter}. ", 0, places[0]))
    cuts = [*places, len(body)]
    choices = [body[begin + 4 : end] for begin, end in zip(cuts, cuts[1:], strict=False)]
    return {"question": body[: places[0]], "choices": choices, "answer": answer}


def _gsm8k(items: list[Item], folder: Path, home: Path) -> list[str]:
    """Its task with our eight shots in order (calculator marks taken out, the last line in words), our stops, the last number."""
    yaml = (
        f"include: {home}/gsm8k/gsm8k.yaml\nnum_fewshot: 8\nfewshot_config:\n  sampler: first_n\n"
        'generation_kwargs:\n  until: ["\\n\\n", "\\nQuestion:"]\n  do_sample: false\n  max_gen_toks: 256\n'
    )
    shots = []
    for shot in items[0].shots:
        question, _, answer = str(shot).strip().removeprefix("Question: ").partition("\nAnswer: ")
        shots.append({"question": question, "answer": answer})
    rows = [{"question": _bare(item), "answer": f"#### {item.reference}"} for item in items]
    _write(folder, "gsm8k_local", yaml, {"train": shots, "test": rows})
    return ["gsm8k_local"]


def _bare(item: Item) -> str:
    return str(item.prompt).removeprefix("Question: ").removesuffix("\nAnswer:")


def _bbh(items: list[Item], folder: Path, home: Path) -> list[str]:
    """Its chain-of-thought tasks with our stops and length."""
    settings = TASKS["bbh"].settings
    stops = json.dumps(list(settings["stop"]))
    names = [name for name in BBH if any(item.tag == name for item in items)]
    for name in names:
        yaml = (
            f"include: {home}/bbh/cot_fewshot/{name}.yaml\n"
            f"generation_kwargs:\n  until: {stops}\n  do_sample: false\n  max_gen_toks: {settings['max_new_tokens']}\n"
        )
        rows = [{"input": _question_of(item), "target": item.extra["target"]} for item in items if item.tag == name]
        _write(folder, f"bbh_{name}", yaml, {"test": rows})
    return [f"bbh_{name}" for name in names]


def _question_of(item: Item) -> str:
    return str(item.prompt).removeprefix("Q: ").removesuffix("\nA: Let's think step by step.\n")


def _humaneval(items: list[Item], folder: Path, home: Path) -> list[str]:
    """The prompts as they are, our stops; the answers alone."""
    settings = TASKS["humaneval"].settings
    yaml = (
        'output_type: generate_until\ntest_split: test\ndoc_to_text: "{{prompt}}"\ndoc_to_target: ""\n'
        f"generation_kwargs:\n  until: {json.dumps(list(settings['stop']))}\n  do_sample: false\n"
        f"  max_gen_toks: {settings['max_new_tokens']}\nmetric_list:\n  - metric: bypass\n"
    )
    _write(folder, "humaneval_local", yaml, {"test": [{"prompt": item.prompt} for item in items]})
    return ["humaneval_local"]


def _wikitext(items: list[Item], folder: Path, home: Path) -> list[str]:
    """Its task on our file's articles, whose text is taken as it is (its own undoes the tokenisation of the published text)."""
    yaml = f"include: {home}/wikitext/wikitext.yaml\ntraining_split: null\nvalidation_split: null\n"
    yaml += 'doc_to_target: "{{page}}"\n'
    _write(folder, "wikitext_local", yaml, {"test": [{"page": item.prompt} for item in items]})
    return ["wikitext_local"]


def _numbered(task: str, doc_id: int, items: list[Item]) -> str:
    return items[doc_id].id


COMPARISONS = {
    "mmlu": Comparison("mmlu", 1000, None, _mmlu, lambda task, n, items: f"{task.removeprefix('mmlu_')}/{n}"),
    "gsm8k": Comparison("gsm8k-8-shot", 100, 256, _gsm8k, _numbered),
    "bbh": Comparison(
        "bbh", None, None, _bbh, lambda task, n, items: [i.id for i in items if i.tag == task.removeprefix("bbh_")][n]
    ),
    "humaneval": Comparison("humaneval", None, None, _humaneval, _numbered),
    "wikitext2": Comparison("wikitext2", None, None, _wikitext, _numbered),
}


def with_context(model: Path, tokens: int, folder: Path) -> Path:
    """A copy of a Hugging Face folder whose config says that the context is `tokens`."""
    shutil.copytree(model, folder)
    config = folder / "config.json"
    write_json(config, json.loads(config.read_text(encoding="utf-8")) | {"max_position_embeddings": tokens})
    return folder


def ours(model: Path, comparison: Comparison, items: list[Item], data: Path, work: Path) -> dict[str, Any]:
    """Our answers to `items` by id, the score, and seconds, loading included."""
    task = TASKS[comparison.task]
    settings = dict(task.settings) | ({"max_new_tokens": comparison.tokens} if comparison.tokens else {})
    variant = dataclasses.replace(task, name=f"{task.name}-harness", items=lambda data, seed: items, settings=settings)
    TASKS[variant.name] = variant
    began = time.perf_counter()
    lm = load(model, dtype="float32")
    score = run.evaluate(lm, [variant.name], data=data, out=work)[variant.name]
    seconds = time.perf_counter() - began
    kept = work / f"{variant.name}.jsonl"
    rows = {row["id"]: row for _, row in read_rows(kept) if HEADER not in row} if kept.is_file() else {}
    return {"score": score, "answers": rows, "seconds": seconds, "task": variant}


def theirs(
    python: Path, kind: str, arguments: dict[str, Any], batch: int | str, names: list[str], folder: Path, home: Path
) -> dict[str, Any]:
    """What lm-eval says of its tasks in `folder`."""
    out = folder / f"told-{kind}.json"
    request = {
        "model": kind, "arguments": arguments, "batch_size": batch, "folder": str(folder), "tasks": names, "out": str(out)
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request))
    began = time.perf_counter()
    done = subprocess.run([str(python), str(RUNNER), str(folder / "request.json")], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"lm-eval failed on {', '.join(names)}:\n{done.stderr[-3000:]}")
    return json.loads(out.read_text()) | {"seconds": time.perf_counter() - began}


@contextmanager
def served(model: Path) -> Iterator[dict[str, Any]]:
    """`kwen serve` while it is needed: the arguments with which lm-eval finds it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = "from kwen.cli.main import run; run()"
    process = subprocess.Popen([sys.executable, "-c", serve, "serve", str(model), "--port", str(port), "--dtype", "float32"])
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
                break
            except OSError:
                time.sleep(0.2)
        yield {
            "model": model.name, "base_url": f"http://127.0.0.1:{port}/v1/completions", "tokenized_requests": True,
            "num_concurrent": 4, "max_length": 2048, "timeout": 3600,
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait()


def agreement(comparison: Comparison, items: list[Item], own: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Of how many items the answers are equal, with the differences."""
    by_id = {item.id: item for item in items}
    other: dict[str, dict[str, Any]] = {}
    for task, samples in told["samples"].items():
        for sample in samples:
            item_id = comparison.place(task, sample["doc_id"], items)
            other.setdefault(item_id, sample)
            other[item_id]["metrics"] = {f"{sample['filter']}:{k}": v for k, v in sample["metrics"].items()} | {
                k: v for k, v in other[item_id]["metrics"].items() if ":" in k
            }
    if comparison.task == "wikitext2":
        nats = {name: part["tokens"] * math.log(part["perplexity"]) for name, part in own["score"]["by_file"].items()}
        found = {item_id: -float(sample["responses"][0][0]) for item_id, sample in other.items()}
        worst = max(abs(nats[item_id] - value) / value for item_id, value in found.items())
        return {"n": len(found), "worst difference": worst, "nats": sum(nats.values()), "lm-eval's": sum(found.values())}
    equal, verdicts, differing = 0, 0, []
    for item_id, row in own["answers"].items():
        sample = other[item_id]
        if TASKS[comparison.task].kind == "choices":
            mine = json.loads(row["text"])["loglikelihoods"]
            their = [float(one[0][0]) for one in sample["responses"]]
            same = max(range(len(mine)), key=mine.__getitem__) == max(range(len(their)), key=their.__getitem__)
            right = max(range(len(their)), key=their.__getitem__) == int(by_id[item_id].reference)
        else:
            text = sample["responses"][0][0]
            same = text.strip() == row["text"].strip()
            right = run.judge(own["task"], [by_id[item_id]], [text])[0].correct_flexible
        equal += same
        verdicts += right == (row["correct"] if TASKS[comparison.task].kind == "choices" else row["correct_flexible"])
        if not same:
            differing.append(item_id)
    n = len(own["answers"])
    return {"n": n, "equal answers": equal, "equal verdicts": verdicts, "differing": differing[:20]}


def main() -> None:
    """Compare, and print one row a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(COMPARISONS), choices=list(COMPARISONS))
    parser.add_argument("--items", type=int, help="the first so many of each, for a quick look")
    parser.add_argument("--batch", type=int, default=8, help="lm-eval's")
    parser.add_argument("--context", type=int, metavar="N", help="take the model's context for N tokens")
    parser.add_argument("--vllm", action="store_true", help="lm-eval's vLLM backend too, from PEERS/vllm with lm-eval in it")
    parser.add_argument("--served", action="store_true", help="lm-eval's local-completions too, against kwen serve")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    python = arguments.peers / "lmeval" / "bin" / "python"
    ask = [str(python), "-c", "import lm_eval; print(lm_eval.__path__[0])"]
    where = subprocess.run(ask, capture_output=True, text=True, check=True)
    home = Path(where.stdout.strip()) / "tasks"
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        work, model = Path(made), arguments.model
        if model.is_file():
            model = work / "hf"
            convert = "from kwen.cli.main import run; run()"
            subprocess.run([sys.executable, "-c", convert, "convert", str(arguments.model), str(model), "--to", "hf"], check=True)
        if arguments.context:
            model = with_context(model, arguments.context, work / "context")
        start = load(model).tokenizer.control_tokens.get("<|endoftext|>")
        for name in arguments.only:
            comparison = COMPARISONS[name]
            items = TASKS[comparison.task].items(arguments.data, 0)
            if name == "bbh":
                items = [item for task in BBH for item in [i for i in items if i.tag == task][:50]]
            items = items[: arguments.items or comparison.items]
            if name == "wikitext2":  # so that the score tells each article's
                items = [dataclasses.replace(item, extra={**item.extra, "file": item.id}) for item in items]
            folder = work / name
            folder.mkdir()
            names = comparison.theirs(items, folder, home)
            own = ours(model, comparison, items, arguments.data, work / "ours")
            kinds = {"hf": ({"pretrained": str(model), "dtype": "float32", "prefix_token_id": start}, arguments.batch, python)}
            if arguments.vllm:
                vllm = {"pretrained": str(model), "dtype": "float32", "max_model_len": 2048, "enable_prefix_caching": True}
                kinds["vllm"] = (vllm, "auto", arguments.peers / "vllm" / "bin" / "python")
            if arguments.served and comparison.task != "wikitext2":
                kinds["local-completions"] = ({"tokenizer": str(model)}, 16, python)
            results[name] = {"score": own["score"], "seconds": own["seconds"]}
            for kind, (how, batch, interpreter) in kinds.items():
                with served(model) if kind == "local-completions" else nullcontext({}) as address:
                    told = theirs(interpreter, kind, how | address, batch, names, folder, home)
                row = agreement(comparison, items, own, told) | {"seconds": told["seconds"]}
                row["times faster"] = told["seconds"] / own["seconds"]
                results[name][kind] = row
                print(f"{name}, lm-eval {kind}: ours {own['seconds']:.1f} s, {json.dumps(row)}", flush=True)
            if arguments.json:
                facts = {"machine": platform.processor() or platform.machine(), "date": date.today().isoformat()}
                facts |= {"model": arguments.model.name, "context": arguments.context}
                write_json(arguments.json, {**facts, "results": results})


if __name__ == "__main__":
    main()
