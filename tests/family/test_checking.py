"""What a user reads when a recipe or a --set is wrong."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from kwen.errors import UserError
from kwen.family.checking import override, read_yaml, validate


class Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Training(Closed):
    steps: int = Field(10, gt=0)
    peak: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


class Shape(Closed):
    hidden_size: int
    training: Training = Training()


class FromFolder(Closed):
    kind: Literal["folder"]
    path: str


class Invented(Closed):
    kind: Literal["invented"]
    documents: int = 5


class Whole(Closed):
    name: str
    base_s: Shape = Field(alias="base-s")
    sources: list[Annotated[FromFolder | Invented, Field(discriminator="kind")]] = []
    ranks: int | Literal["auto"] = "auto"


GOOD = {"name": "x", "base-s": {"hidden_size": 8}}


def line(**changes: object) -> str:
    with pytest.raises(UserError) as caught:
        validate(Whole, GOOD | changes, "recipes/x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_settings_pass_and_lists_become_tuples() -> None:
    whole = validate(Whole, GOOD | {"base-s": {"hidden_size": 8, "training": {"betas": [0.8, 0.9]}}}, "x")
    assert whole.base_s.training.betas == (0.8, 0.9)


def test_unknown_key_names_the_full_path_and_the_nearest() -> None:
    assert line(**{"base-s": {"hiden_size": 8, "hidden_size": 8}}) == (
        "recipes/x.yaml: base-s.hiden_size is not a key; did you mean base-s.hidden_size?"
    )
    assert line(**{"bas-s": {}}).endswith("bas-s is not a key; did you mean base-s?")


def test_unknown_key_comes_before_the_missing_one_it_stands_for() -> None:
    told = line(**{"base-s": {"hiden_size": 8}})
    assert told.endswith("base-s.hiden_size is not a key; did you mean base-s.hidden_size? (and 1 more)")


def test_a_key_one_section_too_high_is_found() -> None:
    assert line(**{"base-s": {"hidden_size": 8, "steps": 3}}).endswith("did you mean base-s.training.steps?")


def test_a_key_like_no_other_gets_the_list() -> None:
    assert line(**{"base-s": {"hidden_size": 8, "qqqq": 3}}).endswith("the keys of base-s are hidden_size, training")


def test_keys_inside_a_union_member_are_that_members() -> None:
    assert line(sources=[{"kind": "folder", "path": "a"}, {"kind": "invented", "document": 1}]) == (
        "recipes/x.yaml: sources.1.document is not a key; did you mean sources.1.documents?"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base-s": {"hidden_size": "wide"}}, 'base-s.hidden_size is "wide"; expected a whole number'),
        ({"base-s": {"hidden_size": True}}, "base-s.hidden_size is true; expected a whole number"),
        ({"base-s": {"hidden_size": 8, "training": {"steps": 0}}}, "base-s.training.steps is 0; expected greater than 0"),
        ({"base-s": 3}, "base-s is 3; expected a section with keys of its own"),
        ({"ranks": "many"}, "ranks is \"many\"; expected a whole number or 'auto'"),
        ({"base-s": {}}, "base-s.hidden_size is missing; add it"),
    ],
)
def test_wrong_values_name_the_value_and_what_is_expected(changes: dict[str, object], expected: str) -> None:
    assert line(**changes) == f"recipes/x.yaml: {expected}"


def test_override_makes_sections_and_reads_yaml() -> None:
    data = read_yaml("name: x\nsources:\n  - {kind: folder, path: a}\n", "x")
    override(data, "base-s.training.peak=3e-4")
    override(data, "sources.0.path=b")
    override(data, "base-s.hidden_size=16")
    assert data["base-s"] == {"training": {"peak": 3e-4}, "hidden_size": 16} and data["sources"][0]["path"] == "b"


@pytest.mark.parametrize("assignment", ["steps", "=3", "a..b=3", "sources.9.path=x", "name.deep=1", "name=[1"])
def test_bad_overrides_are_one_line(assignment: str) -> None:
    with pytest.raises(UserError, match="--set"):
        override({"name": "x", "sources": [{}]}, assignment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [", "x.yaml, line 2"),
        ("a: 1\na: 2", "x.yaml, line 2: not valid YAML: the key a stands twice"),
        ("- a", "a mapping of keys is expected"),
        ("!!python/object/apply:os.system ['true']", "x.yaml, line 1"),
    ],
)
def test_broken_yaml_names_file_and_line(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(text, "x.yaml")
    assert expected in str(caught.value) and "\n" not in str(caught.value)
