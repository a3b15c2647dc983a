"""What a training set leaves out, counted."""

from pathlib import PurePath


class LeftOut:
    """Examples that are left out of a training set: how many for each reason, and where the first of each stands."""

    def __init__(self, *reasons: str) -> None:
        self._counts: dict[str, int] = dict.fromkeys(reasons, 0)
        self._first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """Count the example at `where`, which may be "path:line"; folders are not told, so that no output depends on them."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._first.setdefault(reason, PurePath(where).name)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of examples, of every reason named at the start or met since."""
        return dict(self._counts)

    def __str__(self) -> str:
        """`4 empty reply (first hh.jsonl:133), 2 too long (first ...)`: one line; empty for none."""
        return ", ".join(
            f"{count} {reason.replace('_', ' ')} (first {self._first[reason]})" for reason, count in self._counts.items() if count
        )
