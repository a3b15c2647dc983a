"""How long the rest of a build takes: from its own pace, and from what the stages took before."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kwen.family.artifact import read_manifest
from kwen.family.graph import Node


class BuildClock:
    """The estimate of what is left of a whole build, in seconds.

    The live stage is timed by its own progress over the last `window_s` seconds; the stages after it by what they are
    expected to take, scaled by how this machine has kept to those expectations so far. Unknown (None) while any of the
    two is.
    """

    def __init__(
        self, expected_s: Mapping[str, float | None], window_s: float = 30.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._todo = dict(expected_s)
        self._window_s, self._now = window_s, now
        self._spent_s = self._spent_expected_s = 0.0
        self._live: str | None = None
        self._began = 0.0
        self._seen: deque[tuple[float, float]] = deque()

    def start(self, name: str) -> None:
        """The stage `name` begins now."""
        self._live, self._began = name, self._now()
        self._seen.clear()

    def finish(self, name: str) -> None:
        """The stage `name` is done, built or found up to date."""
        expected = self._todo.pop(name, None)
        if self._live == name and expected:
            self._spent_s += self._now() - self._began
            self._spent_expected_s += expected
        self._live = None

    @property
    def _pace(self) -> float:
        return self._spent_s / self._spent_expected_s if self._spent_expected_s else 1.0

    def left(self, done: float, total: float) -> float | None:
        """Seconds left of the whole build when the live stage is at `done` of `total`."""
        now = self._now()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self._window_s:
            self._seen.popleft()
        expected = self._todo.get(self._live or "")
        (then, before) = self._seen[0]
        if done > before and now - then > 1.0:
            here: float | None = (total - done) * (now - then) / (done - before)
        elif expected is not None:
            here = max(0.0, expected * self._pace - (now - self._began))
        else:
            here = None
        rest = [seconds for name, seconds in self._todo.items() if name != self._live]
        if here is None or any(seconds is None for seconds in rest):
            return None
        return here + self._pace * sum(seconds for seconds in rest if seconds is not None)


def earlier_times(run: Path, nodes: Sequence[Node], shipped: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each artifact is expected to take: what the same config took on this machine, in this run or in one
    beside it; else what the recipe says (`shipped`); else what the artifact took in this run under another config."""
    beside = sorted(path for path in run.parent.glob("*") if path != run and path.is_dir())
    expected: dict[str, float] = {}
    for node in nodes:
        here, *others = (read_manifest(folder / node.name) for folder in (run, *beside))
        same = [m.record.get("wall_s") for m in (here, *others) if m is not None and m.config == node.config]
        known = [*same, shipped.get(node.name), here.record.get("wall_s") if here is not None else None]
        seconds = next((value for value in known if isinstance(value, int | float)), None)
        if seconds is not None:
            expected[node.name] = float(seconds)
    return expected
