"""The published rows: as many as the report has, and right where the report's own arithmetic can tell."""

import pytest

from kwen.family.published import figure, source, table

ROWS = {1: 3, 2: 21, 3: 6, 4: 2, 5: 12, 6: 5, 7: 11, 8: 11, 9: 14, 10: 35, 11: 14, 12: 17, 13: 21, 14: 12, 15: 18, 16: 19, 17: 18}


@pytest.mark.parametrize("number", ROWS)
def test_a_table_has_its_rows_each_as_wide_as_its_head(number: int) -> None:
    printed = table(number)
    assert printed.name == f"Table {number}" and len(printed.rows) == ROWS[number]
    for row, texts in zip(printed.rows, printed.texts(), strict=True):
        assert len(row) == len(texts) == len(printed.columns)
        assert all(isinstance(cell, str | None) for cell in row[: printed.labels]) and isinstance(row[0], str)
        assert all(isinstance(cell, float | int | None) for cell in row[printed.labels :])
    if printed.unit == "per cent":
        assert all(0 <= cell <= 100 for row in printed.rows for cell in row[printed.labels :] if cell is not None)
    assert len({row[: printed.labels] for row in printed.rows}) == len(printed.rows), "a row stands twice"


def _row(number: int, *labels: str | None) -> tuple[float | None, ...]:
    printed = table(number)
    (found,) = (row[printed.labels :] for row in printed.rows if row[: printed.labels] == labels)
    return found


@pytest.mark.parametrize(
    ("number", "labels", "values"),
    [
        (1, ("Qwen", "14B"), (5120, 40, 40, 3e-4, 4e6, 3e12)),
        (2, ("Qwen", "14B"), (66.3, 72.1, 61.3, 24.8, 32.3, 40.8, 53.4)),
        (2, ("LLaMA 2", "34B"), (62.6, None, 42.2, 6.2, 22.6, 33.0, 44.1)),
        (3, ("Qwen-7B", "dynamic NTK + LogN + window"), (4.23, 3.78, 3.58, 3.49, 4.32)),
        (4, ("PMP",), (62.68, 61.62, 76.52, 65.43, 69.60, 60.05, 70.59)),
        (5, ("Qwen-Chat", "1.8B"), (42.4, 43.9, 50.7, 50.3, 27.8, 19.5, 14.6, 27.1, 25.0)),
        (5, ("GPT-4", None), (None, 83.0, None, 69.9, None, 91.4, 86.6, None, 86.7)),
        (6, ("Qwen-Chat", "14B"), (98, 93, 2.4)),
        (7, ("InternLM-Chat", "7B v1.1"), (78.4, 44.2, 62.1, 56.3)),
        (8, ("Qwen-Chat", "14B"), (58.4, 53.6, 59.5, 56.4)),
        (9, ("chat", "StarCoder", "15B"), (97.9, 97.9, 89.6)),
        (10, ("WizardCoder-Python", "34B"), (73.2, 61.2)),
        (11, ("Code-Qwen", "14B"), (45.1, 51.8, 57.3, 39.6, 18.2, 20.7, 38.8)),
        (12, ("Minerva", "540B"), (58.8, 33.6, None, None)),
        (12, ("Math-Qwen-Chat", "14B"), (69.8, 24.2, 85.0, 78.4)),
        (13, ("LLaMA 2", "70B"), (68.9, 58.0, 80.3, 65.0, 74.6)),
        (14, ("ChatGLM2 (proprietary)", None), (71.1, 50.0, 64.4, 81.6, 73.7, 71.3)),
        (15, ("Baichuan2", "13B"), (62.0, 48.2, 54.3, 61.9, 38.0)),
        (16, ("Qwen", "1.8B"), (68.0, 60.1, 3.2, 58.4)),
        (17, ("Falcon", "7B"), (74.1, 76.7, 47.2, None)),
    ],
)
def test_values_of_every_table(number: int, labels: tuple[str | None, ...], values: tuple[float | None, ...]) -> None:
    assert _row(number, *labels) == values


def test_the_reports_own_arithmetic_holds() -> None:
    for row in table(11).rows:  # the last column is the mean of the six
        assert row[-1] == pytest.approx(sum(row[2:8]) / 6, abs=0.06), row
    for row in figure(4).rows:  # shares
        assert sum(row[2:]) == pytest.approx(100, abs=0.2), row
    sizes = (74, 163, 58)  # the items of Table 7's columns
    for row in table(7).rows:  # one row is printed 0.7 too high
        assert row[-1] == pytest.approx(sum(n * v for n, v in zip(sizes, row[2:5], strict=True)) / 295, abs=0.8), row
    for row in table(8).rows:  # 84 hard plots, 79 easy ones
        assert row[5] == pytest.approx((84 * row[3] + 79 * row[4]) / 163, abs=0.15), row


def test_what_two_tables_print_of_one_model_agrees() -> None:
    for size in ("1.8B", "7B", "14B"):
        assert _row(2, "Qwen", size)[0] == _row(13, "Qwen", size)[0]
        assert _row(2, "Qwen", size)[1] == _row(14, "Qwen", size)[0]
    for size in ("7B", "14B"):
        for model in ("Qwen-Chat", "Code-Qwen", "Code-Qwen-Chat"):
            assert _row(10, model, size)[0] == _row(11, model, size)[0]
        assert _row(5, "Qwen-Chat", size)[6] == _row(10, "Qwen-Chat", size)[0]


def test_figures() -> None:
    radar, bars = figure(2), figure(3)
    assert [row[0] for row in radar.rows][:3] == ["MMLU", "C-Eval", "AGIEval"] and len(radar.rows) == 12
    assert sum(row[4] for row in radar.rows) == pytest.approx(695.1)  # Qwen-14B
    best = [row[0] for row in bars.rows if row[-1] < min(row[1:-1])]
    assert len(bars.rows) == 19 and len(best) == 17 and not {"zh", "ar"} & set(best)
    assert len(figure(4).rows) == 24 and "2309.16609" in source()


def test_cells_have_their_columns_decimals() -> None:
    assert table(4).texts()[0] == ["PMP", "62.68", "61.62", "76.52", "65.43", "69.60", "60.05", "70.59"]
    assert table(6).texts()[0] == ["GPT-4", "–", "95", "90", "15.0"]
    assert table(1).texts()[2] == ["Qwen", "14B", "5120", "40", "40", "3.0e-4", "4M", "3T"]
