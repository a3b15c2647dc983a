"""What is left of a build: from the live stage's pace and from what the others took before."""

from pathlib import Path

import pytest

from kwen.family.artifact import Manifest
from kwen.family.estimate import BuildClock, earlier_times
from kwen.family.graph import Job, Node, Stage


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_live_stage_is_timed_by_its_own_pace_and_the_rest_by_the_machines() -> None:
    time = Time()
    clock = BuildClock({"corpus": 10.0, "base": 100.0, "evals": 50.0}, now=time)
    clock.start("corpus")
    time.now = 20.0
    clock.finish("corpus")  # this machine takes twice as long as expected
    clock.start("base")
    assert clock.left(0, 100) == pytest.approx(2 * 100 + 2 * 50)
    time.now = 25.0
    assert clock.left(10, 100) == pytest.approx(90 * 5 / 10 + 2 * 50)


def test_a_late_change_of_pace_is_noticed() -> None:
    time = Time()
    clock = BuildClock({"base": None}, window_s=10.0, now=time)
    clock.start("base")
    assert clock.left(0, 100) is None
    for step in range(1, 41):  # one step a second, then two
        time.now = min(step, 20) + max(0, step - 20) * 0.5
        left = clock.left(step, 100)
    assert left == pytest.approx(60 * 0.5, rel=0.01)


def test_unknown_stages_make_the_whole_unknown() -> None:
    time = Time()
    clock = BuildClock({"base": 10.0, "evals": None}, now=time)
    clock.start("base")
    assert clock.left(0, 10) is None


def test_earlier_times_prefer_the_same_config_then_the_recipe_then_this_run(tmp_path: Path) -> None:
    def run(job: Job) -> dict[str, object]:
        return {}

    def node(name: str, steps: int) -> Node:
        return Node(name, Stage(name, 1, run), {name: {"steps": steps}})

    for place, name, steps, seconds in (("a", "base", 5, 7.0), ("b", "base", 9, 3.0), ("b", "chat", 1, 4.0)):
        (tmp_path / place / name).mkdir(parents=True)
        Manifest(name, name, 1, "", {}, node(name, steps).config, 0, {}, {}, {"wall_s": seconds}).write(tmp_path / place / name)
    nodes = [node("base", 5), node("chat", 2), node("evals", 1)]
    assert earlier_times(tmp_path / "b", nodes, {"base": 100.0}) == {"base": 7.0, "chat": 4.0}
    assert earlier_times(tmp_path / "b", nodes, {"chat": 50.0, "evals": 1.0}) == {"base": 7.0, "chat": 50.0, "evals": 1.0}
