"""`kwen eval`: score a model, or saved answers, on tasks; read long texts; or judge two models side by side."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from kwen.errors import UserError
from kwen.files import write_json
from kwen.progress import Progress

if TYPE_CHECKING:
    from kwen.engine.language_model import LanguageModel
    from kwen.evals.asking import ScoringModel

RATES = ("accuracy", "pass@1")
BITS = "bits_per_byte"
LANGUAGES = ("en", "zh")


def evaluate(
    model: str = typer.Argument(None, help="A model folder or .gguf file; left out with --generations."),
    tasks: str = typer.Option(None, help="Task names, separated by commas."),
    data: Path = typer.Option(None, help="A folder for each benchmark (docs/evaluating.md); held_out.jsonl for perplexity."),
    hub: bool = typer.Option(False, "--hub", help="Fetch the benchmarks that --data lacks from the Hugging Face hub into it."),
    limit: int = typer.Option(None, help="Only the first N items of each task, or N prompts with --against."),
    json: Path = typer.Option(None, help="Write the scores to this file."),
    generations: Path = typer.Option(None, help='Score these answers again, no model: {"task", "id", "text"} a line.'),
    out: Path = typer.Option(None, help="Keep every answer here, one TASK.jsonl each; the same command then resumes."),
    against: str = typer.Option(None, help="Another model: both answer the same prompts, and a judge compares."),
    long_context: bool = typer.Option(False, "--long-context", help="Perplexity by length, needle, passkey; texts from --data."),
    lengths: str = typer.Option(None, help="With --long-context: numbers of tokens, by default half to eight trained lengths."),
    judge: str = typer.Option("oracle", help="With --against: oracle, reward:FOLDER, or http://HOST:PORT/v1 (OPENAI_API_KEY)."),
    judge_model: str = typer.Option(None, help="The judge's model at that address, where it lists several."),
    prompts: Path = typer.Option(None, help='With --against: prompts of your own, {"messages"} or {"prompt"} a line, "topic".'),
    max_new_tokens: int = typer.Option(160, help="With --against: the longest answer, in tokens."),
    baselines: bool = typer.Option(False, "--baselines", help="Add the nearest-training-question baseline."),
    seed: int = typer.Option(0, help="Seed of generated questions and of sampling."),
    dtype: str = typer.Option(None, help="float32, bfloat16, float16, int8, int4; default: float32 on a CPU, bfloat16 on a GPU."),
    device: str = typer.Option(None, help="cpu, cuda, cuda:1, ...; default: a GPU where there is one."),
) -> None:
    """Score a model on tasks or long texts, score saved answers again, or judge two models' answers side by side."""
    if json is not None and not json.absolute().parent.is_dir():
        raise UserError(f"--json {json}: the folder {json.absolute().parent} does not exist; make it first")
    of_tasks = {"--tasks": tasks, "--hub": hub, "--generations": generations, "--baselines": baselines}
    if against is not None:
        _leave_out(of_tasks | {"--data": data, "--long-context": long_context}, "--against compares two models")
        if model is None:
            raise UserError("kwen eval --against OTHER needs a MODEL too: give both")
        from kwen.cli.side_by_side import Request, show, side_by_side

        request = Request(model, against, judge, judge_model, prompts, limit, max_new_tokens, seed, out, dtype, device)
        with _progress() as progress:
            compared = side_by_side(request, progress)
        if json is not None:
            write_json(json, compared)
        show(compared, model, against)
        return
    if long_context:
        _leave_out(of_tasks, "--long-context reads texts")
        if model is None:
            raise UserError("kwen eval --long-context needs a MODEL too: give both")
        from kwen.cli import long_context as by_length

        asked = None if lengths is None else by_length.read_lengths(lengths)
        with _progress() as progress:
            found = by_length.long_context(model, data, asked, limit, seed, out, dtype, device, progress)
        if json is not None:
            write_json(json, found)
        by_length.show(found)
        return
    if lengths is not None:
        raise UserError("--lengths belongs to --long-context: give both")
    if prompts is not None or judge_model is not None or judge != "oracle":
        raise UserError("--judge, --judge-model and --prompts compare two models: give --against OTHER with them")
    if tasks is None:
        raise UserError("kwen eval needs --tasks NAMES, --long-context, or --against OTHER to compare two models")
    if (model is None) == (generations is None):
        raise UserError("kwen eval needs a MODEL, or --generations FILE and no model: give exactly one of the two")
    if generations is not None and out is not None:
        raise UserError("--out keeps new answers and --generations reads old ones: leave one of the two out")
    if hub and data is None:
        raise UserError("--hub fetches into the folder of --data: give --data DIR with it")
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    from kwen.evals import run  # after the arguments are checked: it brings the tensor library with it

    if hub and data is not None:
        from kwen.evals.hub import fetch_missing

        fetch_missing(names, data=data, tell=_tell, limit=limit, seed=seed)
    if generations is not None:
        results = run.score_saved(generations, names, data=data, limit=limit, seed=seed, baselines=baselines)
    else:
        run.check(names, data=data, limit=limit, seed=seed)
        lm = _load(model, names, dtype, device)
        with _progress() as progress:
            results = run.evaluate(
                lm, names, data=data, limit=limit, out=out, seed=seed, baselines=baselines, progress=progress
            )
    if json is not None:
        write_json(json, results)
    _print(results)


def _leave_out(given: Mapping[str, Any], other: str) -> None:
    """Raise UserError for an option of scoring on tasks beside one that does something else."""
    for name, value in given.items():
        if value:
            raise UserError(f"{name} belongs to scoring on tasks, {other}: leave one of the two out")


def _load(model: str, names: Sequence[str], dtype: str | None, device: str | None) -> "LanguageModel | ScoringModel":
    """The model; a reward model where pairs are to be compared and `model` is one."""
    from kwen.engine.hub import find_model
    from kwen.engine.language_model import find_device, load
    from kwen.model.formats.load import load_checkpoint

    if "preference" not in names or not load_checkpoint(path := find_model(model)).config.scores:
        return load(model, dtype=dtype, device=device)
    from kwen.align.reward import RewardModel

    if dtype not in (None, "float32", "bfloat16"):
        raise UserError(f"--dtype {dtype}: a reward model computes in float32 or bfloat16")
    return RewardModel.load(path, "bfloat16" if dtype == "bfloat16" else "float32", find_device(device))


def _tell(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error where that is a terminal, a line at each new task where not."""
    console = Console(stderr=True)
    if not console.is_terminal:
        shown: list[str] = []

        def lines(done: float, total: float, **facts: float | str) -> None:
            name = str(facts.get("task", ""))
            if name not in shown:
                shown.append(name)
                console.print(f"{name} · item {int(done)} of {int(total)}", highlight=False, soft_wrap=True)

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def update(done: float, total: float, **facts: float | str) -> None:
            bars.update(bar, completed=done, total=total, description=str(facts.get("task", "")))

        yield update


def _print(results: Mapping[str, Mapping[str, Any]]) -> None:
    """One row a task: score and standard error, the looser extraction, parts by language, answers that ended."""
    rows: list[dict[str, str]] = []
    for name, result in results.items():
        metric = next((rate for rate in RATES if rate in result), BITS)
        show = _bits if metric == BITS else _percent
        row = {"task": name, "score": f"{show(result[metric])} ± {show(result[f'{metric}_stderr'])}"}
        row["flexible"] = show(result.get(f"{metric}_flexible"))
        row |= {language: show(result["by_language"].get(language, {}).get(metric)) for language in LANGUAGES}
        row["ended"] = _percent(result.get("ended"))
        row["baseline"] = show(result.get(f"baseline_{metric}"))
        row["n"] = f"{result['n']:,}"
        rows.append(row)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    headings = [heading for heading in rows[0] if any(row[heading] for row in rows)]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "task" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    console = Console()
    console.print(table, highlight=False)
    bits = "; perplexity in bits a byte (lower is better), its n counts texts" if any(BITS in r for r in results.values()) else ""
    console.print(f"per cent ± standard error{bits}", style="dim", highlight=False)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _bits(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
