"""The report's Tables 1 to 17: the family's own rows in their columns, why a cell is empty, and the nearest tasks of our own.

A task of our own never stands in a published column: it has a table of its own below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kwen.family import published
from kwen.family.grid import Cell, Grid, Report, Row, fact_cell, per_cent, score_cell
from kwen.family.missing import absent, sentences, why
from kwen.family.published import Published
from kwen.family.recipe import BASES, CHATS, INTERPRETER, RELEASED, REWARDS, SELF_INSTRUCT

BASE_MODELS = (RELEASED, *BASES)
CHAT_MODELS = (RELEASED, *CHATS, SELF_INSTRUCT, "chat")
CODE_MODELS = (RELEASED, "base", "chat-sft", "chat", "code", "code-chat")
MATHS_MODELS = (RELEASED, "chat-sft", "chat", "math-chat")

Measure = tuple[str, str, str | None, tuple[str, ...]]
"""Heading, task, measure (None: the task's own metric), and the way to a part of the score."""


@dataclass(frozen=True)
class Spec:
    """One table: the models of its rows, the tasks of its columns (a way to a part of the score behind a colon), and what of our
    own comes nearest."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    nearest: tuple[Measure, ...] = ()
    note: str = ""


def _own(task: str, heading: str = "", measure: str | None = None, *part: str) -> Measure:
    return heading or task.removeprefix("nanoworld-"), task, measure, part


_LEVELS = tuple(_own(f"nanoworld-code-{level}") for level in (1, 2, 3))
_TOOLS = "nanoworld-tools"
_SAME_TASK = "The same measures on tasks of our own: other tools, other questions, answered by programs and not by people."
SPECS = {
    2: Spec(
        BASE_MODELS, ("mmlu", "ceval", "gsm8k-8-shot", "math", "humaneval", "mbpp", "bbh"),
        (_own("perplexity", "held-out text, bits a byte"), *_LEVELS),
    ),
    5: Spec(
        CHAT_MODELS,
        ("mmlu-0-shot", "mmlu", "ceval-0-shot", "ceval", "gsm8k", "gsm8k-8-shot", "humaneval-chat", "bbh-0-shot", "bbh"),
        tuple(_own(f"nanoworld-{task}") for task in ("facts", "problems", "functions", "reading")),
    ),
    6: Spec(
        CHAT_MODELS, (),
        (
            _own(_TOOLS, "tool selection", "tool_selection"), _own(_TOOLS, "arguments, Rouge-L", "arguments_rouge_l"),
            _own(_TOOLS, "false positives", "false_positive"), _own(_TOOLS, "arguments exact", "arguments_exact"),
            _own(_TOOLS, "valid calls", "valid_calls"), _own(_TOOLS, "right in the end"),
        ), _SAME_TASK,
    ),
    7: Spec(
        CHAT_MODELS, (),
        (
            *(_own(INTERPRETER, name, f"executable_{part}") for name, part in
              (("maths", "maths"), ("visualisation", "plots"), ("general", "general"))),
            _own(INTERPRETER, "all", "executable"),
        ), _SAME_TASK,
    ),
    8: Spec(
        CHAT_MODELS, (),
        (
            *(_own(INTERPRETER, name, None, "by_kind", kind) for name, kind in
              (("maths", "maths"), ("plots, hard", "plot-hard"), ("plots, easy", "plot-easy"), ("general", "general"))),
            _own(INTERPRETER, "all"),
        ), _SAME_TASK + " Plots are judged by the data in them.",
    ),
    9: Spec(
        CHAT_MODELS, (),
        tuple(_own(f"{_TOOLS}-unseen", name, measure) for name, measure in
              (("tool selection", "tool_selection"), ("valid calls", "valid_calls"), ("right in the end", None))),
        "Tools that training never saw.",
    ),
    10: Spec(CODE_MODELS, ("humaneval", "mbpp"), _LEVELS),
    11: Spec(
        CODE_MODELS, tuple(f"humanevalpack-{language}" for language in ("python", "js", "java", "go", "cpp", "rust")),
        (_own("nanoworld-code-1", "Python, level 1"), _own("nanoworld-code-js", "JavaScript")),
    ),
    12: Spec(
        MATHS_MODELS, ("gsm8k", "math", "math401", "math23k"),
        tuple(_own(f"nanoworld-{task}") for task in ("problems", "equations", "arithmetic", "problems-zh")),
    ),
    13: Spec(BASE_MODELS, ("mmlu", *(f"mmlu:{group}" for group in ("stem", "social", "humanities", "other")))),
    14: Spec(BASE_MODELS, ("ceval", *(f"ceval:{group}" for group in ("hard", "stem", "social", "humanities", "other")))),
    15: Spec(BASE_MODELS, ("cmmlu", "agieval", "gaokao", "arc-e", "arc-c")),
    16: Spec(
        BASE_MODELS, ("boolq", "commonsenseqa", "naturalquestions", "lambada"),
        (_own("nanoworld-facts"), _own("nanoworld-reading")),
    ),
    17: Spec(BASE_MODELS, ("hellaswag", "piqa", "siqa", "ocnli")),
}  # fmt: skip
BENCHMARKS = {task.partition(":")[0] for spec in SPECS.values() for task in spec.tasks} | {"humaneval-chat", "mbpp-chat"}
"""The tasks that have a column in one of the tables."""
NONE = Cell("–")
"""A task of our own that a model was not asked."""
NO_RUN = {
    6: "the report's benchmark is its authors' own and not public",
    7: "the report's benchmark is its authors' own; Kwen has an interpreter task of its own",
    8: "the report's benchmark is its authors' own; Kwen has an interpreter task of its own",
    9: "Kwen has no Hugging Face Agent benchmark",
}


@dataclass(frozen=True)
class ReportTable:
    """One table of the report: its published rows, ours in the same columns, why cells of ours are empty, our nearest tasks."""

    number: int
    published: Published
    ours: list[Grid] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    nearest: list[Grid] = field(default_factory=list)
    note: str = ""


def report_table(report: Report, number: int) -> ReportTable:
    """Table `number`, 1 to 17, with what the family has for it."""
    made = {1: _sizes, 3: _long_context, 4: _reward_models}.get(number)
    return made(report) if made is not None else _benchmarks(report, number, SPECS[number])


def report_tables(report: Report) -> list[ReportTable]:
    """All seventeen, in order."""
    return [report_table(report, number) for number in range(1, 18)]


def _benchmarks(report: Report, number: int, spec: Spec) -> ReportTable:
    printed = published.table(number)
    headings = printed.columns[printed.labels :]
    models = [model for model in spec.models if model in report["artifacts"]]
    rows: list[Row] = []
    reasons: dict[str, list[tuple[str, str]]] = {}
    for model in models:
        cells = []
        reasons[model] = []
        for heading, task in zip(headings, spec.tasks, strict=False):
            cell, reason = _benchmark(report, model, task)
            cells.append(cell)
            reasons[model] += [(heading, reason)] if reason else []
        if len(headings) > len(spec.tasks) and spec.tasks:  # Table 11's average
            cells.append(fact_cell(report, ("derived", "humanevalpack", model), _shown(report, model)))
        if any(cell.text for cell in cells):
            rows.append(Row(model, tuple(cells)))
    ours = [Grid(f"table-{number}", ("model", *headings), tuple(rows))] if rows else []
    if number in NO_RUN:
        missing = [f"This family: not run, because {NO_RUN[number]}."]
    elif not models:
        missing = ["This family: not run, because it has no model of this kind."]
    else:
        missing = _reasons(reasons, [row.name for row in rows])
    nearest = _nearest(report, f"table-{number}-nearest", spec.nearest, spec.models)
    extra = _steps(report) if number == 6 else []
    return ReportTable(number, printed, ours, missing, [*nearest, *extra], spec.note)


def _reasons(reasons: Mapping[str, Sequence[tuple[str, str]]], rows: Sequence[str]) -> list[str]:
    """Why cells of the `rows` are empty, and which models have none; where there is no row, why not for all of them."""
    lines = sentences(pair for model in rows or reasons for pair in reasons[model])
    others = [model for model in reasons if model not in rows]
    return [*lines, *([f"{', '.join(others)}: not run, because the evals ask none of these of them."] if rows and others else [])]


def _shown(report: Report, model: str) -> str | None:
    mean = report["derived"]["humanevalpack"].get(model)
    return None if mean is None else per_cent(mean)


def _benchmark(report: Report, model: str, named: str) -> tuple[Cell, str]:
    """A cell and, where it is empty, why. Chat models may have been asked a code benchmark in either form."""
    task, _, group = named.partition(":")
    forms = [task]
    if task in ("humaneval", "mbpp") and model not in (*BASES, "code"):
        forms.insert(0, f"{task}-chat")
    elif task == "humaneval-chat":
        forms.append("humaneval")
    for form in forms:
        score = report["scores"].get(model, {}).get(form)
        if score is None:
            continue
        if not group:
            return score_cell(report, model, form), ""
        for key in ("by_group", "by_kind"):
            part = next((name for name in score.get(key, {}) if name.lower().startswith(group)), None)
            if part is not None:
                return score_cell(report, model, form, part=(key, part)), ""
        return Cell(), f"the score of {form} has no such group"
    return Cell(), why(report, model, forms[-1] if forms[-1] != "humaneval-chat" else forms[0])


def _nearest(report: Report, id: str, measures: Sequence[Measure], models: Sequence[str]) -> list[Grid]:
    """The measures of `models`; of all models where none of these was asked."""
    rows = []
    for model, scores in report["scores"].items():
        cells = tuple(score_cell(report, model, task, measure, part) for _, task, measure, part in measures)
        if any(cell.value is not None for cell in cells):
            counts = {scores[task]["n"] for _, task, _, _ in measures if task in scores and task != "perplexity"}
            rows.append(Row(model, cells, f"n = {', '.join(map(str, sorted(counts)))}" if counts else ""))
    rows = [row for row in rows if row.name in models] or rows
    headings = [heading for heading, _, _, _ in measures]
    kept = [place for place in range(len(headings)) if any(row.cells[place].value is not None for row in rows)]
    shown = tuple(
        Row(row.name, tuple(row.cells[place] if row.cells[place].text else NONE for place in kept), row.note) for row in rows
    )
    return [Grid(id, ("model", *(headings[place] for place in kept)), shown)] if shown else []


def _steps(report: Report) -> list[Grid]:
    """Planning: tasks solved to the right final answer, by the calls that they take."""
    kinds = {
        "one": "one step", "two": "two steps", "three": "three steps", "four": "four steps", "unneeded": "none due",
        "missing": "tool missing",
    }  # fmt: skip
    return _nearest(
        report, "table-6-steps", [(name, _TOOLS, None, ("by_kind", kind)) for kind, name in kinds.items()], CHAT_MODELS
    )


def _sizes(report: Report) -> ReportTable:
    """Table 1, from the base models' settings and metrics."""
    rows = []
    for name in BASES:
        facts = report["artifacts"].get(name)
        config = facts["config"].get(name, {}) if facts is not None else {}
        if not {"model", "training"} <= set(config):
            continue
        at: tuple[str, ...] = ("artifacts", name)
        optimizer = config["training"]["optimizer"]
        rate = "muon_lr" if optimizer.get("kind") == "muon" else "lr"
        cells = [
            fact_cell(report, (*at, "metrics", "parameters")),
            *(
                fact_cell(report, (*at, "config", name, "model", key))
                for key in ("hidden_size", "num_attention_heads", "num_hidden_layers")
            ),
            fact_cell(report, (*at, "config", name, "training", "optimizer", rate), f"{optimizer.get(rate, 0):g}"),
            fact_cell(report, (*at, "config", name, "training", "batch_tokens")),
            fact_cell(report, (*at, "metrics", "tokens")),
        ]
        rows.append(Row(name, tuple(cells)))
    printed = published.table(1)
    missing = [] if rows else ["This family: no row, because it trains no base model of its own."]
    ours = [Grid("table-1", ("model", *printed.columns[1:]), tuple(rows))] if rows else []
    return ReportTable(1, printed, ours, missing)


def _long_context(report: Report) -> ReportTable:
    """Table 3: one table a model, since lengths and the trained length are its own."""
    grids = []
    for model, found in report["long_context"].items():
        rows = []
        for variant, values in found["perplexity"].items():
            errors = found.get("stderr", {}).get(variant, [])
            cells = []
            for place, value in enumerate(values):
                if value is None:
                    cells.append(Cell())
                    continue
                text = f"{value:.2f}"
                text += f" ± {errors[place]:.2f}" if place < len(errors) and errors[place] is not None else ""
                cells.append(fact_cell(report, ("long_context", model, "perplexity", variant, place), text))
            rows.append(Row(variant, tuple(cells)))
        lengths = (f"{length:,}" for length in found["lengths"])
        grids.append(Grid(f"table-3-{model}", (f"{model}, trained at {found['trained']:,}", *lengths), tuple(rows)))
    missing = [] if grids else [f"This family: not run, because {absent(report, 'long_context.json')}."]
    return ReportTable(3, published.table(3), grids, missing)


def _reward_models(report: Report) -> ReportTable:
    """Table 4. Our pairs are our own, so all of it stands under the nearest."""
    preference: dict[str, Any] = report["preference"]
    sets = list(dict.fromkeys(label for scores in preference.values() for label in scores))
    rows = []
    for model, of in preference.items():
        cells = [
            fact_cell(
                report, ("preference", model, label, "accuracy"), per_cent(of[label]["accuracy"], of[label]["accuracy_stderr"])
            )
            if label in of
            else Cell()
            for label in sets
        ]
        rows.append(Row(model, tuple(cells)))
    missing = ["This family: not run on these sets, because its reward models are judged on pairs of its own."]
    if not rows:
        reward_models = [name for name in REWARDS if name in report["artifacts"]]
        missing = [
            f"This family: not run, because it has no {'judging of its reward models' if reward_models else 'reward model'}."
        ]
    note = ""
    if "helpful-base" in sets:
        note = "The helpful sets are answers of the family's own models; the others are of kinds that pmp never saw."
    nearest = [Grid("table-4-nearest", ("reward model", *sets), tuple(rows))] if rows else []
    return ReportTable(4, published.table(4), [], missing, nearest, note)
