"""The page's section on the report's claims: a verdict each, by rule, with the figures that it was read from."""

from collections.abc import Iterator, Sequence
from html import escape

from kwen.family.claims import Claim

_MARKS = {"reproduced": "good", "not reproduced": "bad", "not tested at this scale": "none"}
_WORDS = {True: ("good", "holds"), False: ("bad", "does not hold"), None: ("none", "not tested")}


def claims_section(found: Sequence[Claim]) -> Iterator[str]:
    """The section: how many of each, then claim by claim."""
    counts = {verdict: sum(claim.verdict == verdict for claim in found) for verdict in _MARKS}
    yield '<section id="claims"><h2>The report\'s claims</h2><p>'
    yield ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + "."
    yield " A direction counts where it is seen by more than two standard errors, and nowhere against it by as much.</p>"
    yield '<ol class="claims">'
    for claim in found:
        checks = "".join(
            f'<li><span class="{_WORDS[check.holds][0]}">{_WORDS[check.holds][1]}</span>: {escape(check.text)}'
            f"<br><small>{escape(check.figures)}</small></li>"
            for check in claim.checks
        )
        yield (
            f"<li><p>{escape(claim.text)} <small>({escape(claim.source)})</small>: "
            f'<b class="{_MARKS[claim.verdict]}">{claim.verdict}</b></p>'
            f'<details class="shown"><summary>figures</summary><ul>{checks}</ul></details></li>'
        )
    yield "</ol></section>"
