"""The report as parts, before it takes a form: tables, claims, and every number with the command that gives it again.

collect -> document -> page.render, markdown.from_page          complete -> report.json, `kwen report RUN --json`
"""

from dataclasses import asdict, dataclass
from typing import Any

from kwen.family import measures
from kwen.family.claims import Claim, claims
from kwen.family.grid import Grid, Report
from kwen.family.tables import ReportTable, report_tables


@dataclass(frozen=True)
class Document:
    """What was collected, and what both forms show of it. `grids` maps a section to its own tables."""

    report: Report
    tables: list[ReportTable]
    claims: list[Claim]
    grids: dict[str, list[Grid]]

    def all_grids(self) -> list[Grid]:
        """Every table of the family's own numbers."""
        of_tables = [grid for table in self.tables for grid in (*table.ours, *table.nearest)]
        return [*(grid for grids in self.grids.values() for grid in grids), *of_tables]


def document(report: Report) -> Document:
    """The parts of the report that `report.collect` collected."""
    grids = {
        "artifacts": [measures.artifacts_grid(report)],
        "training": measures.training_grid(report),
        "compression": measures.compression_grid(report),
        "held-out": measures.held_out_grid(report),
        "memory": measures.memory_grid(report),
        "questions": measures.questions_grid(report),
        "topics": measures.topics_grid(report),
        "side-by-side": measures.side_by_side_grids(report),
        "tax": measures.tax_grid(report),
        "contamination": measures.contamination_grid(report),
    }
    return Document(report, report_tables(report), claims(report), grids)


def complete(report: Report) -> dict[str, Any]:
    """What was collected, with the claims' verdicts and every number: {"id", "value", "command", "path"}.

    `command` writes JSON (with --json FILE) or prints it; `path` are the keys to the number in it.
    """
    parts = document(report)
    judged = [
        {**asdict(claim), "checks": [asdict(check) for check in claim.checks], "verdict": claim.verdict} for claim in parts.claims
    ]
    return {**report, "claims": judged, "numbers": [number for grid in parts.all_grids() for number in grid.numbers()]}
